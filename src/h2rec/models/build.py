"""From settings and plain arrays to a model with its starting weights."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from h2rec.data.histories import Histories, IntArray
from h2rec.errors import ConfigError
from h2rec.models.baselines.hid_branches import HidBranches
from h2rec.models.baselines.hid_sid import HidConcatSid, HidPlusSid
from h2rec.models.baselines.llm_esr import LlmEsr
from h2rec.models.baselines.pg_sid import prefix_rows
from h2rec.models.baselines.pop import Pop, latest_counts
from h2rec.models.baselines.sid_sum import CodeSum
from h2rec.models.baselines.spm_sid import learned_pieces
from h2rec.models.baselines.text_table import HidPlusText
from h2rec.models.baselines.tied import TiedModel
from h2rec.models.code_table import CodeTable
from h2rec.models.h2rec import H2Rec
from h2rec.models.hid import HidModel
from h2rec.models.row_sum import RowArray, RowSum, fitted_rows
from h2rec.models.settings import ModelSettings, WarmStartSettings
from h2rec.models.warm_start import (
    Vectors,
    code_vectors,
    described_rows,
    start_codes,
    start_rows,
    text_vectors,
)
from h2rec.semantic_ids.codes import SemanticIds

logger = logging.getLogger(__name__)

Model = HidModel | H2Rec | TiedModel | HidBranches | LlmEsr | Pop


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """All that a model may know of the items beforehand.

    Parameters
    ----------
    item_count
        Number of items, N.
    semantic_ids
        Codes of the items, or None for a catalogue without.
    text
        Text embeddings, float32 `[N, m]`, or None for a catalogue without.
    has_text
        Which items have a text of their own, bool `[N]`; None for all. The others start as if there were no text.
    train_counts
        Training interactions of each item, `[N + 1]`, padding first; None where weights are loaded later.
    train
        Training histories; None where weights are loaded later.
    pieces
        Sub-pieces of every item's codes `[N, P]` and how many there are, if they are known already (spm_sid).
    """

    item_count: int
    semantic_ids: SemanticIds | None = None
    text: npt.NDArray[np.float32] | None = None
    train_counts: IntArray | None = None
    train: Histories | None = None
    pieces: tuple[RowArray, int] | None = None
    has_text: npt.NDArray[np.bool_] | None = None

    @property
    def described(self) -> npt.NDArray[np.bool_]:
        """Which items have a text, bool `[N]`."""
        return np.ones(self.item_count, np.bool_) if self.has_text is None else self.has_text


def check_name(settings: ModelSettings) -> None:
    """Refuse a model that there is not.

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    if settings.name not in BUILDERS:
        known = ", ".join(BUILDERS)
        raise ConfigError(f"model.name: unknown model '{settings.name}', known are: {known}")


def build_model(settings: ModelSettings, features: ItemFeatures, *, seed: int) -> Model:
    """Make a model and start its weights; the same seed gives the same weights.

    Raises
    ------
    ConfigError
        If the name is unknown, or the model needs codes or text that the catalogue does not have.
    """
    check_name(settings)
    torch.manual_seed(seed)
    model = BUILDERS[settings.name](settings, features)
    _warm_start(model, settings, features)
    return model


def model_for_weights(
    settings: ModelSettings,
    item_count: int,
    semantic_ids: SemanticIds | None,
    weights: Mapping[str, torch.Tensor],
) -> Model:
    """Make the model that stored weights belong to, for them to be loaded into.

    Frozen text and learned pieces lie among the weights: neither an encoder nor a piece model is needed again.

    Raises
    ------
    ConfigError
        If the settings ask for codes or text that are not there.
    """
    tables = {name.rpartition(".")[2]: tensor for name, tensor in weights.items()}
    text = tables["text"][1:-1].numpy() if "text" in tables else None
    pieces = None
    if "rows" in tables:
        pieces = (tables["rows"][1:-1].numpy(), len(weights["table.vectors.weight"]) - 2)
    features = ItemFeatures(item_count, semantic_ids, text, pieces=pieces)
    cold = settings.model_copy(update={"warm_start": WarmStartSettings(hid=False, codes=False)})
    with torch.random.fork_rng(devices=[]):  # whoever loads a model draws on as before
        return build_model(cold, features, seed=0)


def _codes(settings: ModelSettings, features: ItemFeatures) -> SemanticIds:
    if features.semantic_ids is None:
        raise ConfigError(
            f"model.name: {settings.name} needs semantic IDs", "give the items text, or a file of codes"
        )
    return features.semantic_ids


def _text(settings: ModelSettings, features: ItemFeatures) -> npt.NDArray[np.float32]:
    if features.text is None:
        raise ConfigError(
            f"model.name: {settings.name} needs the items' text", "give data.items a file with text columns"
        )
    return features.text


def _tied(settings: ModelSettings, features: ItemFeatures, table: nn.Module) -> TiedModel:
    return TiedModel(settings, features.item_count, table)


def _backbone_alone(settings: ModelSettings, features: ItemFeatures) -> HidModel:
    return HidModel(settings, settings.name, features.item_count)


def _h2rec(settings: ModelSettings, features: ItemFeatures) -> H2Rec:
    ids = _codes(settings, features)
    return H2Rec(settings, features.item_count, ids.padded(), ids.codebook_sizes, features.train_counts)


def _pop(settings: ModelSettings, features: ItemFeatures) -> Pop:
    counts: IntArray = np.zeros(features.item_count + 1, dtype=np.int64)
    if features.train is not None:
        counts = latest_counts(features.train, features.item_count, settings.pop.window)
    return Pop(settings, counts)


def _pg_sid(settings: ModelSettings, features: ItemFeatures) -> TiedModel:
    own = settings.pg_sid
    rows = prefix_rows(_codes(settings, features).codes, own.depth, own.rows)
    return _tied(settings, features, RowSum(rows, own.rows, settings.dim, stored=False))


def _spm_sid(settings: ModelSettings, features: ItemFeatures) -> TiedModel:
    ids = _codes(settings, features)
    if features.pieces is not None:
        rows, count = features.pieces
    else:
        rows, pieces = learned_pieces(ids, features.train_counts, settings.spm_sid)
        count = len(pieces)
    return _tied(settings, features, RowSum(rows, count, settings.dim, stored=True))


BUILDERS: dict[str, Callable[[ModelSettings, ItemFeatures], Model]] = {
    "h2rec": _h2rec,
    "pop": _pop,
    "sasrec": _backbone_alone,
    "bert4rec": _backbone_alone,
    "gru4rec": _backbone_alone,
    "sasrec_text": lambda s, f: _tied(s, f, HidPlusText(_text(s, f), s.dim)),
    "llm_esr": lambda s, f: LlmEsr(s, _text(s, f), f.train),
    "sid_sum": lambda s, f: _tied(s, f, CodeSum(_codes(s, f), s.dim)),
    "pg_sid": _pg_sid,
    "spm_sid": _spm_sid,
    "hid_sid_add": lambda s, f: _tied(s, f, HidPlusSid(_codes(s, f), s.dim)),
    "hid_sid_concat": lambda s, f: _tied(s, f, HidConcatSid(_codes(s, f), s.dim)),
    "two_hid": lambda s, f: HidBranches(s, f.item_count, 2, f.train_counts),
    "three_hid": lambda s, f: HidBranches(s, f.item_count, 3, f.train_counts),
}


def _warm_start(model: nn.Module, settings: ModelSettings, features: ItemFeatures) -> None:
    """Start every table of hash IDs, codes or hashed rows, wherever in the model it stands."""
    start = settings.warm_start
    if features.text is None or settings.name == "pop" or not (start.hid or start.codes):
        return
    described = features.described
    if described.sum() < settings.dim and not described.all():
        logger.warning("%d items have a text, too few for a warm start: all start cold", described.sum())
        return
    vectors = described_rows(text_vectors(features.text[described], settings.dim, start.std), described)
    for module in model.modules():
        hid, ids = getattr(module, "hid", None), features.semantic_ids
        if start.hid and isinstance(hid, nn.Embedding):
            start_rows(hid.weight, vectors)
        if start.codes and isinstance(module, CodeTable) and ids is not None:
            tables, _ = code_vectors(vectors, ids.codes, ids.codebook_sizes, described)
            start_codes(module.vectors, tables)
        if start.codes and isinstance(module, RowSum):
            rows, count = module.rows[1:-1].numpy(), module.vectors.num_embeddings - 2
            start_rows(module.vectors.weight, fitted_rows(vectors[described], rows[described], count))
    if start.codes and isinstance(model, H2Rec) and model.uses_sid and settings.residual.enabled:
        start_rows(model.residual.table.weight, _own_part(model, vectors, features))


def _own_part(model: H2Rec, vectors: Vectors, features: ItemFeatures) -> Vectors:
    """What an item's codes leave of its text, in the proportion in which the branch adds both up, `[N, d]`."""
    if hasattr(model, "nodes"):
        with torch.no_grad():
            shared: Vectors = model.nodes(torch.arange(1, features.item_count + 1)).numpy()
        return vectors - shared
    assert features.semantic_ids is not None
    ids = features.semantic_ids
    _, left = code_vectors(vectors, ids.codes, ids.codebook_sizes, features.described)
    # Equal weights fuse codes to 1/L of their sum.
    return left / np.float32(ids.levels)

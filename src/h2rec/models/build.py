"""From settings and plain arrays to a model with its starting weights."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from h2rec.errors import ConfigError
from h2rec.models.h2rec import H2Rec
from h2rec.models.hid import HidModel
from h2rec.models.settings import ModelSettings
from h2rec.models.warm_start import code_vectors, start_codes, start_rows, text_vectors
from h2rec.semantic_ids.codes import SemanticIds

MODEL_NAMES = ("h2rec", "sasrec", "bert4rec", "gru4rec")


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
    train_counts
        Training interactions of each item, `[N + 1]`, padding first; None where weights are loaded later.
    """

    item_count: int
    semantic_ids: SemanticIds | None = None
    text: npt.NDArray[np.float32] | None = None
    train_counts: npt.NDArray[np.integer] | None = None


def build_model(settings: ModelSettings, features: ItemFeatures, *, seed: int) -> HidModel | H2Rec:
    """Make a model and start its weights; the same seed gives the same weights.

    Raises
    ------
    ConfigError
        If the name is unknown, or the model needs codes or text that the catalogue does not have.
    """
    torch.manual_seed(seed)
    if settings.name == "h2rec":
        model: HidModel | H2Rec = _h2rec(settings, features)
    elif settings.name in MODEL_NAMES:
        model = HidModel(settings, settings.name, features.item_count)
    else:
        raise ConfigError(f"model.name: unknown model '{settings.name}', known are: {', '.join(MODEL_NAMES)}")
    _warm_start(model, settings, features)
    return model


def _h2rec(settings: ModelSettings, features: ItemFeatures) -> H2Rec:
    if features.semantic_ids is None:
        raise ConfigError("model.name: h2rec needs semantic IDs")
    ids = features.semantic_ids
    return H2Rec(settings, features.item_count, ids.padded(), ids.codebook_sizes, features.train_counts)


def _warm_start(model: nn.Module, settings: ModelSettings, features: ItemFeatures) -> None:
    start = settings.warm_start
    if features.text is None or not (start.hid or start.codes):
        return
    vectors = text_vectors(features.text, settings.dim, start.std)
    hid, codes = getattr(model, "hid", None), getattr(model, "codes", None)
    if start.hid and hid is not None:
        start_rows(hid.weight, vectors)
    if start.codes and codes is not None and features.semantic_ids is not None:
        ids = features.semantic_ids
        tables, left = code_vectors(vectors, ids.codes, ids.codebook_sizes)
        start_codes(codes.vectors, tables)
        if settings.residual.enabled and isinstance(model, H2Rec):
            # Equal weights fuse codes to 1/L of their sum: in the same proportion, codes and residual are the text.
            start_rows(model.residual.vectors, left / np.float32(ids.levels))

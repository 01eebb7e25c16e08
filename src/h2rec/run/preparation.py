"""What every model starts from: data, text embeddings and semantic IDs, each a stage of its own."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from h2rec.data.dataset import Dataset
from h2rec.data.popularity import head_items
from h2rec.data.prepare import REPLACED_HINT, input_fingerprint, prepare_as_hashed
from h2rec.data.splits import Split, split
from h2rec.errors import ConfigError, DataError, SemanticIdError
from h2rec.evaluation.repeats import Repeats
from h2rec.files import file_hash, read_json
from h2rec.models.features import ItemFeatures
from h2rec.run.config import RunConfig
from h2rec.run.housekeeping import remember
from h2rec.run.run_folder import claim_run, lock_of_run, publish
from h2rec.run.semantic_id_files import read_tokenized, write_audit, write_tokenized
from h2rec.run.stages import Stage, StageStore
from h2rec.runtime import select_device, set_threads
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import distinct_embeddings
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.semantic_ids.tokenize import tokenize
from h2rec.settings import Settings
from h2rec.text.choice import text_fields
from h2rec.text.embed import embed
from h2rec.text.fields import has_markup, item_texts

logger = logging.getLogger(__name__)

TOKENIZER_SEED = 0
"""Seed of the tokenizer: training seeds vary on the same codes."""

HARDLY_USED = 0.1
"""Share of a level's codes in use below which a codebook counts as collapsed."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Text embeddings of the catalogue, `[N, m]`, which items have a text, `[N]`, and the folder of the encoder."""

    vectors: npt.NDArray[np.float32]
    has_text: npt.NDArray[np.bool_]
    encoder_folder: Path


class Preparation:
    """One configuration, carried out up to what a model starts from.

    Parameters
    ----------
    config
        The resolved configuration. What the data decide where nothing is asked for (see `settle`) changes `config`;
        `asked` stays as it is.
    out
        Folder of the run; its files follow the contract of the documentation.
    stages
        Folder of finished stages; by default ``stages`` inside `out`. Runs that share it share work.
    """

    def __init__(self, config: RunConfig, out: Path, stages: Path | None = None) -> None:
        claim_run(out)
        self.config = self.asked = config
        self.out = out
        self.store = StageStore(stages or out / "stages")
        self.stages: dict[str, Stage] = {}
        set_threads(config.runtime.threads)
        self.device = select_device(config.runtime.device)
        with self.alone():
            config.save(out / "config.yaml")

    # -- data ------------------------------------------------------------------------------------

    @cached_property
    def data_stage(self) -> Stage:
        """Interactions and items, cleaned and indexed."""
        settings = self.config.data
        inputs = input_fingerprint(settings)
        return self.stage("data", inputs, lambda folder: prepare_as_hashed(settings, inputs).save(folder))

    @cached_property
    def dataset(self) -> Dataset:
        """The prepared data set."""
        dataset = Dataset.load(self.data_stage.folder)
        if self.data_stage.reused:  # else reading it has said so
            for warning in dataset.warnings:
                logger.warning("data: %s", warning)
        return dataset

    @cached_property
    def split(self) -> Split:
        """Training histories and held-out cases."""
        return split(self.dataset, self.config.data.split, test_share=self.config.data.test_share)

    @cached_property
    def head(self) -> npt.NDArray[np.bool_]:
        """Which items are head items, `[N + 1]`, by training counts alone."""
        return head_items(self.split.train_counts, self.config.data.head_share)

    @cached_property
    def repeats(self) -> Repeats:
        """Whether items of a user's history are candidates."""
        found = Repeats.of(self.split, self.config.evaluate.repeats)
        if found.any:
            logger.warning("%s", found.told())
        return found

    # -- text ------------------------------------------------------------------------------------

    @cached_property
    def text_fields(self) -> list[str] | None:
        """Fields that make an item's text, also a new one's; None where they are all that the items have."""
        if self.config.text.fields is not None or self.config.text.precomputed:
            return self.config.text.fields
        items = self.dataset.items
        chosen = text_fields(items, None)
        return None if len(chosen) == items.width - 1 else chosen

    @cached_property
    def embeddings(self) -> Embeddings | None:
        """Text embeddings, or None for a catalogue without any text."""
        items = self.dataset.items
        texts = item_texts(items, self.text_fields)
        settings = self.config.text.model_copy(update={"fields": self.text_fields})
        if not any(texts) and not settings.precomputed:
            if settings.noise is not None and settings.noise.share:
                raise ConfigError("text.noise: no item has a text that could be spoiled", "leave it out")
            logger.warning("no item has text: text embeddings and warm starts are left out")
            return None
        depends: dict[str, Any] = {"data": self.data_stage.key, "text": settings.model_dump(mode="json")}
        if has_markup(items, self._fields_read):
            depends["markup"] = "plain"
        if settings.precomputed:
            depends["file"] = _hash_of(Path(settings.encoder), "text.encoder")
            if (ids := _ids_beside(Path(settings.encoder))) is not None:
                depends["ids"] = _hash_of(ids, "text.encoder")
        # Where a text may be missing, which ones are is part of the stage; what older versions left does not tell.
        if settings.precomputed or not all(texts) or "noise" in depends["text"]:
            depends["has_text"] = "told"

        def work(folder: Path) -> None:
            rows = self.dataset.item_file_index
            file_index = None if rows is None else rows.to_numpy()
            embedded = embed(items, settings, item_file_index=file_index, device=str(self.device))
            if settings.precomputed:
                _refuse_replaced(Path(settings.encoder), depends["file"], "text.encoder")
                if (ids := _ids_beside(Path(settings.encoder))) is not None:
                    _refuse_replaced(ids, depends.get("ids"), "text.encoder")
            np.save(folder / "vectors.npy", embedded.vectors)
            np.save(folder / "has_text.npy", embedded.has_text)
            (folder / "encoder").mkdir()
            embedded.encoder.save(folder / "encoder")

        folder = self.stage("text", depends, work).folder
        vectors = np.load(folder / "vectors.npy", allow_pickle=False)
        told = folder / "has_text.npy"
        # What an older version left is taken only where every item has a text.
        has_text = np.load(told, allow_pickle=False) if told.exists() else np.ones(len(vectors), np.bool_)
        # An older version took texts of which the encoder knew nothing for texts.
        return Embeddings(vectors, has_text & vectors.any(axis=1), folder / "encoder")

    @property
    def _fields_read(self) -> list[str]:
        items = self.dataset.items
        return (
            [name for name in items.columns if name != "item_id"]
            if self.text_fields is None
            else self.text_fields
        )

    # -- semantic IDs ----------------------------------------------------------------------------

    @cached_property
    def semantic_id_stage(self) -> Stage | None:
        """Codes, the fitted quantizer and the audit; None without text and without a code file."""
        settings = self.config.semantic_ids
        embeddings = self.embeddings
        if embeddings is None and settings.file is None:
            if self.config.model.reads_codes:
                raise ConfigError(
                    "the items have no text to make semantic IDs from",
                    "give data.items a file with text columns, or semantic_ids.quantizer a file of codes",
                )
            return None
        depends: dict[str, Any] = {
            "data": self.data_stage.key,
            "semantic_ids": settings.model_dump(mode="json"),
        }
        if settings.file is not None:
            depends["file"] = _hash_of(settings.file, "semantic_ids.quantizer")
        elif embeddings is not None:
            settings = self._fitting_codebooks(embeddings)
            depends["semantic_ids"] = settings.model_dump(mode="json")
        if embeddings is not None:
            depends["text"] = self.stages["text"].key

        vectors = None if embeddings is None else embeddings.vectors
        item_ids = self.dataset.items["item_id"].to_list()
        key = self.store.key("semantic_ids", depends)
        checkpoint = self.out / "checkpoints" / f"semantic_ids-{key}.safetensors"

        def work(folder: Path) -> None:
            found = tokenize(vectors, item_ids, settings, seed=TOKENIZER_SEED, checkpoint=checkpoint)
            if settings.file is not None:
                _refuse_replaced(settings.file, depends["file"], "semantic_ids.quantizer")
            write_tokenized(folder, found, item_ids)

        try:
            stage = self.stage("semantic_ids", depends, work)
        except SemanticIdError as error:
            if self.config.model.reads_codes or settings.file is not None:
                raise
            logger.warning(
                "no semantic IDs: %s. %s reads none; figures by shared codes are left out, and the bundle takes no "
                "new items",
                error.message,
                self.config.preset,
            )
            return None
        checkpoint.unlink(missing_ok=True)
        return stage

    def _fitting_codebooks(self, embeddings: Embeddings) -> SemanticIdSettings:
        """Settings whose codebooks the catalogue can fill: smaller ones than by default, never than asked for."""
        settings = self.config.semantic_ids
        if "codebook_size" in settings.model_fields_set:
            return settings
        distinct = distinct_embeddings(embeddings.vectors, settings.codebook_size)
        if distinct >= settings.codebook_size:
            return settings
        # A power of two, which every quantizer takes, and two items a code or more.
        size = max(2, 1 << (max(2, distinct // 2).bit_length() - 1))
        logger.warning(
            "the items have %d different texts, too few for codebooks of %d: they get %d codes (set "
            "semantic_ids.codebook_size for another number)",
            distinct,
            settings.codebook_size,
            size,
        )
        self.settle(semantic_ids=settings.model_copy(update={"codebook_size": size}))
        return self.config.semantic_ids

    def settle(self, **sections: Settings) -> None:
        """Put settings that the data decide in the place of defaults, in `config.yaml` as well."""
        self.config = self.config.model_copy(update=sections)
        with self.alone():
            self.config.save(self.out / "config.yaml")

    @cached_property
    def audit_stage(self) -> Stage:
        """The audit of the semantic IDs, as figures and as a page."""
        made = self.semantic_id_stage
        assert made is not None
        fields = self.text_fields
        embeddings = self.embeddings

        def work(folder: Path) -> None:
            vectors = None if embeddings is None else embeddings.vectors
            write_audit(
                folder, made.folder, self.dataset.items, item_texts(self.dataset.items, fields), vectors
            )

        return self.stage("audit", {"semantic_ids": made.key, "fields": fields}, work)

    @cached_property
    def semantic_ids(self) -> SemanticIds | None:
        """The codes of the catalogue."""
        stage = self.semantic_id_stage
        if stage is None:
            return None
        return read_tokenized(stage.folder)

    def tokenized(self) -> Path | None:
        """Carry the pipeline out up to the semantic IDs and their audit, publish them, and return the codes' file."""
        stage = self.semantic_id_stage
        if stage is None:
            return None
        audited = self.audit_stage.folder
        with self.alone():
            publish(stage.folder / "semantic_ids.json", self.out / "semantic_ids.json")
            for name in ("audit.json", "audit.html"):
                publish(audited / name, self.out / name)
        for level in read_json(audited / "audit.json")["levels"]:
            if level["used"] < HARDLY_USED * level["codebook_size"]:
                logger.warning(
                    "level %d uses %d of its %d codes, so that items of nothing in common share them: lower "
                    "semantic_ids.codebook_size, or try the quantizer rqkmeans",
                    level["level"],
                    level["used"],
                    level["codebook_size"],
                )
        return self.out / "semantic_ids.json"

    @cached_property
    def features(self) -> ItemFeatures:
        """What the model may know of the items beforehand."""
        text = None if self.embeddings is None else self.embeddings.vectors
        return ItemFeatures(
            self.dataset.item_count,
            self.semantic_ids,
            text,
            has_text=None if self.embeddings is None else self.embeddings.has_text,
            train_counts=self.split.train_counts,
            train=self.split.train,
            coded_by_text=self.embeddings is not None and self.config.semantic_ids.file is None,
        )

    def alone(self) -> AbstractContextManager[bool]:
        """Hold the lock of the run's folder: of several processes that publish into it one does, the others wait."""
        return lock_of_run(self.out)

    def stage(self, name: str, depends_on: dict[str, Any], work: Callable[[Path], None]) -> Stage:
        """Return a finished stage, made now if it was not there, and remember it in `stages`."""
        remember(self.out, self.asked.key, {name: self.store.key(name, depends_on)})
        stage = self.store.run(name, depends_on, work)
        self.stages[name] = stage
        return stage


def _hash_of(path: Path, key: str) -> str:
    if not path.is_file():
        raise ConfigError(f"{key}: {path}: no such file")
    return file_hash(path)


def _refuse_replaced(path: Path, known: str | None, key: str) -> None:
    if _hash_of(path, key) != known:
        raise DataError(f"{path}: changed while it was read", REPLACED_HINT)


def _ids_beside(embeddings: Path) -> Path | None:
    """Return the file of ids that places the rows of ready embeddings, if there is one."""
    beside = (embeddings.with_suffix(f".ids.{kind}") for kind in ("json", "txt"))
    return next((path for path in beside if path.exists()), None)

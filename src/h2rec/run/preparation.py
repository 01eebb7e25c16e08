"""The first steps of a run: the data, and embeddings of its texts."""

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from h2rec.data.dataset import Dataset
from h2rec.data.popularity import head_items
from h2rec.data.prepare import REPLACED_HINT, input_fingerprint, prepare_as_hashed
from h2rec.data.splits import Split, split
from h2rec.engines import LOCAL, Engine
from h2rec.errors import ConfigError, DataError
from h2rec.evaluation.repeats import Repeats
from h2rec.files import file_hash
from h2rec.run.config import RunConfig
from h2rec.run.housekeeping import remember
from h2rec.run.run_folder import claim_run, lock_of_run
from h2rec.run.stages import Stage, StageStore
from h2rec.runtime import select_device, set_threads
from h2rec.settings import Settings
from h2rec.text.choice import text_fields
from h2rec.text.embed import embed
from h2rec.text.encoders import leading_columns
from h2rec.text.fields import has_markup, item_texts

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Text embeddings of the catalogue, `[N, m]`, which items have a text, `[N]`, and the folder of the encoder."""

    vectors: npt.NDArray[np.float32]
    has_text: npt.NDArray[np.bool_]
    encoder_folder: Path
    file: Path
    """Where the vectors lie."""
    leading: int | None
    """How many columns are the first encoder's, of several; None for a single one."""


class Preparation:
    """One configuration, carried out up to the text embeddings. Making one touches no file; the first stage does.

    Parameters
    ----------
    config
        The resolved configuration. What the data decide (see `settle`) changes `config`; `asked` stays as it is.
    out
        Folder of the run; its files follow the contract of the documentation.
    stages
        Folder of finished stages; by default ``stages`` inside `out`. Runs that share it share work.
    engine
        What does the parts of batch work; stages are the same on all engines.
    """

    def __init__(
        self, config: RunConfig, out: Path, stages: Path | None = None, *, engine: Engine = LOCAL
    ) -> None:
        self.engine = engine
        self.config = self.asked = config
        self.out = out
        self.store = StageStore(stages or out / "stages")
        self.stages: dict[str, Stage] = {}
        self.device = select_device(config.runtime.device)
        self._begun = False

    @cached_property
    def data_stage(self) -> Stage:
        """Interactions and items, cleaned and indexed."""
        settings = self.config.data
        inputs = input_fingerprint(settings)
        parts = self.out / "checkpoints" / self.store.key("data", inputs)

        def work(folder: Path) -> None:
            prepare_as_hashed(settings, inputs, engine=self.engine, work=parts.absolute()).save(folder)

        stage = self.stage("data", inputs, work)
        shutil.rmtree(parts, ignore_errors=True)
        return stage

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
        repeats = Repeats.of(self.split, self.config.evaluate.repeats)
        if repeats.any:
            _warn_once(repeats.describe())
        return repeats

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
            logger.warning("no item has text: text embeddings are left out")
            return None
        depends: dict[str, Any] = {"data": self.data_stage.key, "text": settings.model_dump(mode="json")}
        every_field = [name for name in items.columns if name != "item_id"]
        if has_markup(items, every_field if self.text_fields is None else self.text_fields):
            depends["markup"] = "plain"
        ready = settings.precomputed
        if ready is not None:
            depends["file"] = hash_of(ready, "text.encoder")
            if (ids := _ids_beside(ready)) is not None:
                depends["ids"] = hash_of(ids, "text.encoder")

        def work(folder: Path) -> None:
            rows = self.dataset.item_file_index
            file_index = None if rows is None else rows.to_numpy()
            embedded = embed(
                items, settings, item_file_index=file_index, device=str(self.device), engine=self.engine
            )
            if ready is not None:
                refuse_replaced(ready, depends["file"], "text.encoder")
                if (ids := _ids_beside(ready)) is not None:
                    refuse_replaced(ids, depends.get("ids"), "text.encoder")
            np.save(folder / "vectors.npy", embedded.vectors)
            np.save(folder / "has_text.npy", embedded.has_text)
            (folder / "encoder").mkdir()
            embedded.encoder.save(folder / "encoder")

        folder = self.stage("text", depends, work).folder
        vectors, has_text = (
            np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("vectors", "has_text")
        )
        encoder = folder / "encoder"
        return Embeddings(vectors, has_text, encoder, folder / "vectors.npy", leading_columns(encoder))

    def settle(self, **sections: Settings) -> None:
        """Put settings that the data decide in the place of defaults, in `config.yaml` as well."""
        self.config = self.config.model_copy(update=sections)
        self._save()

    def begin(self) -> Self:
        """Take the folder of the run and set the threads; the first stage does it where nobody did before.

        Raises `H2RecError` if the folder holds what h2rec did not write.
        """
        if not self._begun:
            claim_run(self.out)
            set_threads(self.config.runtime.threads)
            asked = self.config.model
            model = asked.without()
            if model is None:
                raise ConfigError(
                    "no branch of the model learns vectors that could be compared", "add one of kind ids"
                )
            if left_out := [name for name in asked.weights if name not in model.weights]:
                logger.warning("left out of the model, as no branch learns vectors: %s", ", ".join(left_out))
            self.settle(model=model)
            self._begun = True
        return self

    def _save(self) -> None:
        with self.alone():
            self.config.save(self.out / "config.yaml")

    def alone(self) -> AbstractContextManager[bool]:
        """Hold the lock of the run's folder: of several processes that publish into it one does, the others wait."""
        return lock_of_run(self.out)

    def stage(self, name: str, depends_on: dict[str, Any], work: Callable[[Path], None]) -> Stage:
        """Return a finished stage, made now if it was not there, and remember it in `stages`."""
        self.begin()
        remember(self.out, self.asked.key, {name: self.store.key(name, depends_on)})
        stage = self.store.run(name, depends_on, work)
        self.stages[name] = stage
        return stage


def hash_of(path: Path, key: str) -> str:
    """Hash of a file that a setting names; a ConfigError where there is none."""
    if not path.is_file():
        raise ConfigError(f"{key}: {path}: no such file")
    return file_hash(path)


def refuse_replaced(path: Path, known: str | None, key: str) -> None:
    """Raise a DataError if a file is not the one that was hashed before it was read."""
    if hash_of(path, key) != known:
        raise DataError(f"{path}: changed while it was read", REPLACED_HINT)


def _ids_beside(embeddings: Path) -> Path | None:
    """Return the file of ids that places the rows of ready embeddings, if there is one."""
    beside = (embeddings.with_suffix(f".ids.{kind}") for kind in ("json", "txt"))
    return next((path for path in beside if path.exists()), None)


@cache
def _warn_once(text: str) -> None:
    """Say it for the first of several models that a process trains on the same data."""
    logger.warning("%s", text)

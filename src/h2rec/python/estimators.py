"""Models for people who import: made, fitted on a data set, asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

from h2rec.claims import claim_file
from h2rec.data.dataset import Dataset
from h2rec.data.settings import DataSettings
from h2rec.errors import ConfigError, DataError, H2RecError
from h2rec.files import atomic_path
from h2rec.frames import has_note, write_parquet
from h2rec.python.model import TrainedModel
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.run.figures import Figures
from h2rec.run.pipeline import Pipeline
from h2rec.run.run_folder import claim_run, lock_of_run
from h2rec.run.trackers import tracked

_OF_THE_RUN = ("split", "test_share", "head_share", "popularity_groups")
"""What of `data` a prepared data set leaves open."""
_NOTE = "h2rec.frame"
"""Tells our files from those that a user may have put into the same folder."""


class Estimator(TrainedModel):
    """A preset with settings of one's own.

    Parameters
    ----------
    preset
        The preset; by default the class's own. `h2rec presets` lists them.
    out
        Folder of the run, with all the files that `h2rec run` leaves; what is finished there is reused. None takes a
        temporary one, which goes with the model.
    sections
        Settings as a configuration file has them: ``train={"epochs": 3}, model={"dim": 64}``.

    Raises
    ------
    ConfigError
        If there is no such preset or setting, naming the nearest.

    Examples
    --------
    >>> data = h2rec.Dataset.from_frames(events, items)  # doctest: +SKIP
    >>> model = h2rec.H2Rec().fit(data)  # doctest: +SKIP
    """

    default: ClassVar[str] = "h2rec"

    def __init__(self, preset: str | None = None, out: str | Path | None = None, **sections: Any) -> None:
        self.preset = preset or self.default
        self.sections = sections
        self._out = None if out is None else Path(out)
        self._figures: Figures | None = None
        self._recommender: Recommender | None = None
        self._configured({"interactions": "interactions.parquet"})  # mistakes show before there are data

    @property
    def out(self) -> Path:
        """Folder of the run."""
        if self._out is None:
            self._run_room = TemporaryDirectory(prefix="h2rec-", ignore_cleanup_errors=True)
            self._out = Path(self._run_room.name)
        return self._out

    def fit(self, data: Dataset, *, track: Sequence[str] = ()) -> Self:
        """Train, measure, train again on everything and bundle: what `h2rec run` does.

        Data sets made from frames are written into the folder of the run first, so that its `config.yaml` runs again.

        Parameters
        ----------
        track
            Where the figures of every epoch go: ``tensorboard``, ``mlflow``, ``wandb``, or a registered tracker.

        Raises
        ------
        H2RecError
            Whatever is wrong with the data, or if the folder holds what h2rec did not write.
        """
        if not isinstance(data, Dataset):
            raise DataError(
                f"fit: expected a data set, found {type(data).__name__}",
                "h2rec.Dataset.from_frames(events, items) makes one",
            )
        pipeline = Pipeline(self._configured(_on_disk(data, self.out).model_dump(mode="json")), self.out)
        if data.frames is not None:
            self.kind = data.frames.kind
        with tracked(pipeline.begin(), track):
            self._figures = Figures(pipeline.evaluated(baselines=True), self.kind)
            bundle = pipeline.bundled()
        self._take(Recommender(Bundle.load(bundle), as_given=True))
        return self

    def evaluate(self) -> Figures:
        """Return figures on the interactions that were held out.

        Raises
        ------
        H2RecError
            If the model was not fitted.
        """
        if self._figures is None:
            raise self._unfitted()
        return self._figures

    @property
    def recommender(self) -> Recommender:
        if self._recommender is None:
            raise self._unfitted()
        return self._recommender

    def _take(self, recommender: Recommender) -> None:
        self._recommender = recommender

    def _unfitted(self) -> H2RecError:
        return H2RecError(f"{type(self).__name__}: the model is not fitted yet", "call fit(data) first")

    def _configured(self, data: Mapping[str, Any]) -> RunConfig:
        name = type(self).__name__
        own = self.sections.get("data", {})
        if not isinstance(own, Mapping) or (others := [key for key in own if key not in _OF_THE_RUN]):
            what = "" if not isinstance(own, Mapping) else f".{others[0]}"
            raise ConfigError(
                f"{name}: data{what} is no setting of a model",
                "what is read and kept is said to Dataset.from_frames",
            )
        values = self.sections | {"preset": self.preset, "data": {**data, **own}}
        return RunConfig.parse(values, source=name).resolved(Path.cwd())

    def __repr__(self) -> str:
        state = "not fitted" if self._recommender is None else f"{len(self._recommender.item_ids):,} items"
        return f"{type(self).__name__}(preset='{self.preset}'), {state}"


def _on_disk(data: Dataset, out: Path) -> DataSettings:
    """Return settings by which `prepare` makes the very same data set of files; frames are written into a run's folder.

    Raises `H2RecError` if the folder holds what h2rec did not write, or nothing tells how the data set was made.
    """
    if data.settings is None:
        raise DataError(
            "fit: the data set was loaded from a folder", "make it from frames, or with h2rec.prepare"
        )
    if data.frames is None:
        return data.settings.resolved(Path.cwd())
    claim_run(out)
    given = {"interactions": data.frames.events, "items": data.frames.items}
    frames = {name: frame for name, frame in given.items() if frame is not None}
    files = {name: claim_file(out / f"{name}.parquet", _is_ours) for name in frames}
    with lock_of_run(out):
        for name, frame in frames.items():
            with atomic_path(files[name]) as temporary:
                write_parquet(frame, temporary, notes={_NOTE: "made by h2rec"})
    return data.settings.model_copy(update=files)


def _is_ours(path: Path) -> bool:
    return has_note(path, _NOTE)


class H2Rec(Estimator):
    """The best form that we know: hash IDs learned, both identities counted, texts compared; see `Estimator`."""


class SASRec(Estimator):
    """Self-attention over hash IDs (ICDM 2018); see `Estimator`."""

    default = "sasrec"


class BERT4Rec(Estimator):
    """Self-attention in both directions, trained on masked items (CIKM 2019); see `Estimator`."""

    default = "bert4rec"


class GRU4Rec(Estimator):
    """A recurrent network over hash IDs (ICLR 2016); see `Estimator`."""

    default = "gru4rec"


class BSARec(Estimator):
    """Self-attention beside a filter of frequencies, hash IDs from text (AAAI 2024); see `Estimator`."""

    default = "bsarec"


class ESASRec(Estimator):
    """Self-attention in newer blocks, a sampled softmax, hash IDs from text (RecSys 2025); see `Estimator`."""

    default = "esasrec"


class Popularity(Estimator):
    """The most popular items, the same for everyone; see `Estimator`."""

    default = "pop"


class Transitions(Estimator):
    """What stood near the latest items in training histories: counted, not trained; see `Estimator`."""

    default = "transitions"

"""Experiment trackers: the figures of every epoch, and those of the end, sent to where people look at their runs."""

import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from h2rec.errors import H2RecError, needs_extra
from h2rec.files import read_json
from h2rec.registry import Registry
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline

if TYPE_CHECKING:
    import wandb
    from mlflow import MlflowClient
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

PROJECT = "h2rec"
"""Experiment (MLflow) or project (Weights & Biases) where the environment names no other."""

Figures = Mapping[str, float]
"""Finite numbers by names such as ``loss``, ``valid/full.overall.ndcg@100`` or ``test/full/tail/hit@10``."""


class Tracker(ABC):
    """Where the figures of one run go."""

    @classmethod
    @abstractmethod
    def open(cls, out: Path, settings: Mapping[str, Any]) -> Self:
        """Begin a run.

        `out`: folder of the run, whose name is the run's. `settings`: the resolved ones, by dotted key.
        """

    @abstractmethod
    def epoch(self, number: int, figures: Figures) -> None:
        """Take the figures of an epoch, counted from 1."""

    @abstractmethod
    def finish(self, figures: Figures) -> None:
        """Take the figures of validation and test, none if the run failed, and end the run."""


TRACKERS: Registry[type[Tracker]] = Registry(
    "tracker",
    "h2rec.trackers",
    {
        "tensorboard": "h2rec.run.trackers:TensorBoard",
        "mlflow": "h2rec.run.trackers:MLflow",
        "wandb": "h2rec.run.trackers:WeightsAndBiases",
    },
    base="h2rec.run.trackers:Tracker",
)


class Tracking:
    """All trackers of a run. One that fails under way is told once and left: no training is lost for a picture of it.

    Raises `ConfigError` for an unknown tracker, `MissingExtraError` where its library is not installed, `H2RecError` if
    it can't begin.
    """

    def __init__(self, names: Sequence[str], config: RunConfig, out: Path) -> None:
        kinds = {name: TRACKERS.get(name) for name in names}
        settings = dict(_flat(config.model_dump(mode="json"), "."))
        self._open: dict[str, Tracker] = {}
        self._sent: set[int] = set()
        for name, kind in kinds.items():
            try:
                self._open[name] = kind.open(out, settings)
            except H2RecError:
                raise
            except Exception as error:  # every library has its own
                raise H2RecError(f"the tracker '{name}' can't begin ({_reason(error)})") from None

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Send the record of an epoch, as `training.json` has it."""
        number, figures = int(record["epoch"]), numbers(record)
        self._sent.add(number)
        for name in list(self._open):
            self._send(name, "epoch", number, figures)

    def finish(self, metrics: Mapping[str, Any] | None, log: Sequence[Mapping[str, Any]] = ()) -> None:
        """Send the content of `metrics.json`, None if the run failed, and end.

        `log`: the records of all epochs; those of a training that was finished before were not sent yet.
        """
        for record in log:
            if int(record["epoch"]) not in self._sent:
                self.epoch(record)
        parts = {name: (metrics or {}).get(name, {}) for name in ("test", "valid")}
        for name in list(self._open):
            self._send(name, "finish", numbers(parts))

    def _send(self, name: str, what: str, *values: Any) -> None:
        tracker = self._open[name]
        try:
            tracker.epoch(*values) if what == "epoch" else tracker.finish(*values)
        except Exception as error:  # every library has its own
            logger.warning("the tracker '%s' failed and gets no more figures (%s)", name, _reason(error))
            del self._open[name]


@contextmanager
def tracked(pipeline: Pipeline, names: Sequence[str]) -> Iterator[None]:
    """Send a run's figures to trackers, by their names; a run that fails is told as failed."""
    tracking = Tracking(names, pipeline.config, pipeline.out)
    pipeline.on_epoch = tracking.epoch
    try:
        yield
    except BaseException:
        tracking.finish(None)
        raise
    tracking.finish(read_json(pipeline.out / "metrics.json"), pipeline.training_log)


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """All finite numbers in nested values, by their path with slashes; what is counted by group is left out."""
    found = {name: value for name, value in _flat(values, "/") if type(value) in (int, float)}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _flat(values: Mapping[str, Any], between: str, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, between, f"{above}{name}{between}")
        else:
            yield f"{above}{name}", value


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class TensorBoard(Tracker):
    """Event files below ``tensorboard`` in the folder of the run: ``tensorboard --logdir runs``."""

    def __init__(self, writer: "SummaryWriter") -> None:
        self._writer = writer

    @classmethod
    def open(cls, out: Path, settings: Mapping[str, Any]) -> Self:
        with needs_extra("the tracker 'tensorboard'", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        writer = SummaryWriter(str(out / "tensorboard"))
        writer.add_text("settings", "\n".join(f"    {name}: {value}" for name, value in settings.items()))
        return cls(writer)

    def epoch(self, number: int, figures: Figures) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def finish(self, figures: Figures) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value)
        self._writer.close()


class MLflow(Tracker):
    """A run of MLflow, where `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` say.

    `@` in names becomes `_at_`, which MLflow takes.
    """

    def __init__(self, client: "MlflowClient", run: str) -> None:
        self._client, self._run = client, run

    @classmethod
    def open(cls, out: Path, settings: Mapping[str, Any]) -> Self:
        with needs_extra("the tracker 'mlflow'", "mlflow"):
            import mlflow
        # Through the client: a run that the user has opened meanwhile stays as it is.
        client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if known is None else known.experiment_id
        run = client.create_run(experiment, run_name=out.resolve().name).info.run_id
        params = [
            mlflow.entities.Param(key.replace("*", "_"), str(value)[:500]) for key, value in settings.items()
        ]
        client.log_batch(run, params=params[:_MOST_PARAMS])
        return cls(client, run)

    def epoch(self, number: int, figures: Figures) -> None:
        self._log(figures, number)

    def finish(self, figures: Figures) -> None:
        self._log(figures, 0)
        self._client.set_terminated(self._run, "FINISHED" if figures else "FAILED")

    def _log(self, figures: Figures, step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = int(1000 * time.time())
        values = [Metric(name.replace("@", "_at_"), value, now, step) for name, value in figures.items()]
        for first in range(0, len(values), _MOST_METRICS):
            self._client.log_batch(self._run, metrics=values[first : first + _MOST_METRICS])


_MOST_PARAMS, _MOST_METRICS = 100, 1000
"""What MLflow takes at once."""


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases, set up by its own `WANDB_` variables; ``WANDB_MODE=offline`` needs no account."""

    def __init__(self, run: "wandb.Run") -> None:
        self._run = run

    @classmethod
    def open(cls, out: Path, settings: Mapping[str, Any]) -> Self:
        with needs_extra("the tracker 'wandb'", "wandb"):
            import wandb
        out.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        run = wandb.init(project=project, name=out.resolve().name, dir=out, config=dict(settings))
        return cls(run)

    def epoch(self, number: int, figures: Figures) -> None:
        self._run.log(dict(figures), step=number)

    def finish(self, figures: Figures) -> None:
        self._run.summary.update(dict(figures))
        self._run.finish(exit_code=0 if figures else 1)

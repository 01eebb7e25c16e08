"""``h2rec run`` and the commands that stop at an earlier stage of the same pipeline."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from h2rec.engines import EngineName, open_engine
from h2rec.errors import ConfigError
from h2rec.evaluation.settings import FULL
from h2rec.run.baselines import verdicts
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.run_folder import claim_run, lock_of_run
from h2rec.run.tables import LEADING, apart, metrics_table, with_baselines
from h2rec.run.trackers import tracked
from h2rec.run.words import telling
from h2rec.terminal import printable, result_console

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a key: --set train.epochs=10.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder of the run; default runs/NAME-OF-CONFIG.")
]
StagesOption = Annotated[
    Path | None, typer.Option("--stages", help="Folder of finished stages, shared with other runs.")
]

EngineOption = Annotated[
    EngineName,
    typer.Option("--engine", help="What prepares, embeds, gives codes and counts: here, or a Ray cluster."),
]
TrackOption = Annotated[
    list[str] | None,
    typer.Option("--track", help="Send figures to tensorboard, mlflow or wandb (repeatable)."),
]


def run(
    config: ConfigArgument,
    overrides: SetOption = None,
    out: OutOption = None,
    track: TrackOption = None,
    engine: EngineOption = EngineName.LOCAL,
) -> None:
    """Run the whole pipeline; finished stages are reused."""
    with open_pipeline(config, overrides, out, engine) as pipeline, tracked(pipeline, track or []):
        finish_run(pipeline)


def tokenize(
    config: ConfigArgument,
    overrides: SetOption = None,
    out: OutOption = None,
    engine: EngineOption = EngineName.LOCAL,
) -> None:
    """Run the pipeline up to the semantic IDs."""
    with open_pipeline(config, overrides, out, engine) as pipeline:
        result_console().print(f"semantic IDs: {pipeline.tokenized()}")


def train(
    config: ConfigArgument,
    overrides: SetOption = None,
    out: OutOption = None,
    engine: EngineOption = EngineName.LOCAL,
) -> None:
    """Run the pipeline up to the trained model."""
    with open_pipeline(config, overrides, out, engine) as pipeline:
        result_console().print(f"weights: {pipeline.train_stage.folder / 'model.safetensors'}")


def evaluate(
    config: ConfigArgument,
    overrides: SetOption = None,
    out: OutOption = None,
    engine: EngineOption = EngineName.LOCAL,
) -> None:
    """Run the pipeline up to the metrics."""
    with open_pipeline(config, overrides, out, engine) as pipeline:
        print_metrics(pipeline)


def bundle(
    config: ConfigArgument,
    overrides: SetOption = None,
    out: OutOption = None,
    engine: EngineOption = EngineName.LOCAL,
) -> None:
    """Run the pipeline up to the bundle, without the evaluation."""
    with open_pipeline(config, overrides, out, engine) as pipeline:
        folder = pipeline.bundled()
        result_console().print(f"bundle: {folder} ({trained_on(pipeline)})", soft_wrap=True, highlight=False)


@contextmanager
def open_pipeline(
    config: Path, overrides: list[str] | None, out: Path | None, engine: EngineName
) -> Iterator[Pipeline]:
    """Read the configuration and hold its run folder, with a run log in it; another process waits for its end."""
    resolved = RunConfig.load(config, overrides or [])
    folder = out or Path("runs") / config.stem
    own = folder / "config.yaml"
    if own.exists() and own.samefile(config) and RunConfig.load(own) != resolved:
        raise ConfigError(
            f"{config}: is what the run itself writes, and would be overwritten with what is asked for now",
            "copy it to another place, or give another --out",
        )
    claim_run(folder)
    with lock_of_run(folder):
        pipeline = Pipeline(resolved, folder, engine=open_engine(engine)).begin()
        log_to(folder / "run.log")
        yield pipeline


class RunLog(logging.FileHandler):
    """A log file that falls silent where the disk is full: the run itself tells that, once."""

    def format(self, record: logging.LogRecord) -> str:
        """Format what a terminal can show as text: a log is read in one."""
        return printable(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass over what the system refuses to write."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to(path: Path) -> None:
    """Send the package's log to a file too, until the next call."""
    logger = logging.getLogger("h2rec")
    for old in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
        logger.removeHandler(old)
        old.close()
    handler = RunLog(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)


def finish_run(pipeline: Pipeline) -> None:
    """Carry a pipeline out to the end and print its table."""
    print_metrics(pipeline)
    bundle_folder = pipeline.bundled()
    result_console().print(
        f"report: {pipeline.out / 'report.html'}\nbundle: {bundle_folder} ({trained_on(pipeline)})",
        soft_wrap=True,
        highlight=False,
    )


def trained_on(pipeline: Pipeline) -> str:
    """Words for what the bundled model was trained on."""
    count = f"{len(pipeline.served_histories.items):,} interactions"
    if pipeline.config.bundle.refit:
        return f"trained again on all {count}"
    return f"the measured model, trained on {count} of {len(pipeline.dataset.histories.items):,}"


def print_metrics(pipeline: Pipeline) -> None:
    """Evaluate, print the test figures of each protocol, and say how the model stands beside the baselines."""
    metrics = telling(pipeline.evaluated(baselines=True))
    name = pipeline.config.called
    for protocol in metrics["test"]:
        ranked = (
            "all items ranked"
            if protocol == FULL
            else f"target among {protocol.removeprefix('sampled')} negatives"
        )
        left_out = apart(metrics["test"][protocol])
        ranked += f" ({left_out})" if left_out else ""
        rows = with_baselines({name: metrics["test"]}, metrics, protocol)
        result_console().print(metrics_table(rows, protocol, LEADING, title=f"test, {protocol}: {ranked}"))
    print_verdicts(name, metrics)


def print_verdicts(name: str, metrics: Mapping[str, Any]) -> None:
    """Say in a sentence for each baseline how a model stands beside it."""
    for sentence in verdicts(metrics.get("baselines", {})):
        result_console().print(f"{name}: {sentence}", soft_wrap=True, markup=False, highlight=False)

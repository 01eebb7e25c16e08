"""The whole job in one call, for people who import."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from h2rec.python.model import Model
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.trackers import tracked


def fit(
    config: RunConfig | Mapping[str, Any] | str | Path, out: str | Path, *, track: Sequence[str] = ()
) -> Model:
    """Train what a configuration asks for, evaluate it, train it again on everything, bundle it, and load the bundle.

    Parameters
    ----------
    config
        A configuration, its plain values, or the path of a YAML file.
    out
        Folder of the run; what is finished there already is reused. Afterwards it holds `metrics.json`,
        `report.html`, `bundle/` and the other files of a run.
    track
        Where the figures of every epoch go: ``tensorboard``, ``mlflow``, ``wandb``, or a registered `Tracker`.

    Raises
    ------
    H2RecError
        Whatever is wrong with the configuration or the data, with a hint what to do.
    """
    if isinstance(config, str | Path):
        resolved = RunConfig.load(Path(config))
    elif isinstance(config, RunConfig):
        resolved = config
    else:
        resolved = RunConfig.parse(config).resolved(Path.cwd())
    pipeline = Pipeline(resolved, Path(out))
    with tracked(pipeline.begin(), track):
        pipeline.evaluated(baselines=True)
        folder = pipeline.bundled()
    return Model.load(folder)

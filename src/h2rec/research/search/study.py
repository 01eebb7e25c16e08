"""Search for settings: every model by the same search, with the same budget, selected on validation."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2rec.claims import claim_names
from h2rec.errors import ConfigError, DataError, H2RecError, needs_extra
from h2rec.files import read_json, write_json
from h2rec.research.search.space import SearchSpace, default_space, value_at, with_values
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance
from h2rec.runtime import random_stream
from h2rec.training.trainer import OnEpoch

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

STARTUP_TRIALS = 4
"""Trials drawn at random before the sampler learns from what it saw."""
ATTEMPTS = 10
"""Draws for one trial; the last may repeat settings, where there is little to choose from."""
WHOLE_TRIALS = 3
"""Trials that are trained to their end whatever they show; later ones stop where the median of the others is better."""
SPARED_SHARE = 1 / 3
"""Share of the epochs in which no trial is stopped."""


@dataclass(frozen=True)
class TrialRecord:
    """One training of a search."""

    settings: dict[str, Any]
    """The searched keys and their values."""
    value: float | None
    """Best validation value; None where the training failed or was stopped."""
    best_epoch: int | None = None
    seconds: float = 0.0
    """Epoch of that value, and seconds of training."""
    stopped_after: int | None = None
    """Epoch after which the training was stopped because other trials were better there, or None."""
    error: str | None = None
    """What went wrong, or None."""


@dataclass(frozen=True)
class TuningResult:
    """What a search found; `best` is the whole configuration with the best settings."""

    best: RunConfig
    value: float
    trials: list[TrialRecord]


def tune(
    config: RunConfig,
    trials: int,
    out: Path,
    *,
    space: SearchSpace | None = None,
    also: Sequence[Mapping[str, Any]] = (),
    stages: Path | None = None,
) -> TuningResult:
    """Search the settings that are best on validation; the first trial is the configuration as it is.

    The search is kept in `out` (``study.db``, ``trials.json``, ``best.yaml``); the same call goes on where it was
    stopped, a half-done training from its checkpoint, and ends as an unbroken search would have.

    Parameters
    ----------
    config
        What is not searched, and the start of what is.
    trials
        Trials in all, those already on record included.
    space
        Ranges by dotted key; None takes the default for the model.
    also
        Settings to try next, by dotted key, such as what was best on other data; keys that are not searched are
        passed over, and missing ones keep the configuration's value.
    stages
        Folder of finished stages, to share data, text and codes with other runs; by default inside `out`.

    Raises
    ------
    ConfigError
        If the number of trials is below one, a key of the space does not exist, or `out` holds another search.
    MissingExtraError
        If optuna is not installed.
    H2RecError
        If no trial could be trained.
    """
    if trials < 1:
        raise ConfigError(f"--trials: {trials}, at least one is needed")
    space = default_space(config) if space is None else space
    if not space:
        raise ConfigError(f"the preset {config.preset} has no setting to search", "name ranges with --space")
    start = {key: value_at(config, key) for key in space}
    claim(out)
    out.mkdir(parents=True, exist_ok=True)
    also = [start | {key: value for key, value in tried.items() if key in space} for tried in also]
    _claim(out, config, space, also)
    study = _open_study(out, config.train.epochs)
    _take_up_again(study)
    if not study.trials:
        for tried in [start, *also]:
            outside = [key for key, value in tried.items() if not space[key].holds(value)]
            if outside:
                logger.warning(
                    "%s lies outside the ranges of the search, and is not tried", ", ".join(outside)
                )
            else:
                study.enqueue_trial(dict(tried))

    def opened(tried: RunConfig, watch: OnEpoch) -> Pipeline:
        return Pipeline(tried, out / "work", stages or out / "stages", watch)

    records = _records(study)
    while len(records) < trials:
        records.append(_run_trial(study, config, space, records, opened))
        write_json(out / "trials.json", _report(config, records))
    done = [record for record in records if record.value is not None]
    if not done:
        raise H2RecError(f"none of {len(records)} trials could be trained; the last: {records[-1].error}")
    winner = max(done, key=lambda record: record.value or 0.0)
    best = with_values(config, winner.settings)
    best.save(out / "best.yaml")
    assert winner.value is not None
    return TuningResult(best, winner.value, records)


def _run_trial(
    study: "optuna.Study",
    config: RunConfig,
    space: SearchSpace,
    records: Sequence[TrialRecord],
    opened: Callable[[RunConfig, OnEpoch], Pipeline],
) -> TrialRecord:
    import optuna

    number = len(records)
    for attempt in range(ATTEMPTS):
        # A sampler of its own for each trial: a search that was stopped draws what it would have drawn.
        stream = (number, attempt) if attempt else (number,)
        seed = int(random_stream(config.train.seed, "tune", *stream).integers(2**31))
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        trial = study.ask()
        settings = {key: _suggest(trial, key, space) for key in space}
        if attempt == ATTEMPTS - 1 or settings not in [record.settings for record in records]:
            break
        # Settings that were tried already are no new trial.
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    tried = with_values(config, settings)
    # What a training had shown before it was killed counts as if it had not been.
    shown = {int(epoch): value for epoch, value in trial.user_attrs.get("shown", {}).items()}
    for epoch, value in shown.items():
        trial.report(value, epoch)

    def watch(of_epoch: dict[str, Any]) -> None:
        epoch, value = of_epoch["epoch"], of_epoch.get("valid", {}).get(config.train.select)
        if value is None or epoch in shown:
            return
        shown[epoch] = value
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(epoch)

    try:
        pipeline = opened(tried, watch)
        value = pipeline.validation_value()
        training = read_json(pipeline.train_stage.folder / "training.json")
        for entry in training["log"]:
            # A training that was finished before reported nothing.
            if "valid" in entry and entry["epoch"] not in shown:
                trial.report(entry["valid"][config.train.select], entry["epoch"])
        record = TrialRecord(settings, value, training["best_epoch"], training["seconds"])
        state = optuna.trial.TrialState.COMPLETE
    except optuna.TrialPruned as stop:
        record = TrialRecord(settings, None, stopped_after=stop.args[0])
        state = optuna.trial.TrialState.PRUNED
    except H2RecError as error:
        if number == 0:
            raise
        logger.warning("trial %d failed: %s", number + 1, error.message)
        record = TrialRecord(settings, None, error=error.message)
        state = optuna.trial.TrialState.FAIL
    trial.set_user_attr("record", asdict(record))
    study.tell(trial, record.value, state=state)
    logger.info("trial %d, %s: %s with %s", number + 1, state.name.lower(), record.value, settings)
    return record


def _suggest(trial: "optuna.Trial", key: str, space: SearchSpace) -> Any:
    among = space[key]
    if among.choices is not None:
        return trial.suggest_categorical(key, among.choices)
    assert among.low is not None
    assert among.high is not None
    value = trial.suggest_float(key, among.low, among.high, log=among.log)
    # Values as a person would write them.
    return float(f"{value:.3g}")


def _open_study(out: Path, epochs: int) -> "optuna.Study":
    with needs_extra("h2rec tune", "tune"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{(out / 'study.db').resolve()}"
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=WHOLE_TRIALS, n_warmup_steps=math.ceil(epochs * SPARED_SHARE)
    )
    return optuna.create_study(
        storage=storage, study_name="h2rec", direction="maximize", pruner=pruner, load_if_exists=True
    )


def _take_up_again(study: "optuna.Study") -> None:
    """Queue the settings of a trial that was killed: its training goes on from its checkpoint."""
    import optuna

    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"shown": trial.intermediate_values})


def _records(study: "optuna.Study") -> list[TrialRecord]:
    return [
        TrialRecord(**trial.user_attrs["record"]) for trial in study.trials if "record" in trial.user_attrs
    ]


def claim(out: Path) -> None:
    """Refuse a folder in which a search would overwrite what h2rec did not write.

    Raises `H2RecError`, naming what is there.
    """
    claim_names(out, ("search.json", "study.db", "trials.json", "best.yaml"), _is_search)


def _is_search(out: Path) -> bool:
    try:
        asked = read_json(out / "search.json")
    except DataError:
        return False
    return isinstance(asked, dict) and {"config", "space"} <= asked.keys()


def _claim(out: Path, config: RunConfig, space: SearchSpace, also: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a folder that holds the search of another configuration or space."""
    asked: dict[str, Any] = {
        "config": config.model_dump(mode="json", exclude={"runtime"}),
        "space": {key: among.model_dump(mode="json") for key, among in space.items()},
    }
    if also:
        asked["also"] = list(also)
    path = out / "search.json"
    if not path.exists():
        write_json(path, asked)
    elif read_json(path) != asked:
        raise ConfigError(
            f"{out}: holds a search of another configuration", "give another --out, or delete the folder"
        )


def _report(config: RunConfig, records: list[TrialRecord]) -> Mapping[str, Any]:
    return {
        "preset": config.preset,
        "selected_by": f"valid {config.train.select}",
        "trials": [asdict(record) for record in records],
        "provenance": provenance(config.train.seed),
    }

"""The same search for every row of a suite on every data set, several side by side, and the configs that it finds."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from h2rec.claims import claim_file
from h2rec.cores import available_cores, default_threads
from h2rec.errors import ConfigError, H2RecError
from h2rec.files import read_yaml, write_text
from h2rec.progress import progress_bar
from h2rec.research.search.space import default_space, value_at
from h2rec.research.search.study import TuningResult, tune
from h2rec.research.suite.files import Values, flat, merged, nested, read_tuned, tuned_file
from h2rec.research.suite.runs import Job, with_threads
from h2rec.research.suite.suite import Suite
from h2rec.research.workers import side_by_side

logger = logging.getLogger(__name__)


def tune_suite(
    suite: Suite, trials: int, *, jobs: int = 1, only: Sequence[str] = (), also: Sequence[Path] = ()
) -> dict[tuple[str, str], str]:
    """Search every row of a suite that is trained, with its first seed and the default space of its model.

    Rows that take what is found for another one (`SuiteSettings.tuned_as`) are left out.

    A search lies in ``search/DATA/ROW`` below the suite's folder and goes on where it was stopped; what it finds is
    written to ``tuned/DATA/ROW.yaml``, the searched keys alone, as `Suite.load` takes them.

    Returns data sets and rows whose search failed, and what went wrong. Raises `ConfigError` if there is no such
    row, or a folder of `also` holds nothing of the rows, or a file can't be read.

    Parameters
    ----------
    trials
        Trials of each search, those already on record included.
    jobs
        Searches side by side; each gets its share of the cores.
    only
        Rows to search; all if empty.
    also
        Settings for a row's next trials after the first one: folders of settings by row, ``ROW.yaml``, such as what was
        found on another data set, or files of settings for all rows alike.
    """
    wanted = [job for job in suite.chosen(only) if _is_searched(job, suite)]
    for known in also:
        if not any(_known(known, job.model) for job in wanted):
            raise ConfigError(f"--also {known}: holds no settings of a row that is searched, ROW.yaml")
    for job in wanted:
        claim_file(tuned_file(suite.out / "tuned", job.data, job.model), _is_tuned)
    threads = min(default_threads(), max(1, available_cores() // jobs))
    failures: dict[tuple[str, str], str] = {}
    tasks = {job: (job, suite.out, suite.stages, trials, threads, also) for job in wanted}
    with progress_bar("tuning", len(wanted), "searches") as advance:
        for job, outcome in side_by_side(_search, tasks, jobs):
            if isinstance(outcome, H2RecError):
                failures[job.data, job.model] = str(outcome)
                logger.error("%s, %s: %s", job.data, job.model, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                logger.info("searched: %s, %s: %.5f", job.data, job.model, outcome)
            advance(1)
    return failures


def _is_tuned(path: Path) -> bool:
    """Whether a file is one of settings that a search has found."""
    with path.open("rb") as stream:
        return re.match(rb"# .+ on .+: best of \d+ trials", stream.readline()) is not None


def _is_searched(job: Job, suite: Suite) -> bool:
    """Whether a job stands for a row with a search: one seed a row, and something to train."""
    settings = suite.settings
    first = job.seed == settings.seeds[0]
    own = settings.tuned_as.keys().isdisjoint((job.model, settings.rows[job.model].model))
    return first and own and job.answers is None and job.config.model.is_trained


def _search(  # noqa: PLR0917 - handed to a pool
    job: Job, out: Path, stages: Path, trials: int, threads: int, also: Sequence[Path]
) -> float:
    folder = tuned_file(out / "search", job.data, job.model).with_suffix("")
    tried = [settings for known in also if (settings := _known(known, job.model))]
    result = tune(with_threads(job.config, threads), trials, folder, also=tried, stages=stages)
    write_text(tuned_file(out / "tuned", job.data, job.model), _as_yaml(job, result))
    return result.value


def _known(path: Path, row: str) -> Values:
    """Settings of a row by dotted key, from a file for all rows or a folder of one for each; maybe none."""
    return flat(read_yaml(path) if path.is_file() else read_tuned(path.parent, path.name, row))


def _as_yaml(job: Job, result: TuningResult) -> str:
    space = default_space(job.config)
    values: Values = merged(*(nested(key, value_at(result.best, key)) for key in space))
    comment = (
        f"# {job.model} on {job.data}: best of {len(result.trials)} trials, "
        f"validation {result.best.train.select} {result.value:.4f}\n"
    )
    return comment + yaml.safe_dump(values, sort_keys=False)

"""Models x data sets x seeds from one file, each a pipeline of its own, several side by side."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from h2rec.claims import claim_names
from h2rec.cores import available_cores, default_threads
from h2rec.errors import ConfigError, DataError
from h2rec.progress import progress_bar
from h2rec.research.suite.files import Values, merged, read_suite, read_tuned, suite_path, tuned_file
from h2rec.research.suite.foreign import Answers, answers_of
from h2rec.research.suite.results import RESULTS_FILE, read_results
from h2rec.research.suite.runs import Figures, Job, carry_out, failure_of, write_failure
from h2rec.research.suite.settings import Row, SuiteSettings
from h2rec.research.workers import side_by_side
from h2rec.run.config import RunConfig, apply_override

logger = logging.getLogger(__name__)


class Suite:
    """A suite and the folder of its runs.

    Parameters
    ----------
    settings
        What is compared.
    out
        Folder of the suite; runs lie in ``runs/DATA/ROW/seed-N`` below it.
    stages
        Folder of finished stages, which suites may share; by default ``stages`` in `out`.
    name
        What the suite is called in its report.
    tuned
        Folder of tuned settings, ``DATA/ROW.yaml``: they win over the suite's own, row by row. Rows without a file
        stay as they are; see `SuiteSettings.tuned_as`.
    overrides
        Keys of a run's configuration that win in every run, but over what is swept.

    Raises
    ------
    ConfigError
        Naming the run and key that can't be used, or rows that can't be told apart or compared.
    """

    def __init__(
        self,
        settings: SuiteSettings,
        out: Path,
        stages: Path | None = None,
        name: str = "suite",
        *,
        tuned: Path | None = None,
        overrides: Values | None = None,
    ) -> None:
        self.settings = settings
        self.tuned = tuned
        self.out = out
        self.stages = stages or out / "stages"
        self.name = name
        self.overrides = overrides or {}
        self.searched: list[tuple[str, str]] = []
        """Data sets and rows that have settings in `tuned`."""
        self._figures = Figures()
        self.jobs = list(self._make_jobs())
        self._check()

    @classmethod
    def load(
        cls,
        suite: str | Path,
        out: Path,
        *,
        data: Sequence[str] = (),
        overrides: Sequence[str] = (),
        stages: Path | None = None,
        tuned: Path | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Self:
        """Read a suite by its file's path or a shipped suite by its name; see `files.read_suite`.

        Other `seeds` than the suite's own may be given.

        Raises
        ------
        ConfigError
            Naming the file, and the run and key that can't be used.
        """
        path = suite_path(str(suite))
        values = read_suite(path, data) | ({} if seeds is None else {"seeds": list(seeds)})
        settings = SuiteSettings.parse(values, source=str(suite))
        asked: Values = {}
        for override in overrides:
            apply_override(asked, override)
        if "seed" in (asked.get("train") or {}):
            raise ConfigError("--set train.seed: a suite trains with seeds of its own", "give --seeds 0,1,2")
        return cls(settings, out, stages, path.stem, tuned=tuned, overrides=asked)

    def _make_jobs(self) -> Iterator[Job]:
        # Seed by seed: a suite that is stopped early has whole tables of fewer seeds.
        tuned = {
            (data, name): self._tuned(data, name, row)
            for data in self.settings.data
            for name, row in self.settings.rows.items()
        }
        self.searched = [place for place, values in tuned.items() if values]
        if self.tuned is not None and not any(tuned.values()):
            raise ConfigError(f"{self.tuned}: holds no tuned settings of a row of this suite, DATA/ROW.yaml")
        for seed in self.settings.seeds:
            for data, data_values in self.settings.data.items():
                for name, row in self.settings.rows.items():
                    if row.model in self.settings.skip.get(data, []):
                        continue
                    folder = self.out / "runs" / data / _file_name(name) / f"seed-{seed}"
                    if row.foreign is not None:
                        path = row.foreign.file(data)
                        if seed == self.settings.seeds[0] and path is not None:
                            yield self._foreign_job(data, name, folder, answers_of(row.foreign, path))
                        continue
                    # What a row takes from another one is where it stands; its own keys are what it differs by.
                    layers = [row.values, tuned[data, name]]
                    if not self.settings.tuned_as.keys().isdisjoint((name, row.model)):
                        layers.reverse()
                    layers += [self.overrides, row.swept, {"train": {"seed": seed}}]
                    values = merged(self.settings.base, data_values, *layers)
                    config = RunConfig.parse(values, source=f"{data}, {name}").resolved(Path.cwd())
                    yield Job(data, name, seed, config, folder)

    def _foreign_job(self, data: str, name: str, folder: Path, answers: Answers) -> Job:
        """Measure another system, which has no seeds, as models are measured on a data set."""
        values = merged(self.settings.base, self.settings.data[data], self.overrides)
        kept = {
            part: value
            for part, value in values.items()
            if part in ("data", "evaluate", "runtime", "plugins")
        }
        config = RunConfig.parse(kept, source=f"{data}, {name}").resolved(Path.cwd())
        return Job(data, name, self.settings.seeds[0], config, folder, answers)

    def _check(self) -> None:
        """Refuse what would only show after all training: no runs, places that are shared, figures that don't pair."""
        if not self.jobs:
            raise ConfigError("the suite has no runs: every row is skipped on every data set")
        self._check_places()
        firsts: dict[str, Job] = {}
        for job in self.jobs:
            first = firsts.setdefault(job.data, job)
            pairs = {
                "data": (job.config.data, first.config.data),
                "evaluate": (job.config.evaluate, first.config.evaluate),
            }
            for part, (own, other) in pairs.items():
                if own != other:
                    raise ConfigError(
                        f"{job.data}: rows '{first.model}' and '{job.model}' differ in '{part}', so their figures "
                        "can't be compared",
                        "make data sets of them, or set it under base",
                    )
            swept = self.settings.rows[job.model].key or ""
            if job.config.semantic_ids.file is not None and _makes_codes(swept):
                raise ConfigError(
                    f"{job.data}: sweeping {swept} changes nothing where codes are read from a file"
                )
        for data, first in firsts.items():
            ks = first.config.evaluate.ks
            cutoffs = {name: int(name.rpartition("@")[2]) for name in self.settings.metrics if "@" in name}
            missing = [name for name, k in cutoffs.items() if k not in ks]
            if len(missing) == len(self.settings.metrics):
                raise ConfigError(
                    f"{data}: {', '.join(missing)} is measured nowhere", f"evaluate.ks has {ks}"
                )
            if missing:
                logger.warning("%s: without %s, as evaluate.ks has %s", data, ", ".join(missing), ks)

    def _check_places(self) -> None:
        for folder in (self.out, self.stages):
            if folder.exists() and not folder.is_dir():
                raise ConfigError(f"{folder}: is no folder")
        claim_names(self.out, (RESULTS_FILE, "report.html"), _is_suite)
        for clash, place in (
            ("lie in one folder", _file_name),
            ("have one file of tuned settings", lambda row: tuned_file(Path(), "", row).name),
        ):
            taken: dict[str, str] = {}
            for name in self.settings.rows:
                other = taken.setdefault(place(name), name)
                if other != name:
                    raise ConfigError(f"rows '{other}' and '{name}' would {clash}: name them otherwise")

    def _tuned(self, data: str, name: str, row: Row) -> Values:
        """What was searched for a row; where a sweep's row has nothing of its own, for the model that is swept."""
        if self.tuned is None:
            return {}
        asked = (self.settings.tuned_as.get(of, of) for of in dict.fromkeys((name, row.model)))
        return next((values for of in asked if (values := read_tuned(self.tuned, data, of))), {})

    def run(
        self, jobs: int = 1, *, cores: Sequence[int] | None = None, only: Sequence[str] = ()
    ) -> dict[Job, str]:
        """Carry out all runs that are not finished; a run that fails does not stop the others.

        Raises `ConfigError` if there is no such row or core, or no file of a data set's interactions or items.

        Parameters
        ----------
        jobs
            Runs side by side; each gets its share of the cores.
        cores
            Numbers of the CPU cores to use; None for all that this process may use.
        only
            Rows to run; all if empty.

        Returns
        -------
        dict
            The failed runs and what went wrong.
        """
        chosen = self.chosen(only)
        wanted = _shared_last([job for job in chosen if self._figures.made_with(job) != job.key])
        for job in wanted:
            answers = None if job.answers is None else job.answers.path
            for path in (job.config.data.interactions, job.config.data.items, answers):
                if path is not None and not path.exists():
                    raise ConfigError(f"{job.data}: {path}: no such file")
        threads = min(default_threads(), max(1, (len(cores) if cores else available_cores()) // jobs))
        failures: dict[Job, str] = {}
        with progress_bar("suite", len(chosen), "runs") as advance:
            advance(len(chosen) - len(wanted))
            tasks = {job: (job, self.stages, threads) for job in wanted}
            for job, outcome in side_by_side(carry_out, tasks, jobs, cores=cores):
                if isinstance(outcome, BaseException):
                    failures[job] = write_failure(job, outcome)
                else:
                    logger.info("finished: %s, %s, seed %d", job.data, job.model, job.seed)
                advance(1)
        return failures

    def chosen(self, only: Sequence[str]) -> list[Job]:
        """Return the runs of some rows, all if none is named. Raises `ConfigError` if there is no such row."""
        unknown = [name for name in only if name not in self.settings.rows]
        if unknown:
            raise ConfigError(f"no row '{unknown[0]}'", f"there are: {', '.join(self.settings.rows)}")
        return [job for job in self.jobs if not only or job.model in only]

    def finished(self) -> list[Job]:
        """Runs whose figures are there, whether or not all are; those of other settings are not (see `stale`)."""
        return [job for job in self.jobs if self._figures.made_with(job) == job.key]

    def stale(self) -> list[Job]:
        """Runs whose figures were made with other settings or data than the suite asks for now."""
        return [job for job in self.jobs if self._figures.made_with(job) not in (None, job.key)]

    def failed(self) -> dict[Job, str]:
        """Runs that ended with an error when they were last tried with these settings, and the error."""
        return {job: error for job in self.jobs if (error := failure_of(job)) is not None}


def _is_suite(out: Path) -> bool:
    try:
        return {"suite", "records"} <= read_results(out / RESULTS_FILE).keys()
    except DataError:
        return False


def _makes_codes(key: str) -> bool:
    """Whether a key decides how codes are made of texts."""
    return key.startswith("text.") or (key.startswith("semantic_ids.") and key != "semantic_ids.quantizer")


def _shared_last(jobs: Iterable[Job]) -> list[Job]:
    """Put runs that share another one's training behind it and all others: side by side they would wait for it."""
    makers: list[Job] = []
    others: list[Job] = []
    seen: set[str] = set()
    for job in jobs:
        training = job.config.training_key
        (others if training in seen else makers).append(job)
        seen.add(training)
    return makers + others


def _file_name(row: str) -> str:
    """A row's name as the name of a folder."""
    return row.replace("/", "-")

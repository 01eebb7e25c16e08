"""Models x data sets x seeds from one file, each a pipeline of its own, several side by side."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from h2rec.errors import ConfigError, H2RecError
from h2rec.experiments.config import RunConfig, key_of_settings, read_yaml
from h2rec.experiments.intent import intent_by_popularity
from h2rec.experiments.pipeline import Pipeline
from h2rec.experiments.shares import branch_shares
from h2rec.experiments.suite.files import Values, merged, read_suite, read_tuned, suite_path
from h2rec.experiments.suite.settings import Row, SuiteSettings
from h2rec.files import read_json, write_json
from h2rec.progress import progress_bar
from h2rec.runtime import available_cores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a suite."""

    data: str
    model: str
    seed: int
    config: RunConfig
    folder: Path


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
    """

    def __init__(
        self,
        settings: SuiteSettings,
        out: Path,
        stages: Path | None = None,
        name: str = "suite",
        *,
        tuned: Path | None = None,
    ) -> None:
        self.settings = settings
        self.tuned = tuned
        self.out = out
        self.stages = stages or out / "stages"
        self.name = name
        self.searched: list[tuple[str, str]] = []
        """Data sets and rows that have settings in `tuned`."""
        self.jobs = list(self._jobs())

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
        values = read_suite(path, data, overrides) | ({} if seeds is None else {"seeds": list(seeds)})
        settings = SuiteSettings.parse(values, source=str(suite))
        return cls(settings, out, stages, path.stem, tuned=tuned)

    def _jobs(self) -> Iterator[Job]:
        # Seed by seed: a suite that is stopped early has whole tables of fewer seeds.
        found = {
            (data, name): self._tuned(data, name, row)
            for data in self.settings.data
            for name, row in self.settings.rows.items()
        }
        self.searched = [place for place, values in found.items() if values]
        if self.tuned is not None and not any(found.values()):
            raise ConfigError(f"{self.tuned}: holds no tuned settings of a row of this suite, DATA/ROW.yaml")
        for seed in self.settings.seeds:
            for data, of_data in self.settings.data.items():
                for name, row in self.settings.rows.items():
                    if row.model in self.settings.skip.get(data, []):
                        continue
                    # What a row takes from another one is where it stands; its own keys are what it differs by.
                    parts = [row.values, found[data, name]]
                    if not self.settings.tuned_as.keys().isdisjoint((name, row.model)):
                        parts.reverse()
                    values = merged(self.settings.base, of_data, *parts, row.swept, {"train": {"seed": seed}})
                    config = RunConfig.parse(values, source=f"{data}, {name}").resolved(Path.cwd())
                    folder = self.out / "runs" / data / _file_name(name) / f"seed-{seed}"
                    yield Job(data, name, seed, config, folder)

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

        Raises
        ------
        ConfigError
            If there is no such row or core.
        """
        wanted = self.chosen(only)
        threads = max(1, (len(cores) if cores else available_cores()) // jobs)
        failures: dict[Job, str] = {}
        with progress_bar("suite", len(wanted), "runs") as advance:

            def tell(job: Job, error: BaseException | None) -> None:
                if error is None:
                    logger.info("finished: %s, %s, seed %d", job.data, job.model, job.seed)
                else:
                    told = str(error) if isinstance(error, H2RecError) else f"{type(error).__name__}: {error}"
                    failures[job] = told
                    write_json(job.folder / "failure.json", {"error": told})
                    logger.error(
                        "%s, %s, seed %d failed: %s",
                        job.data,
                        job.model,
                        job.seed,
                        told,
                        exc_info=None if isinstance(error, H2RecError) else error,
                    )
                advance(1)

            killed = self._run_side_by_side(wanted, jobs, threads, cores, tell)
            # A killed process (by the system, for want of memory) takes its pool along: whose it was shows by itself.
            for job in killed:
                if self._run_side_by_side([job], 1, threads, cores, tell):
                    tell(job, H2RecError("its process was killed", "was there enough memory?"))
        return failures

    def _run_side_by_side(
        self,
        wanted: Sequence[Job],
        jobs: int,
        threads: int,
        cores: Sequence[int] | None,
        tell: Callable[[Job, BaseException | None], None],
    ) -> list[Job]:
        """Carry runs out and tell how each ended; return those that ended with their pool."""
        # Spawned, not forked: a forked child would inherit the thread pools of the numerical libraries.
        context = multiprocessing.get_context("spawn")
        killed = []
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent) as pool:
            futures: dict[Future[None], Job] = {
                pool.submit(_run, job, self.stages, threads, cores): job for job in wanted
            }
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    killed.append(futures[future])
                else:
                    tell(futures[future], error)
        return killed

    def chosen(self, only: Sequence[str]) -> list[Job]:
        """Return the runs of some rows, all if none is named.

        Raises
        ------
        ConfigError
            If there is no such row.
        """
        unknown = [name for name in only if name not in self.settings.rows]
        if unknown:
            raise ConfigError(f"no row '{unknown[0]}'", f"there are: {', '.join(self.settings.rows)}")
        return [job for job in self.jobs if not only or job.model in only]

    def finished(self) -> list[Job]:
        """Runs whose figures are there, whether or not all are; those of other settings are not (see `stale`)."""
        return [job for job in self.jobs if self._made_with(job) == job.config.key]

    def stale(self) -> list[Job]:
        """Runs whose figures were made with other settings than the suite asks for now."""
        return [job for job in self.jobs if self._made_with(job) not in (None, job.config.key)]

    @staticmethod
    def _made_with(job: Job) -> str | None:
        path = job.folder / "metrics.json"
        if not path.exists():
            return None
        told = str(read_json(path)["provenance"].get("settings"))
        try:
            written = read_yaml(job.folder / "config.yaml")
            # As the figures' own settings are read today: keys that came later stand at their defaults, which change
            # nothing of what was there before.
            read = RunConfig.parse(written, source="")
        except ConfigError:
            return told
        own = {name: value for name, value in written["model"].items() if name not in read.model.of_others}
        # The sections of other models counted once.
        given = (key_of_settings({**written, "model": own}), key_of_settings(written))
        return read.key if told in given else told

    def failed(self) -> dict[Job, str]:
        """Runs that ended with an error when they were last tried, and the error."""
        paths = {job: job.folder / "failure.json" for job in self.jobs}
        return {job: str(read_json(path)["error"]) for job, path in paths.items() if path.exists()}


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone: a killed suite leaves nobody at work."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(job: Job, stages: Path, threads: int, cores: Sequence[int] | None) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        try:
            os.sched_setaffinity(0, cores)
        except OSError:
            raise ConfigError(f"--cores: this process may not use all of the cores {list(cores)}") from None
    pipeline = Pipeline(with_threads(job.config, threads), job.folder, stages)
    pipeline.evaluated()
    intent_by_popularity(pipeline)
    branch_shares(pipeline)
    (job.folder / "failure.json").unlink(missing_ok=True)


def with_threads(config: RunConfig, threads: int) -> RunConfig:
    """Return the configuration with a number of threads, if it has none of its own."""
    if config.runtime.threads is not None:
        return config
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"threads": threads})})


def _file_name(row: str) -> str:
    """A row's name as the name of a folder."""
    return row.replace("/", "-")

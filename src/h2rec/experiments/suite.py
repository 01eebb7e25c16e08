"""Models x data sets x seeds from one file, each a pipeline of its own, several side by side."""

import copy
import logging
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from h2rec.errors import H2RecError
from h2rec.experiments.config import RunConfig, read_yaml
from h2rec.experiments.pipeline import Pipeline
from h2rec.files import write_json
from h2rec.progress import progress_bar
from h2rec.runtime import available_cores
from h2rec.settings import Settings

logger = logging.getLogger(__name__)

Values = dict[str, Any]


class SuiteSettings(Settings):
    """What a suite compares. Every part holds the keys of a run's configuration; later parts win."""

    base: Values = Field(default_factory=dict)
    """What all runs share."""
    data: dict[str, Values] = Field(min_length=1)
    """Data sets by name."""
    models: dict[str, Values] = Field(min_length=1)
    """Rows of the tables by name."""
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    """Training seeds; codes and sampled negatives are the same for all of them."""
    reference: str | None = None
    """The row that all others are tested against; null takes the last."""
    metrics: list[str] = Field(["hit@10", "ndcg@10", "hit@100", "hit@500"], min_length=1)
    """Columns of the tables."""

    @model_validator(mode="after")
    def _reference_is_a_row(self) -> Self:
        if self.reference is not None and self.reference not in self.models:
            raise ValueError(f"reference '{self.reference}' is none of the models {', '.join(self.models)}")
        return self

    @property
    def tested(self) -> str:
        """Name of the row that all others are tested against."""
        return self.reference or list(self.models)[-1]


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
    base
        Folder that relative paths of the settings start from.
    out
        Folder of the suite; runs lie in ``runs/DATA/MODEL/seed-N`` below it and share ``stages``.
    """

    def __init__(self, settings: SuiteSettings, base: Path, out: Path) -> None:
        self.settings = settings
        self.out = out
        self.jobs = list(self._jobs(base))

    @classmethod
    def load(cls, path: Path, out: Path) -> Self:
        """Read a suite's YAML file.

        Raises
        ------
        ConfigError
            Naming the file, and the run and key that can't be used.
        """
        settings = SuiteSettings.parse(read_yaml(path), source=str(path))
        return cls(settings, path.resolve().parent, out)

    def _jobs(self, base: Path) -> Iterator[Job]:
        # Seed by seed: a suite that is stopped early has whole tables of fewer seeds.
        for seed in self.settings.seeds:
            for data, of_data in self.settings.data.items():
                for model, of_model in self.settings.models.items():
                    values = merged(self.settings.base, of_data, of_model, {"train": {"seed": seed}})
                    config = RunConfig.parse(values, source=f"{data}, {model}").resolved(base)
                    yield Job(data, model, seed, config, self.out / "runs" / data / model / f"seed-{seed}")

    def run(self, jobs: int = 1) -> dict[Job, str]:
        """Carry out all runs that are not finished; a run that fails does not stop the others.

        Parameters
        ----------
        jobs
            Runs side by side; each gets its share of the cores.

        Returns
        -------
        dict
            The failed runs and what went wrong.
        """
        threads = max(1, available_cores() // jobs)
        failures: dict[Job, str] = {}
        # Spawned, not forked: a forked child would inherit the thread pools of the numerical libraries.
        context = multiprocessing.get_context("spawn")
        with (
            ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool,
            progress_bar("suite", len(self.jobs), "runs") as advance,
        ):
            futures: dict[Future[None], Job] = {
                pool.submit(_run, job, self.out / "stages", threads): job for job in self.jobs
            }
            for future in as_completed(futures):
                job = futures[future]
                error = future.exception()
                if isinstance(error, H2RecError):
                    failures[job] = str(error)
                    write_json(job.folder / "failure.json", {"error": str(error)})
                    logger.error("%s, %s, seed %d failed: %s", job.data, job.model, job.seed, error)
                elif error is not None:
                    raise error
                else:
                    logger.info("finished: %s, %s, seed %d", job.data, job.model, job.seed)
                advance(1)
        return failures

    def finished(self) -> list[Job]:
        """Runs whose figures are there, whether or not all are."""
        return [job for job in self.jobs if (job.folder / "metrics.json").exists()]


def _run(job: Job, stages: Path, threads: int) -> None:
    runtime = job.config.runtime
    if runtime.threads is None:
        runtime = runtime.model_copy(update={"threads": threads})
    Pipeline(job.config.model_copy(update={"runtime": runtime}), job.folder, stages).evaluated()
    (job.folder / "failure.json").unlink(missing_ok=True)


def merged(*parts: Mapping[str, Any]) -> Values:
    """Merge nested mappings; where two give a value for a key, the later one wins."""
    result: Values = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result

"""One run of a suite: how it is carried out, how failures are recorded, and which settings made its figures."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2rec.data.prepare import input_fingerprint
from h2rec.data.settings import DataSettings
from h2rec.errors import DataError, H2RecError
from h2rec.files import content_key, differing, file_hash, read_json, write_json
from h2rec.research.intent import intent_by_popularity
from h2rec.research.shares import branch_shares
from h2rec.research.suite.foreign import Answers, measure_answers
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.stages import stage_key

logger = logging.getLogger(__name__)

HASHES = "hashes.json"
"""Hashes of the files that tables are made of, written last: a run without them is not finished."""
FAILURE = "failure.json"
_HASHED = ("metrics.json", "ranks.parquet", "head.json", "audit.json", "intent.json", "shares.json")


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a suite."""

    data: str
    model: str
    seed: int
    config: RunConfig
    folder: Path
    answers: Answers | None = None
    """What another system answers, which takes the place of the model."""

    @property
    def key(self) -> str:
        """Key of all that decides the figures."""
        if self.answers is None:
            return self.config.key
        known = file_hash(self.answers.path) if self.answers.path.is_file() else None
        return content_key({"settings": self.config.key, "kind": self.answers.kind, "file": known})


def carry_out(job: Job, stages: Path, threads: int) -> None:
    """Carry out a run of a suite."""
    pipeline = Pipeline(with_threads(job.config, threads), job.folder, stages)
    (job.folder / HASHES).unlink(missing_ok=True)  # until all is there again
    if job.answers is None:
        pipeline.evaluated()
        intent_by_popularity(pipeline)
        branch_shares(pipeline)
    else:
        measure_answers(pipeline, job.answers, job.key)
    write_hashes(job.folder)
    (job.folder / FAILURE).unlink(missing_ok=True)


def with_threads(config: RunConfig, threads: int) -> RunConfig:
    """Return the configuration with a number of threads, if it has none of its own."""
    if config.runtime.threads is not None:
        return config
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"threads": threads})})


def write_hashes(folder: Path) -> None:
    """Write the hashes of the files that tables are made of: from now on the run counts."""
    there = [name for name in _HASHED if (folder / name).exists()]
    write_json(folder / HASHES, {name: file_hash(folder / name) for name in there})


def write_failure(job: Job, error: BaseException) -> str:
    """Log and record that a run failed; return the message."""
    # A full disk or a folder that can't be written to is nothing that a traceback explains.
    expected = isinstance(error, H2RecError | OSError)
    message = str(error) if expected else f"{type(error).__name__}: {error}"
    write_json(job.folder / FAILURE, {"error": message, "settings": job.key})
    trace = None if expected else error
    logger.error("%s, %s, seed %d failed: %s", job.data, job.model, job.seed, message, exc_info=trace)
    return message


def failure_of(job: Job) -> str | None:
    """What went wrong when a run was last tried with these settings; None where nothing did."""
    path = job.folder / FAILURE
    failure = read_json(path) if path.exists() else {}
    ours = failure.get("settings", job.key) == job.key
    return str(failure["error"]) if ours and "error" in failure else None


class Figures:
    """Knows which settings made the figures of runs; reads again only what was written since."""

    def __init__(self) -> None:
        self._fingerprints: dict[str, dict[str, Any] | None] = {}
        self._known: dict[Path, tuple[int, str]] = {}

    def made_with(self, job: Job) -> str | None:
        """Key of the settings that a run's figures were made with.

        Returns `str or None`: ``job.key`` where the figures are the ones that are asked for; None where a
        run is not finished, or its files are not as they were written.
        """
        hashes = job.folder / HASHES
        if not hashes.exists():
            return None
        stamp = hashes.stat().st_mtime_ns
        known = self._known.get(job.folder)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            changed = differing(job.folder, read_json(hashes))
        except (DataError, AttributeError):
            changed = HASHES
        if changed is not None:
            where = job.folder / changed
            logger.warning("%s is missing, or was changed after it was written: run the suite again", where)
            return None
        origin = read_json(job.folder / "metrics.json")["provenance"]
        key = str(origin["settings"]) if self._are_of_these_data(job.config.data, origin) else "other data"
        self._known[job.folder] = (stamp, key)
        return key

    def _are_of_these_data(self, data: DataSettings, origin: Mapping[str, Any]) -> bool:
        """Whether figures were made of the present data files; assumed where these can't be read."""
        known = data.model_dump_json()
        if known not in self._fingerprints:
            try:
                # Named data sets are made by the program or fetched from where they don't change.
                self._fingerprints[known] = None if data.source else input_fingerprint(data)
            except DataError:
                self._fingerprints[known] = None
        files = self._fingerprints[known]
        version = origin["made"]["data"]["h2rec"]
        return files is None or bool(stage_key("data", files, version) == origin["stages"]["data"])

"""Finished pieces of work, kept under a key made of everything they depend on."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2rec import __version__
from h2rec.errors import DataError
from h2rec.experiments.cost import metered, spent
from h2rec.experiments.provenance import origin
from h2rec.files import atomic_folder, content_key, read_json, sweep, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Parameters
    ----------
    name
        What was done.
    key
        Key of its inputs and settings.
    folder
        Where its files are; never changed after the stage is finished.
    seconds
        What it took when it was done.
    reused
        Whether it was there already.
    made
        Where it comes from, whoever made it: command, commit, machine, date and ``cpu_seconds``.
    """

    name: str
    key: str
    folder: Path
    seconds: float
    reused: bool
    made: Mapping[str, Any]


def stage_key(name: str, depends_on: Mapping[str, Any], version: str) -> str:
    """Key that a version of this software gives a stage."""
    return content_key({"stage": name, "version": version, **depends_on})


class StageStore:
    """A folder of finished stages, ``NAME-KEY`` each.

    A stage's folder appears under its name only when all its files are written, so what is there is whole.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def key(self, name: str, depends_on: Mapping[str, Any]) -> str:
        """Key of a stage: a hash of its name, of this software's version and of all it depends on."""
        return stage_key(name, depends_on, __version__)

    def run(self, name: str, depends_on: Mapping[str, Any], work: Callable[[Path], None]) -> Stage:
        """Return the finished stage, doing its `work` (filling the folder it is given) only if it is not there."""
        key = self.key(name, depends_on)
        folder = self.root / f"{name}-{key}"
        with _locked(self.root / f".{name}-{key}.lock") as alone:
            if alone:
                sweep(folder)
            return self._made_once(name, key, depends_on, folder, work)

    def _made_once(
        self,
        name: str,
        key: str,
        depends_on: Mapping[str, Any],
        folder: Path,
        work: Callable[[Path], None],
    ) -> Stage:
        record = folder / "stage.json"
        if record.exists():
            try:
                known = read_json(record)
                seconds, made = float(known["seconds"]), known["made"]
                logger.info("%s: reused (%s)", name, folder.name)
                return Stage(name, key, folder, seconds, reused=True, made=made)
            except (DataError, KeyError, TypeError, ValueError):
                logger.warning("%s: %s is damaged, or of older software, and made again", name, folder.name)
                shutil.rmtree(folder)
        logger.info("%s: running", name)
        started = time.perf_counter()
        # Beside the folder, not in it: what a killed attempt has cost is part of what the stage costs.
        cost = self.root / f".{name}-{key}.cost.json"
        with atomic_folder(folder) as fresh:
            with metered(cost):
                work(fresh)
            seconds = time.perf_counter() - started
            made = origin() | {"cpu_seconds": spent(cost)}
            write_json(
                fresh / "stage.json",
                {
                    "stage": name,
                    "key": key,
                    "seconds": seconds,
                    "made": made,
                    "depends_on": dict(depends_on),
                },
            )
        cost.unlink(missing_ok=True)
        logger.info("%s: done in %.1f s (%s)", name, seconds, folder.name)
        return Stage(name, key, folder, seconds, reused=False, made=made)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a file's lock: of several processes that ask for one stage, one makes it and the others wait.

    The system drops the lock with the process, so a killed one blocks nobody. Without such locks (Windows),
    a stage may be made twice, which costs time and nothing else; whether it is held is told.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield True

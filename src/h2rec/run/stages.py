"""Finished pieces of work, kept under a key made of everything they depend on."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2rec import __version__
from h2rec.claims import files_in
from h2rec.errors import DataError, H2RecError
from h2rec.files import atomic_folder, content_key, differing, folder_hashes, read_json, sweep, write_json
from h2rec.locks import locked
from h2rec.run.cost import metered, spent
from h2rec.run.provenance import origin

logger = logging.getLogger(__name__)


RECORD = "stage.json"
"""Record of a stage, and the hashes of its files."""

_checked: set[Path] = set()
"""Folders of stages whose files this process has made, or found to be whole."""


@dataclass(frozen=True)
class Stage:
    """A finished stage."""

    name: str
    """What was done."""
    key: str
    """Key of its inputs and settings."""
    folder: Path
    """Where its files are; never changed after the stage is finished."""
    seconds: float
    """What it took when it was done."""
    reused: bool
    """Whether it was there already."""
    origin: Mapping[str, Any]
    """Where it was made: command, commit, machine, date and ``cpu_seconds``."""


def stage_key(name: str, depends_on: Mapping[str, Any], version: str) -> str:
    """Key that a version of this software gives a stage."""
    return content_key({"stage": name, "version": version, **depends_on})


class StageStore:
    """A folder of finished stages, ``NAME-KEY`` each.

    A stage's folder appears under its name only when all its files are written, so every folder is complete; the hashes
    of its files lie in its `stage.json`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def key(self, name: str, depends_on: Mapping[str, Any]) -> str:
        """Key of a stage: a hash of its name, of this software's version and of all it depends on."""
        return stage_key(name, depends_on, __version__)

    def run(self, name: str, depends_on: Mapping[str, Any], work: Callable[[Path], None]) -> Stage:
        """Return the finished stage, doing its `work` (filling the folder it is given) only if it is not there.

        What is there is checked, once in a process: a stage whose files are not as they were written is made again.

        Raises `H2RecError` if a folder of the stage's name is there that h2rec did not write.
        """
        key = self.key(name, depends_on)
        folder = self.root / f"{name}-{key}"
        with locked(self.root / f".{folder.name}.lock", f"stage {name}") as alone:
            if alone:
                sweep(folder)
            return self._find(name, key, folder) or self._make(name, key, depends_on, folder, work)

    @staticmethod
    def _find(name: str, key: str, folder: Path) -> Stage | None:
        if not (folder / RECORD).exists():
            return None
        try:
            stage = read_stage(folder)
        except DataError as error:
            logger.warning("%s: %s; it is made again", name, error.message)
            return None
        logger.info("%s: reused (%s)", name, folder.name)
        return Stage(name, key, folder, stage["seconds"], reused=True, origin=stage["made"])

    def _make(
        self, name: str, key: str, depends_on: Mapping[str, Any], folder: Path, work: Callable[[Path], None]
    ) -> Stage:
        logger.info("%s: running", name)
        started = time.perf_counter()
        # Beside the folder, not in it: what a killed attempt has cost is part of what the stage costs.
        cost = self.root / f".{name}-{key}.cost.json"
        with atomic_folder(folder, is_stage) as fresh:
            with metered(cost):
                work(fresh)
            seconds = time.perf_counter() - started
            source = origin() | {"cpu_seconds": spent(cost)}
            write_record(
                fresh,
                {
                    "stage": name,
                    "key": key,
                    "seconds": seconds,
                    "made": source,
                    "depends_on": dict(depends_on),
                },
            )
        _checked.add(folder.resolve())
        cost.unlink(missing_ok=True)
        logger.info("%s: done in %.1f s (%s)", name, seconds, folder.name)
        return Stage(name, key, folder, seconds, reused=False, origin=source)


def is_stage(folder: Path) -> bool:
    """Whether a folder is that of a stage."""
    return (folder / RECORD).is_file()


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `stage.json`: the record, the hashes of all other files, and a hash of both."""
    files = {name: digest for name, digest in folder_hashes(folder).items() if name != RECORD}
    contents = {**record, "files": files}
    write_json(folder / RECORD, contents | {"hash": content_key(contents)})


def read_stage(folder: Path) -> dict[str, Any]:
    """Read the record of a finished stage and check its files, once in a process.

    Files that are none of the stage's are moved beside its folder.

    Raises `DataError` if the record or a file is damaged or missing. Raises `H2RecError` if a file that is none of
    the stage's can't be moved out.
    """
    record = read_json(folder / RECORD)
    if (
        not isinstance(record, dict)
        or "made" not in record
        or not isinstance(record.get("seconds"), int | float)
    ):
        raise DataError(f"{folder / RECORD} is damaged, or of older software")
    files, digest = record.get("files"), record.pop("hash", None)
    if not isinstance(files, dict) or digest != content_key(record):
        raise DataError(f"{folder / RECORD} was changed after it was written")
    if folder.resolve() not in _checked:
        _move_out(folder, files_in(folder) - {*files, RECORD})
        if (name := differing(folder, files)) is not None:
            raise DataError(f"{folder / name} is missing, or was changed after it was written")
        _checked.add(folder.resolve())
    return record


def _move_out(folder: Path, names: set[str]) -> None:
    """Move files that are none of a stage's out of its folder: readers look for files that may be there."""
    beside = folder.with_name(f"{folder.name}.others")
    for name in sorted(names):
        target = beside / name
        if os.path.lexists(target):
            raise H2RecError(
                f"{folder / name}: is none of the stage's files, and {target} is there already",
                "move it away",
            )
        logger.warning("%s is none of the stage's files, and is moved to %s", folder / name, target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / name).rename(target)
        except OSError as error:
            raise H2RecError(
                f"{folder / name}: is none of the stage's files, and can't be moved out ({error.strerror})",
                "move it away",
            ) from None

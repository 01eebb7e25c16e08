"""Finished work in the folders of runs: which of it present configurations use, and a sweep of the rest."""

import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2rec.claims import absolute
from h2rec.errors import DataError
from h2rec.files import left_overs, read_json, write_json
from h2rec.locks import locked
from h2rec.run.stages import RECORD

USED = "stages.json"
"""File of a run's folder: keys of the stages that its configuration uses."""
_KEY = re.compile(r"\b[0-9a-f]{16}\b")
_NAME = re.compile(r"([a-z_]+)-([0-9a-f]{16})")
_ATTACHED = ("intent", "shares", "tests", "warm_data")
"""Stages that no run records: they are used as long as those that they are made of."""


@dataclass(frozen=True)
class Kept:
    """A stage, the checkpoints of a training, or what a killed command has left."""

    kind: str
    """Name of the stage, ``checkpoints`` or ``left over``."""
    path: Path
    """Where it lies."""
    size: int
    """Bytes."""
    age: float
    """Seconds since it was written."""
    used: bool
    """Whether a run's present configuration uses it."""


def remember(out: Path, settings: str, used: Mapping[str, str]) -> None:
    """Write down which stages a run uses, beside those that it used before with the same settings."""
    path = out / USED
    try:
        known = read_json(path)
        before = known["used"] if known["settings"] == settings else {}
        now = {**before, **used}
        if now == known["used"]:
            return
    except (DataError, KeyError, TypeError):
        now = dict(used)
    write_json(path, {"settings": settings, "used": now})


def kept_in(folder: Path) -> list[Kept]:
    """Find all finished and half-done work below a folder: of a run, of a suite, or of several.

    Stages count as used if a run below the folder names them, or what it names is made of them. The run that a folder
    of stages or checkpoints belongs to lies above it.
    """
    asked = absolute(folder)
    folder = asked.parent if asked.name in ("stages", "checkpoints") else asked
    stages = [path for path in _folders(folder) if _is_stage(path)]
    records = {path: read_json(path / RECORD) for path in stages}
    used = _closure(set(_named_by_runs(folder)), records.values())
    entries = [
        _kept(path.name.rpartition("-")[0], path, used=records[path]["key"] in used) for path in stages
    ]
    done = {record["key"] for record in records.values()}
    # What is finished needs no checkpoint; what is not goes on from it.
    entries += [
        _kept("checkpoints", path, used=path.name not in done and path.name in used)
        for path in _folders(folder)
        if path.parent.name == "checkpoints" and _KEY.fullmatch(path.name)
    ]
    entries += [
        _kept("left over", path, used=False)
        for parent in {path.parent for path in stages}
        for path in left_overs(parent)
    ]
    entries = [entry for entry in entries if entry.path.is_relative_to(asked)]
    return sorted(entries, key=lambda entry: (entry.used, -entry.size))


def sweep_away(kept: Iterable[Kept]) -> list[Kept]:
    """Delete unused entries and return them; wait for entries that another process is working on."""
    gone = [entry for entry in kept if not entry.used]
    for entry in gone:
        # Beside a stage lies its lock; a training is alone in the folder of its run.
        stage = _NAME.search(entry.path.name)
        run_lock = entry.path.parent.parent / ".lock"
        lock = run_lock if stage is None else entry.path.with_name(f".{stage[0]}.lock")
        with locked(lock, str(entry.path)):
            shutil.rmtree(entry.path) if entry.path.is_dir() else entry.path.unlink(missing_ok=True)
    return gone


def size_of(path: Path) -> int:
    """Bytes of a file or of all files in a folder; 0 where there is nothing."""
    if not path.is_dir():
        return path.lstat().st_size if path.exists() else 0
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())


def _kept(kind: str, path: Path, *, used: bool) -> Kept:
    return Kept(kind, path, size_of(path), time.time() - path.lstat().st_mtime, used)


def _folders(folder: Path) -> Iterator[Path]:
    """Folders below one, not into stages and checkpoints."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield path
            if not _NAME.fullmatch(path.name) and not _KEY.fullmatch(path.name):
                yield from _folders(path)


def _is_stage(path: Path) -> bool:
    named = _NAME.fullmatch(path.name)
    try:
        record = read_json(path / RECORD) if named else {}
        return named is not None and (record["stage"], record["key"]) == named.groups()
    except (DataError, KeyError, TypeError, OSError):
        return False


def _named_by_runs(folder: Path) -> Iterator[str]:
    for out in (folder, *_folders(folder)):
        for name, place in ((USED, ("used",)), ("metrics.json", ("provenance", "stages"))):
            try:
                value: Any = read_json(out / name)
                for key in place:
                    value = value[key]
                yield from value.values()
            except (DataError, KeyError, TypeError, AttributeError):
                continue


def _closure(used: set[str], records: Iterable[Mapping[str, Any]]) -> set[str]:
    """Add the stages that used ones are made of, and those attached to used ones alone."""
    depends_on = {r["key"]: set(_KEY.findall(json.dumps(r["depends_on"]))) for r in records}
    names = {r["key"]: r["stage"] for r in records}
    size = -1
    while size != len(used):
        size = len(used)
        used = used.union(*(depends_on[key] for key in used & depends_on.keys()))
        used |= {
            key
            for key, parents in depends_on.items()
            if names[key] in _ATTACHED and parents and parents & depends_on.keys() and parents <= used
        }
    return used

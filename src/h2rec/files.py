"""Files that are whole or absent: atomic writes, content hashes, folders that appear at once."""

import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
import polars as pl
import yaml
from safetensors import SafetensorError

from h2rec.claims import Ours, absolute, claim_folder, files_in
from h2rec.errors import ConfigError, DataError, StorageError

_FLUSHED_AT_ONCE = 8
_LEFT_OVER = re.compile(r"\.[0-9a-f]{8}\.(partial|replaced)")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a sibling path to write to; it takes the place of `path` only when the block ends well.

    Raises `StorageError` if it can't be written: a full disk, a folder without permission.
    """
    path = absolute(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with _as_storage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _open_to_others(temporary)
            flush_to_disk(temporary)
            temporary.replace(path)
            flush_to_disk(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path, ours: Ours = lambda _: False) -> Iterator[Path]:
    """Yield a sibling folder to fill; it takes the place of `path` only when the block ends well.

    `ours` knows a folder that may be replaced; an empty one always may. Raises `H2RecError` if
    it would replace what h2rec did not write. Raises `StorageError` if it can't be written: a full disk, a folder
    without permission.
    """
    path = claim_folder(path, ours)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with _as_storage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            files = list(temporary.rglob("*"))
            for file in files:
                _open_to_others(file)
            with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as flushing:  # a disk has them together as soon as one
                list(flushing.map(flush_to_disk, files))
            replaced = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.replaced")
            claim_folder(path, ours)  # whatever may have come meanwhile
            if path.exists():
                path.replace(replaced)
            temporary.replace(path)
            flush_to_disk(path.parent)
            shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove what killed attempts to write a file or folder have left beside it; nobody may be writing it now."""
    for left in left_overs(path.parent):
        if left.name.startswith(f".{path.name}.") and _LEFT_OVER.fullmatch(left.name[len(path.name) + 1 :]):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def left_overs(folder: Path) -> list[Path]:
    """What killed attempts to write have left in a folder, or what is being written now."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name[0] == "." and _LEFT_OVER.search(path.name))


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    """Turn refusals of the system into a `StorageError`; other errors pass unchanged."""
    try:
        yield
    except (OSError, SafetensorError, pl.exceptions.PolarsError) as error:
        # safetensors and polars give the system's errors as text alone.
        message, by_system, _ = str(error).partition(" (os error ")
        if not isinstance(error, OSError) and not by_system:
            raise
        reason = getattr(error, "strerror", None) or message.rpartition(": ")[2]
        raise StorageError(
            f"can't write {path}: {reason}",
            "check free space and permissions and run the same command again: what was finished before is kept",
        ) from error


def _open_to_others(path: Path) -> None:
    """Give a file or folder the permissions that the process gives by default: some libraries write for one user."""
    if path.is_symlink():
        return
    mode = path.stat().st_mode
    wanted = (mode & 0o7000) | ((0o777 if path.is_dir() else 0o666) & ~_umask())
    if stat.S_IMODE(mode) != wanted:
        with suppress(OSError):  # a file system without permissions
            path.chmod(wanted)


def _umask() -> int:
    try:
        # Read, not set and set back: other threads write files meanwhile.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def flush_to_disk(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically, flat values on one line, keys in their order."""
    write_text(path, _json_lines(value) + "\n")


_JSON_WIDTH = 120
"""Up to this length a list or mapping is one line with all that it holds."""


def _json_lines(value: Any, indent: str = "") -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    children = value.values() if isinstance(value, dict) else value
    if len(text) <= _JSON_WIDTH or not isinstance(value, dict | list | tuple):
        return text
    if not any(isinstance(part, dict | list | tuple) for part in children):
        return text
    written = [_json_lines(part, f"{indent} ") for part in children]
    if isinstance(value, dict):
        written = [
            f"{json.dumps(str(key), ensure_ascii=False)}: {w}" for key, w in zip(value, written, strict=True)
        ]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n" + ",\n".join(f"{indent} {line}" for line in written) + f"\n{indent}{last}"


def read_json(path: Path) -> Any:
    """Read JSON. Raises `DataError` if the file is missing or is not JSON; the line is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # editors put a mark before it
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}:{line}" if line else str(path)
        raise DataError(f"{where}: not valid JSON ({error})") from None
    except (RecursionError, ValueError) as error:  # nested without end, or a number of thousands of digits
        raise DataError(f"{path}: no JSON that can be read ({error})") from None


class _KeysOnce(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML takes the last one, and what the first one says is lost in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping; see `yaml.composer.Composer`."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands twice", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises `ConfigError` if the file is missing, is no YAML (with its line), or holds something else.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _KeysOnce)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML ({getattr(error, 'problem', error)})") from None
    except (RecursionError, ValueError) as error:  # nested without end, or a date that there is not
        raise ConfigError(f"{path}: no YAML that can be read ({error})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, such as 'data:', found {type(values).__name__}")
    return values


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by its relative name."""
    return {name: file_hash(folder / name) for name in sorted(files_in(folder))}


def differing(folder: Path, hashes: Mapping[str, str]) -> str | None:
    """Name of a file that is missing or has another hash than is on record; None where all are as they were."""
    for name, expected in hashes.items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or file_hash(path) != expected:
            return name
    return None


def array_hash(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and bytes, as hex."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def content_key(values: Mapping[str, Any]) -> str:
    """Return a short key that changes when any part changes; parts are JSON values."""
    canonical = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where downloads and embeddings are kept: `H2REC_CACHE`, or else the user's cache folder."""
    named = os.environ.get("H2REC_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("h2rec")

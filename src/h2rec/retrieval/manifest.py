"""A bundle's manifest: what the folder holds, and the checks before any of it is read."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from h2rec.claims import holds_nothing_but
from h2rec.errors import BundleError, ConfigError, DataError
from h2rec.evaluation.settings import RepeatRule
from h2rec.files import file_hash
from h2rec.models.settings import ModelSettings, parse_model
from h2rec.semantic_ids.settings import Collisions
from h2rec.settings import Settings
from h2rec.untrusted import RIGHT_TO_READ, read_strict_json

FORMAT_VERSION = 3
MANIFEST = "manifest.json"
TEXT = "text.npy"
LARGEST_MANIFEST = 4 << 20
_MOST_FILES = 1000


class Manifest(Settings):
    """What a bundle holds; `manifest.json`."""

    format_version: int
    """Version of this layout; a reader refuses others."""
    h2rec: str
    """Version of the software that wrote it."""
    model: Annotated[SerializeAsAny[ModelSettings], BeforeValidator(parse_model)]
    """The model's settings."""
    item_count: int = Field(ge=1)
    """Number of items, N."""
    codebook_sizes: tuple[int, ...] | None
    """Codes per level; null for a model without codes."""
    collisions: Collisions = "keep"
    """What was done about items with the same codes, and is done about new ones."""
    repeats: RepeatRule = "excluded"
    """Whether items of a history may be recommended again: the rule that the model was evaluated with."""
    refit: bool = False
    """Whether it was trained on all interactions; else it never saw those that validated and tested it."""
    whole_number_ids: bool = False
    """Whether item ids were numbers in the data; Python then gives numbers out."""
    text_fields: list[str] | None
    """Item fields that were joined to texts; null for all."""
    files: dict[str, str]
    """SHA-256 of every other file, by path inside the bundle."""
    provenance: dict[str, Any]
    """Where the model comes from."""


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, whole or not, and nothing that its manifest does not list."""
    try:
        files = read_strict_json(folder / MANIFEST, LARGEST_MANIFEST)["files"]
        return isinstance(files, dict) and holds_nothing_but(folder, {*files, MANIFEST})
    except (DataError, OSError, KeyError, TypeError):
        return False


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest and check every file against it: names, presence, hashes, and that there are no others.

    Raises `BundleError` at the first thing that is wrong, also where the system refuses to read.
    """
    try:
        manifest = _parse(folder)
        _check_names(folder, manifest)
        for name, expected in manifest.files.items():
            if file_hash(folder / name) != expected:
                raise BundleError(f"{folder}: {name!r} was changed or cut after the bundle was written")
        return manifest
    except OSError as error:
        raise unreadable(folder, error) from None
    except RecursionError:
        raise BundleError(f"{folder}: folders in folders without end") from None


def unreadable(folder: Path, error: OSError) -> BundleError:
    """Tell what the system refuses, and what to do about it."""
    name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, str | bytes) else "a file"
    message = f"{str(folder)[:200]}: {name[:80]!r} can't be read ({error.strerror or error})"
    return BundleError(message, RIGHT_TO_READ if isinstance(error, PermissionError) else None)


def _parse(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not _is_regular(path):
        hint = "give the folder 'bundle' of a finished run"
        raise BundleError(f"{str(folder)[:200]}: not a bundle, it has no {MANIFEST}", hint)
    try:
        values = read_strict_json(path, LARGEST_MANIFEST)
        version = values.get("format_version") if isinstance(values, dict) else None
        if type(version) is not int or version != FORMAT_VERSION:
            raise BundleError(
                f"{folder}: format version {str(version)[:80]!r}, this software reads {FORMAT_VERSION}",
                "bundle the run again",
            )
        return Manifest.parse(values, source=str(path))
    except (DataError, ConfigError) as error:
        raise BundleError(error.message, error.hint) from None
    except (RecursionError, ValueError):  # numbers of thousands of digits
        raise BundleError(f"{folder}: its {MANIFEST} is no manifest") from None


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte
        return False


def _check_names(folder: Path, manifest: Manifest) -> None:
    needed = {"model.safetensors", "items.parquet", "item_vectors.npy"}
    needed |= {"codes.npy"} if manifest.codebook_sizes is not None else set()
    if missing := needed - set(manifest.files):
        raise BundleError(f"{folder}: the manifest does not list {', '.join(sorted(missing))}")
    if len(manifest.files) > _MOST_FILES:
        raise BundleError(f"{folder}: the manifest lists {len(manifest.files)} files, more than any real one")
    for name in manifest.files:
        if name.startswith("/") or ".." in name.split("/"):
            raise BundleError(f"{folder}: {name[:80]!r} leads out of the bundle")
    # Readers of parts look into their folders: what no hash covers may not lie there.
    present = set()
    for name in _files_below(folder, folder):
        if name not in manifest.files and name != MANIFEST:
            raise BundleError(f"{folder}: {name[:200]!r} is no part of the bundle")
        present.add(name)
    if absent := set(manifest.files) - present:
        raise BundleError(f"{folder}: {min(absent)[:200]!r} is missing")


def _files_below(folder: Path, at: Path) -> Iterator[str]:
    """Names of the files at any depth; whatever is neither a plain file nor a folder is refused.

    A link may lead anywhere, a pipe never ends, and reading a device can do harm. The bundle's own folder may be
    reached by a link.
    """
    with os.scandir(at) as entries:
        for entry in entries:
            name = Path(entry.path).relative_to(folder).as_posix()
            if entry.is_symlink():
                raise BundleError(
                    f"{folder}: {name[:200]!r} is a link, and links are not followed: it leads out of the bundle",
                    "copy the bundle with what its links lead to: cp -rL",
                )
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(folder, Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield name
            else:
                raise BundleError(f"{folder}: {name[:200]!r} is no plain file")

"""A bundle's manifest: what the folder holds, and the checks before any of it is read."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from h2rec.claims import holds_nothing_but
from h2rec.errors import BundleError, ConfigError, DataError
from h2rec.files import file_hash, read_json
from h2rec.models.settings import ModelSettings
from h2rec.semantic_ids.settings import Collisions
from h2rec.settings import Settings

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 4 << 20
_MOST_FILES = 1000


class Manifest(Settings):
    """What a bundle holds; `manifest.json`."""

    format_version: int
    """Version of this layout; a reader refuses others."""
    h2rec: str
    """Version of the software that wrote it."""
    model: ModelSettings
    """The model's settings."""
    item_count: int = Field(ge=1)
    """Number of items, N."""
    codebook_sizes: tuple[int, ...] | None
    """Codes per level; null for a model without codes."""
    collisions: Collisions = "keep"
    """What was done about items with the same codes, and is done about new ones."""
    text_fields: list[str] | None
    """Item fields that were joined to texts; null for all."""
    files: dict[str, str]
    """SHA-256 of every other file, by path inside the bundle."""
    provenance: dict[str, Any]
    """Where the model comes from."""


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, whole or not, and nothing that its manifest does not list."""
    try:
        files = read_json(folder / MANIFEST)["files"]
        return isinstance(files, dict) and holds_nothing_but(folder, {*files, MANIFEST})
    except (DataError, OSError, KeyError, TypeError):
        return False


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest and check every file against it: names, presence, hashes, and that there are no others.

    Raises
    ------
    BundleError
        At the first thing that is wrong.
    """
    manifest = _parsed(folder)
    needed = {"model.safetensors", "items.parquet", "item_vectors.npy"}
    needed |= {"codes.npy"} if manifest.codebook_sizes is not None else set()
    if missing := needed - set(manifest.files):
        raise BundleError(f"{folder}: the manifest does not list {', '.join(sorted(missing))}")
    _check_names(folder, manifest)
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"{folder}: '{name}' is missing")
        if file_hash(file) != expected:
            raise BundleError(f"{folder}: '{name}' was changed or cut after the bundle was written")
    return manifest


def _parsed(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        hint = "give the folder 'bundle' of a finished run"
        raise BundleError(f"{folder}: not a bundle, it has no {MANIFEST}", hint)
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise BundleError(f"{folder}: its {MANIFEST} is larger than any real one")
    try:
        values = read_json(path)
        version = values.get("format_version") if isinstance(values, dict) else None
        if type(version) is not int or version != FORMAT_VERSION:
            raise BundleError(
                f"{folder}: format version {version!r}, this software reads {FORMAT_VERSION}",
                "bundle the run again",
            )
        return Manifest.parse(values, source=str(path))
    except (DataError, ConfigError) as error:
        raise BundleError(error.message) from None
    except (RecursionError, ValueError):  # nested without end, or numbers of thousands of digits
        raise BundleError(f"{folder}: its {MANIFEST} is no manifest") from None


def _check_names(folder: Path, manifest: Manifest) -> None:
    root = folder.resolve()
    if len(manifest.files) > _MOST_FILES:
        raise BundleError(f"{folder}: the manifest lists {len(manifest.files)} files, more than any real one")
    for name in manifest.files:
        try:
            inside = (root / name).resolve().is_relative_to(root)
        except (ValueError, OSError):  # a null byte, or a name too long
            inside = False
        if not inside:
            raise BundleError(f"{folder}: {name[:80]!r} leads out of the bundle")
    # Readers of parts look into their folders: what no hash covers may not lie there.
    present = {
        (Path(at) / name).relative_to(folder).as_posix() for at, _, names in os.walk(folder) for name in names
    }
    if extra := present - set(manifest.files) - {MANIFEST}:
        raise BundleError(f"{folder}: '{min(extra)}' is no part of the bundle")

"""A bundle's manifest: what the folder holds, and the checks before any of it is read."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from h2rec.claims import holds_nothing_but
from h2rec.data.settings import ColumnSettings
from h2rec.errors import BundleError, ConfigError, DataError
from h2rec.evaluation.settings import RepeatRule
from h2rec.files import file_hash
from h2rec.models.settings import ModelSettings, parse_model
from h2rec.semantic_ids.settings import Collisions
from h2rec.settings import Settings
from h2rec.untrusted import RIGHT_TO_READ, read_strict_json

FORMAT_VERSION = 5
MANIFEST = "manifest.json"
TEXT = "text.npy"
LOG = "log"
LARGEST_MANIFEST = 4 << 20
_MOST_FILES = 1000


class Update(Settings):
    """What one update of a bundle took in, and how that went."""

    date: str
    """When it was made, ISO 8601."""
    events: int
    """New interactions."""
    new_users: int
    new_items: int
    until: float
    """The latest time among all interactions."""
    poorly_coded: int = 0
    """New items that the codebooks describe worse than nineteen of twenty items of the full training."""
    targets: int = 0
    """Items that the training predicted; 0 for an update of counts alone."""
    cpu_seconds: float = 0.0
    """CPU time of the training."""
    ndcg_before: float | None = None
    """NDCG@100 of new interactions by the model that did not know them yet; null where nothing was learned."""
    cases: int = 0
    """Interactions that this was measured on."""
    drift: float = 0.0
    """How far the known items' vectors have turned since the full training: 1 less the mean cosine."""


class Lineage(Settings):
    """How a bundle came to what it knows."""

    trained: str
    """When it was fully trained, ISO 8601."""
    events: int
    """Interactions that the full training knew."""
    until: float
    """The latest time among them."""
    items: int
    """Items that the full training knew."""
    updates: list[Update] = Field([])
    """Every update since, in order."""
    due: list[str] = Field([])
    """Why a full training is due; nothing where none is."""


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
    columns: ColumnSettings = ColumnSettings()
    """What columns of its data were called, where they had to be named; in later files they are found by that."""
    text_fields: list[str] | None
    """Item fields that were joined to texts; null for all."""
    files: dict[str, str]
    """SHA-256 of every other file, by path inside the bundle."""
    log: dict[str, str] = Field({})
    """SHA-256 of the files in `log`, which only an update reads; that folder may be deleted."""
    lineage: Lineage | None = None
    """Its full training and the updates since; null for a bundle that can't be updated."""
    provenance: dict[str, Any]
    """Where the model comes from."""

    @property
    def log_files(self) -> set[str]:
        """The files of the log, by path inside the bundle."""
        return {f"{LOG}/{name}" for name in self.log}


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, whole or not, and nothing that its manifest does not list."""
    try:
        manifest = read_strict_json(folder / MANIFEST, LARGEST_MANIFEST)
        files, log = manifest["files"], manifest.get("log", {})
        if not (isinstance(files, dict) and isinstance(log, dict)):
            return False
        return holds_nothing_but(folder, {*files, *(f"{LOG}/{name}" for name in log), MANIFEST})
    except (DataError, OSError, KeyError, TypeError, AttributeError):
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
    for name in (*manifest.files, *manifest.log_files):
        if name.startswith("/") or ".." in name.split("/"):
            raise BundleError(f"{folder}: {name[:80]!r} leads out of the bundle")
    # Readers of parts look into their folders: what no hash covers may not lie there.
    present = set()
    for name in _files_below(folder, folder):
        if name not in manifest.files and name != MANIFEST and name not in manifest.log_files:
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

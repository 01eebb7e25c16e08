"""A trained model and its catalogue in one folder: safetensors, JSON, Parquet and npy, hashed, no code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from h2rec import __version__
from h2rec.errors import BundleError, ConfigError, DataError, H2RecError
from h2rec.files import atomic_folder, file_hash, read_json, write_json
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings, WarmStartSettings
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.settings import Settings
from h2rec.training.checkpoint import load_weights, weights_of

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


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
    text_fields: list[str] | None
    """Item fields that were joined to texts; null for all."""
    files: dict[str, str]
    """SHA-256 of every other file, by path inside the bundle."""
    provenance: dict[str, Any]
    """Where the model comes from."""


@dataclass(frozen=True, eq=False)
class BundleParts:
    """What goes into a bundle.

    Parameters
    ----------
    model
        The trained model, on the CPU.
    settings
        Its settings.
    items
        The item table, `[N]` rows in index order, with column `item_id`.
    train_counts, head
        Training interactions and head mark of each item, `[N + 1]`, padding first.
    semantic_ids
        Codes of the catalogue, or None.
    encoder, quantizer
        Folders of the fitted text encoder and quantizer, or None: they embed and encode new items.
    text_fields
        Item fields that make an item's text; None for all.
    provenance
        Where the model comes from.
    """

    model: Any
    settings: ModelSettings
    items: pl.DataFrame
    train_counts: npt.NDArray[np.integer]
    head: npt.NDArray[np.bool_]
    semantic_ids: SemanticIds | None
    encoder: Path | None
    quantizer: Path | None
    text_fields: list[str] | None
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle in memory, its larger arrays mapped from disk.

    Parameters
    ----------
    folder
        Where it was read from.
    manifest
        Its description.
    model
        The model, in evaluation mode.
    items
        The item table with `train_count` and `head`.
    semantic_ids
        Codes of the catalogue, or None.
    item_vectors
        Static item vectors, float32 `[N + 1, D]`, mapped from disk.
    """

    folder: Path
    manifest: Manifest
    model: Any
    items: pl.DataFrame
    semantic_ids: SemanticIds | None
    item_vectors: npt.NDArray[np.float32]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check a bundle. Nothing in it is executed.

        Raises
        ------
        BundleError
            If it is missing, of another format version, incomplete, or a file's hash differs.
        """
        manifest = _read_manifest(folder)
        try:
            return cls._load_checked(folder, manifest)
        except BundleError:
            raise
        except (OSError, ValueError, KeyError, SafetensorError, pl.exceptions.PolarsError, H2RecError) as error:
            raise BundleError(f"{folder}: its files do not fit together ({str(error).splitlines()[0]})") from None

    @classmethod
    def _load_checked(cls, folder: Path, manifest: Manifest) -> Self:
        items = pl.read_parquet(folder / "items.parquet")
        semantic_ids = None
        if manifest.codebook_sizes is not None:
            codes = np.load(folder / "codes.npy", allow_pickle=False)
            semantic_ids = SemanticIds(codes, manifest.codebook_sizes)
        vectors = np.load(folder / "item_vectors.npy", mmap_mode="r", allow_pickle=False)
        if items.height != manifest.item_count or len(vectors) != manifest.item_count + 1:
            raise BundleError(f"{folder}: the item table and the item vectors differ in length")
        # The weights replace whatever a new model starts from.
        settings = manifest.model.model_copy(update={"warm_start": WarmStartSettings(hid=False, codes=False)})
        model = build_model(settings, ItemFeatures(manifest.item_count, semantic_ids), seed=0)
        load_weights(model, load_file(folder / "model.safetensors"))
        return cls(folder, manifest, model.eval(), items, semantic_ids, vectors)


def write_bundle(folder: Path, parts: BundleParts) -> None:
    """Write a bundle, all of it or nothing."""
    ids = parts.semantic_ids
    scorer = CatalogueScorer(parts.model)
    with atomic_folder(folder) as fresh:
        save_file(weights_of(parts.model), fresh / "model.safetensors")
        items = parts.items.with_columns(
            pl.Series("train_count", parts.train_counts[1:].astype(np.int64)), pl.Series("head", parts.head[1:])
        )
        items.write_parquet(fresh / "items.parquet")
        np.save(fresh / "item_vectors.npy", scorer.item_matrix.to("cpu", torch.float32).numpy())
        if ids is not None:
            np.save(fresh / "codes.npy", ids.codes)
        for name, source in (("encoder", parts.encoder), ("quantizer", parts.quantizer)):
            if source is not None:
                _copy_folder(source, fresh / name)
        files = {
            path.relative_to(fresh).as_posix(): file_hash(path) for path in sorted(fresh.rglob("*")) if path.is_file()
        }
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            h2rec=__version__,
            model=parts.settings,
            item_count=parts.items.height,
            codebook_sizes=None if ids is None else ids.codebook_sizes,
            text_fields=parts.text_fields,
            files=files,
            provenance=parts.provenance,
        )
        write_json(fresh / MANIFEST, manifest.model_dump(mode="json"))


def _copy_folder(source: Path, target: Path) -> None:
    # Contents only: modes and links of the source do not travel.
    target.mkdir()
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
        else:
            copy.write_bytes(path.read_bytes())


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: not a bundle, it has no {MANIFEST}", "give the folder 'bundle' of a finished run")
    try:
        values = read_json(path)
        version = values.get("format_version") if isinstance(values, dict) else None
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{folder}: format version {version!r}, this software reads {FORMAT_VERSION}", "bundle the run again"
            )
        manifest = Manifest.parse(values, source=str(path))
    except (DataError, ConfigError) as error:
        raise BundleError(error.message) from None
    root = folder.resolve()
    for name, expected in manifest.files.items():
        file = (root / name).resolve()
        if not file.is_relative_to(root):
            raise BundleError(f"{folder}: '{name}' leads out of the bundle")
        if not file.is_file():
            raise BundleError(f"{folder}: '{name}' is missing")
        if file_hash(file) != expected:
            raise BundleError(f"{folder}: '{name}' was changed or cut after the bundle was written")
    needed = {"model.safetensors", "items.parquet", "item_vectors.npy"}
    needed |= {"codes.npy"} if manifest.codebook_sizes is not None else set()
    if missing := needed - set(manifest.files):
        raise BundleError(f"{folder}: the manifest does not list {', '.join(sorted(missing))}")
    return manifest

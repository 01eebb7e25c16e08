"""A trained model and its catalogue in one folder: safetensors, JSON, Parquet and npy, hashed, no code."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from h2rec import __version__
from h2rec.errors import BundleError
from h2rec.files import atomic_folder, file_hash, write_json
from h2rec.models.build import model_for_weights
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings, WarmStartSettings
from h2rec.retrieval.manifest import FORMAT_VERSION, MANIFEST, Manifest, is_bundle, read_manifest
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.settings import Collisions
from h2rec.training.checkpoint import load_weights, weights_of


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
    semantic_ids, collisions
        Codes of the catalogue, or None, and what was done about items that share them.
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
    collisions: Collisions
    encoder: Path | None
    quantizer: Path | None
    text_fields: list[str] | None
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle in memory, its item vectors mapped from disk.

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
        Static item vectors, float32 `[N + 1, D]`, mapped from disk; changes stay in memory.
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
            If it is missing, of another format version, incomplete, or a file's hash differs; if files do
            not fit together, or claim sizes that they do not have.
        """
        try:
            manifest = read_manifest(folder)
        except PermissionError as error:
            raise BundleError(
                f"{error.filename}: may not be read by this user",
                f"let whoever owns it say: chmod -R a+rX {folder}",
            ) from None
        try:
            return cls._load_checked(folder, manifest)
        except BundleError:
            raise
        except (Exception, pl.exceptions.PanicException) as error:
            # Readers of damaged files raise what they like: syntax, tokens, panics of their own.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BundleError(f"{folder}: its files do not fit together ({reason})") from None

    @classmethod
    def _load_checked(cls, folder: Path, manifest: Manifest) -> Self:
        count = manifest.item_count
        rows = pq.read_metadata(folder / "items.parquet").num_rows
        # Mapped copy-on-write: torch takes no read-only arrays.
        vectors = np.load(folder / "item_vectors.npy", mmap_mode="c", allow_pickle=False)
        if rows != count or vectors.ndim != 2 or len(vectors) != count + 1:
            raise BundleError(f"{folder}: the item table and the item vectors differ in length")
        if vectors.dtype != np.float32:
            raise BundleError(f"{folder}: the item vectors are {vectors.dtype}, not float32")
        items = pl.read_parquet(folder / "items.parquet")
        _check_items(folder, items)
        semantic_ids = None
        if manifest.codebook_sizes is not None:
            codes = np.load(folder / "codes.npy", mmap_mode="r", allow_pickle=False)
            if len(codes) != count or codes.dtype != np.int32:
                raise BundleError(f"{folder}: the codes do not fit {count} items")
            semantic_ids = SemanticIds(np.array(codes), manifest.codebook_sizes)
        _check_sizes(folder, manifest)
        weights = load_file(folder / "model.safetensors")
        model = model_for_weights(manifest.model, count, semantic_ids, weights)
        load_weights(model, weights)
        model.eval()
        with torch.inference_mode():
            width = sum(part.shape[1] for part in model.item_vectors(torch.arange(1)))
        if vectors.shape[1] != width:
            raise BundleError(f"{folder}: the item vectors have {vectors.shape[1]} columns, not {width}")
        return cls(folder, manifest, model, items, semantic_ids, vectors)


def unstarted(settings: ModelSettings) -> ModelSettings:
    """Return settings for a model whose starting weights do not matter, as saved ones replace them."""
    return settings.model_copy(update={"warm_start": WarmStartSettings(hid=False, codes=False)})


def write_bundle(folder: Path, parts: BundleParts) -> None:
    """Write a bundle, all of it or nothing; it replaces a bundle or an empty folder, and nothing else."""
    ids = parts.semantic_ids
    scorer = CatalogueScorer(parts.model)
    with atomic_folder(folder, is_bundle) as fresh:
        save_file(weights_of(parts.model), fresh / "model.safetensors")
        items = parts.items.with_columns(
            pl.Series("train_count", parts.train_counts[1:].astype(np.int64)),
            pl.Series("head", parts.head[1:]),
        )
        items.write_parquet(fresh / "items.parquet")
        np.save(fresh / "item_vectors.npy", scorer.item_matrix.to("cpu", torch.float32).numpy())
        if ids is not None:
            np.save(fresh / "codes.npy", ids.codes)
        for name, source in (("encoder", parts.encoder), ("quantizer", parts.quantizer)):
            if source is not None:
                _copy_folder(source, fresh / name)
        files = {
            path.relative_to(fresh).as_posix(): file_hash(path)
            for path in sorted(fresh.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            h2rec=__version__,
            model=parts.settings,
            item_count=parts.items.height,
            codebook_sizes=None if ids is None else ids.codebook_sizes,
            collisions=parts.collisions,
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


def _check_items(folder: Path, items: pl.DataFrame) -> None:
    expected = {"item_id": pl.String, "train_count": pl.Int64, "head": pl.Boolean}
    fields = {name: pl.String for name in items.columns if name not in expected}
    for name, kind in (expected | fields).items():
        if items.schema.get(name) != kind:
            raise BundleError(
                f"{folder}: items.parquet: column '{name}' is {items.schema.get(name)}, not {kind}"
            )
    ids = items["item_id"]
    if (
        ids.null_count()
        or ids.n_unique() != len(ids)
        or items["head"].null_count()
        or items["train_count"].null_count()
    ):
        raise BundleError(f"{folder}: items.parquet: ids, counts or head marks are missing or not unique")


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    """Refuse settings that claim more than the weights' file holds, before memory is given to them."""
    path = folder / "model.safetensors"
    with safe_open(path, framework="pt") as stream:
        tensors = len(stream.keys())
    room = path.stat().st_size / 4
    settings, codebooks = manifest.model, manifest.codebook_sizes or ()
    if settings.name == "pop":
        return
    branches = settings.branches if settings.name == "h2rec" else "both"
    has_hid = branches != "sid" and settings.name not in ("sid_sum", "pg_sid", "spm_sid")
    has_codes = branches != "hid" and settings.name in ("h2rec", "sid_sum", "hid_sid_add", "hid_sid_concat")
    layers = settings.layers
    if has_codes and settings.name == "h2rec":
        layers = max(layers, settings.sid_layers, settings.residual.layers or 0)
    claimed = max(
        layers * settings.dim**2,
        manifest.item_count * settings.dim if has_hid else 0,
        sum(codebooks) * settings.dim if has_codes else 0,
        settings.pg_sid.rows * settings.dim if settings.name == "pg_sid" else 0,
        settings.max_length * settings.dim if "gru4rec" not in (settings.name, settings.backbone) else 0,
    )
    if layers > tensors or claimed > room or min(codebooks, default=1) < 1:
        raise BundleError(f"{folder}: the manifest claims sizes that model.safetensors does not have")
    if not math.isfinite(settings.score.temperature):
        raise BundleError(f"{folder}: the score's temperature is not a number")

"""A trained model and its catalogue in one folder: safetensors, JSON, Parquet and npy, hashed, no code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from safetensors.torch import save_file

from h2rec import __version__
from h2rec.data.histories import Histories
from h2rec.data.identifiers import are_whole_numbers
from h2rec.data.settings import OBVIOUS, ColumnSettings
from h2rec.errors import BundleError, DataError, SemanticIdError
from h2rec.evaluation.settings import RepeatRule
from h2rec.files import atomic_folder, folder_hashes, write_json
from h2rec.frames import write_parquet
from h2rec.models.build import model_for_weights
from h2rec.models.neighbours import Halves
from h2rec.models.protocol import SequenceModel
from h2rec.models.room import Room, TooLargeError
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.models.weights import weights_of
from h2rec.retrieval.item_table import read_item_table
from h2rec.retrieval.manifest import (
    FORMAT_VERSION,
    LOG,
    MANIFEST,
    TEXT,
    Lineage,
    Manifest,
    is_bundle,
    read_manifest,
    unreadable,
)
from h2rec.retrieval.process import claim_process
from h2rec.retrieval.users import LARGEST_NUMBER, UserEncoder
from h2rec.semantic_ids.codes import LARGEST_CODEBOOK, SemanticIds
from h2rec.semantic_ids.settings import Collisions
from h2rec.untrusted import check_npy, read_finite_tensors

Vectors = npt.NDArray[np.float32]

_LARGEST_EXPANSION = 32
"""Bytes of the item table in memory, at most, for a byte of the bundle on disk: texts are compressed and shared."""
_ROOM_AT_LEAST = 1 << 20
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class BundleParts:
    """What goes into a bundle."""

    model: SequenceModel
    """The trained model, on the CPU."""
    settings: ModelSettings
    """Its settings."""
    items: pl.DataFrame
    """The item table, `[N]` rows in index order, with column `item_id`."""
    train_counts: npt.NDArray[np.integer]
    head: npt.NDArray[np.bool_]
    """Training interactions and head mark of each item, `[N + 1]`, padding first."""
    semantic_ids: SemanticIds | None
    collisions: Collisions
    """Codes of the catalogue, or None, and what was done about items that share them."""
    encoder: Path | None
    quantizer: Path | None
    """Folders of the fitted text encoder and quantizer, or None: they embed and encode new items."""
    text: Halves | None
    """`text_directions` of the items that training knew, or None: new items are placed by the nearest of them."""
    text_fields: list[str] | None
    """Item fields that make an item's text; None for all."""
    provenance: dict[str, Any]
    """Where the model comes from."""
    repeats: RepeatRule = "excluded"
    """Whether items of a history may be recommended again."""
    refit: bool = False
    """Whether it was trained on all interactions."""
    whole_number_ids: bool = False
    """Whether item ids were whole numbers in the data."""
    columns: ColumnSettings = OBVIOUS
    """What columns of the data were called, where they were named."""
    log: Path | None = None
    """A folder of what `TrainingLog.save` wrote, or None: the bundle can't be updated."""
    lineage: Lineage | None = None
    """How it came to what it knows."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle in memory, its item vectors mapped from disk."""

    folder: Path
    """Where it was read from."""
    manifest: Manifest
    """Its description."""
    model: SequenceModel
    """The model, in evaluation mode."""
    items: pl.DataFrame
    """The item table with `train_count` and `head`."""
    semantic_ids: SemanticIds | None
    """Codes of the catalogue, or None."""
    item_vectors: npt.NDArray[np.float32]
    """Static item vectors, float32 `[N + 1, D]`, mapped from disk; changes stay in memory."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check a bundle. Nothing in it is executed.

        Raises
        ------
        BundleError
            If it is missing, of another format version, incomplete, or a file's hash differs; if files do
            not fit together, or claim sizes that they do not have; if the system refuses to read; if another
            takes its place meanwhile.
        H2RecError
            In a process that was forked after a bundle was loaded.
        """
        claim_process()
        begun = _identity(folder)
        manifest = read_manifest(folder)
        try:
            bundle = cls._load_checked(folder, manifest)
            if _identity(folder) != begun:  # what was read need not be what was hashed
                raise BundleError(f"{folder}: it was replaced while it was read", "load it again")
            return bundle
        except BundleError:
            raise
        except (DataError, SemanticIdError) as error:
            raise BundleError(error.message, error.hint) from None
        except OSError as error:
            raise unreadable(folder, error) from None
        except (Exception, pl.exceptions.PanicException) as error:
            # Readers of damaged files raise what they like: syntax, tokens, panics of their own.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BundleError(f"{folder}: its files do not fit together ({reason[:200]})") from None

    @classmethod
    def _load_checked(cls, folder: Path, manifest: Manifest) -> Self:
        count, codebooks = manifest.item_count, manifest.codebook_sizes
        # From headers first: the number of items is what all else is held against.
        check_npy(folder / "item_vectors.npy", np.float32, (count + 1, None))
        semantic_ids = None
        if codebooks is not None:
            if min(codebooks, default=0) < 1 or max(codebooks) > LARGEST_CODEBOOK:
                raise BundleError(f"{folder}: codebooks have 1 to {LARGEST_CODEBOOK:,} codes")
            check_npy(folder / "codes.npy", np.int32, (count, len(codebooks)))
            semantic_ids = SemanticIds(np.load(folder / "codes.npy", allow_pickle=False), codebooks)
        if TEXT in manifest.files:
            described, _ = check_npy(folder / TEXT, np.float16, (None, None))
            if not 0 < described <= count:
                raise BundleError(f"{folder}: {TEXT} has {described:,} rows, the items are {count:,}")
        held = sum((folder / name).stat().st_size for name in manifest.files)
        items = read_item_table(folder / "items.parquet", count, _LARGEST_EXPANSION * held + _ROOM_AT_LEAST)
        if manifest.whole_number_ids and not are_whole_numbers(items["item_id"]):
            raise BundleError(f"{folder}: the manifest says that ids are whole numbers, and some are not")
        texts = manifest.text_fields or []
        if len(set(texts)) < len(texts) or not set(texts) <= set(items.columns):
            raise BundleError(f"{folder}: the manifest's text fields are not those of items.parquet")
        model = _model(folder, manifest, semantic_ids)
        # Mapped copy-on-write: torch takes no read-only arrays.
        vectors = np.load(folder / "item_vectors.npy", mmap_mode="c", allow_pickle=False)
        _check_numbers(folder, model, vectors)
        return cls(folder, manifest, model, items, semantic_ids, vectors)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tell one folder from another of its name."""
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


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
        write_parquet(items, fresh / "items.parquet")
        np.save(fresh / "item_vectors.npy", scorer.item_matrix.to("cpu", torch.float32).numpy())
        if ids is not None:
            np.save(fresh / "codes.npy", ids.codes)
        if parts.text is not None:
            np.save(fresh / TEXT, parts.text)
        for name, source in (("encoder", parts.encoder), ("quantizer", parts.quantizer), (LOG, parts.log)):
            if source is not None:
                _copy_folder(source, fresh / name)
        hashes = folder_hashes(fresh)
        log = {name for name in hashes if name.startswith(f"{LOG}/")}
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            h2rec=__version__,
            model=parts.settings,
            item_count=parts.items.height,
            codebook_sizes=None if ids is None else ids.codebook_sizes,
            collisions=parts.collisions,
            repeats=parts.repeats,
            refit=parts.refit,
            whole_number_ids=parts.whole_number_ids,
            columns=parts.columns,
            text_fields=parts.text_fields,
            files={name: value for name, value in hashes.items() if name not in log},
            log={name.removeprefix(f"{LOG}/"): hashes[name] for name in log},
            lineage=parts.lineage,
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


def _model(folder: Path, manifest: Manifest, semantic_ids: SemanticIds | None) -> SequenceModel:
    """Make the model, in no more memory than there are weights for."""
    path = folder / "model.safetensors"
    weights = read_finite_tensors(path)
    per_item = 4 + len(manifest.codebook_sizes or ())
    room = path.stat().st_size + 4 * per_item * manifest.item_count + _ROOM_AT_LEAST
    claims = f"{folder}: the manifest claims sizes that model.safetensors does not have"
    if manifest.model.most_layers > max(len(weights), 64):
        raise BundleError(claims)
    try:
        with Room(room):
            return model_for_weights(manifest.model, manifest.item_count, semantic_ids, weights)
    except TooLargeError:
        raise BundleError(claims) from None


def _check_numbers(folder: Path, model: SequenceModel, vectors: Vectors) -> None:
    """Refuse vectors of another width, and numbers that can't be reckoned with."""
    users = UserEncoder(model).encode(Histories.from_lists([[1], [len(vectors) - 1]]))
    width = users.vectors.shape[1]
    if vectors.shape[1] != width:
        raise BundleError(f"{folder}: the item vectors have {vectors.shape[1]} columns, not {width}")
    largest = max(
        float(np.abs(vectors[start : start + _ROWS_AT_ONCE]).max(initial=0))
        for start in range(0, len(vectors), _ROWS_AT_ONCE)
    )
    # `not <`: a comparison with NaN is false.
    if not (largest < LARGEST_NUMBER and bool(users.usable.all())):
        raise BundleError(f"{folder}: item or user vectors hold NaN, infinity or numbers out of all range")

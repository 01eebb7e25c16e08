"""New items into a bundle without retraining: text, codes, vectors, a new bundle."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from h2rec.claims import claim_folder
from h2rec.data.identifiers import are_whole_numbers
from h2rec.data.readers.text_values import as_text
from h2rec.errors import BundleError, ConfigError, DataError, H2RecError, MissingExtraError
from h2rec.models.build import grown_model
from h2rec.models.features import NewItems
from h2rec.models.neighbours import Halves, Vectors, nearest_in_text
from h2rec.models.protocol import SequenceModel
from h2rec.native import POLARS, Kind
from h2rec.retrieval.bundle import Bundle, BundleParts, write_bundle
from h2rec.retrieval.item_ids import id_column
from h2rec.retrieval.item_table import OWN_COLUMNS
from h2rec.retrieval.manifest import LOG, TEXT, is_bundle, read_manifest
from h2rec.retrieval.process import claim_process
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.new_items import encode_new
from h2rec.semantic_ids.quantizers import load_quantizer
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.shown import Shown
from h2rec.text.blind_spots import understood
from h2rec.text.encoders import leading_columns, load_encoder
from h2rec.text.fields import item_texts
from h2rec.untrusted import check_npy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AddedItem:
    """What became of one new item."""

    item_id: str
    """The item's own id."""
    codes: list[int]
    """Its semantic ID."""
    like: list[str]
    """Ids of the known items nearest in text, nearest first: they lent it their vectors, transitions and likeness."""
    outlyingness: float
    """Share of the catalogue that the codebooks describe better, 0 to 1; near 1 the codes say little."""


@dataclass(frozen=True)
class Growth:
    """What adding items did."""

    added: list[AddedItem]
    """The new items, in the order in which they were given."""
    existing: list[str]
    """Ids that the catalogue had already; nothing of them was changed."""
    without_text: list[str]
    """Ids of items without a text that the encoder understands: they can't be placed and were left out."""

    def shown(self, given: Callable[[str], Any], kind: Kind) -> "ShownGrowth":
        """Return the same for a person: ids as `given` gives them out, frames of a kind."""
        lists = [[given(item) for item in items] for items in (self.existing, self.without_text)]
        added = [
            replace(item, item_id=given(item.item_id), like=[given(other) for other in item.like])
            for item in self.added
        ]
        return ShownGrowth(added, *lists, kind=kind)


@dataclass(frozen=True, repr=False)
class ShownGrowth(Shown, Growth):
    """What adding items did, as a table; ids that were numbers in the data are numbers."""

    kind: Kind = field(default=POLARS, kw_only=True, compare=False)
    """What `to_frame` gives."""

    @property
    def title(self) -> str:
        counts = (
            ("items added", self.added),
            ("known already", self.existing),
            ("left out, without a known text", self.without_text),
        )
        return ", ".join(f"{what}: {len(items):,}" for what, items in counts if items)

    def table(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "item_id": id_column([item.item_id for item in self.added]),
                "like": pl.Series([id_column(item.like) for item in self.added]),
                "outlyingness": [item.outlyingness for item in self.added],
            }
        )


def add_items(
    bundle: Bundle, items: pl.DataFrame, out: Path, provenance: Mapping[str, Any] | None = None
) -> Growth:
    """Write a bundle that knows more items; the old items keep their indices, codes, weights and vectors.

    Parameters
    ----------
    items
        Column `item_id` (texts or whole numbers) and text fields by the names that the bundle's own items use; other
        columns are passed over, missing ones are empty.
    out
        The new bundle's folder: none yet, an empty one, or another bundle's.
    provenance
        More entries for the new bundle's provenance.

    Raises
    ------
    BundleError
        If the bundle carries no text encoder, no quantizer or no text of its items, or its model can't place new items.
        If its folder was changed after it was loaded.
    H2RecError
        If `out` holds what h2rec did not write.
    DataError
        If nothing can be added: no text field in common, only known items, only items without text. If an id is
        missing, or none.
    """
    claim_process()
    claim_folder(out, is_bundle)
    items = _fitting_columns(bundle, _with_ids(items))
    known = set(bundle.items["item_id"])
    given, items = items.height, items.unique("item_id", keep="first", maintain_order=True)
    if items.height < given:
        logger.warning("%d rows are of items that stand above them and were left out", given - items.height)
    existing = [item for item in items["item_id"] if item in known]
    fresh = items.filter(~pl.col("item_id").is_in(existing))
    read = _embed(bundle, fresh)
    placed = np.flatnonzero(np.any(read.vectors != 0, axis=1))
    vectors, ids = read.vectors[placed], read.ids
    without_text = fresh["item_id"].gather(np.setdiff1d(np.arange(fresh.height), placed)).to_list()
    fresh = fresh[placed]
    if fresh.height == 0:
        raise DataError(
            f"none of {items.height} items can be added: {len(existing)} are known already, "
            f"{len(without_text)} have no text that the bundle's encoder understands"
        )
    encoded = encode_new(read.quantizer, vectors, ids, bundle.manifest.collisions)
    near = nearest_in_text(read.text, vectors, read.leading)
    grown_ids = SemanticIds(np.concatenate([ids.codes, encoded.codes]), ids.codebook_sizes)
    grown = grown_model(bundle.model, bundle.manifest.model, grown_ids, NewItems(near, vectors))
    parts = _grown_parts(bundle, grown, fresh, grown_ids, text=read.text, provenance=provenance or {})
    write_bundle(out, parts)
    added = [
        AddedItem(item, codes, bundle.items["item_id"].gather(rows).to_list(), float(outlying))
        for item, codes, rows, outlying in zip(
            fresh["item_id"], encoded.codes.tolist(), near.items, encoded.outlyingness, strict=True
        )
    ]
    return Growth(added, existing, without_text)


def _with_ids(items: pl.DataFrame) -> pl.DataFrame:
    """Ids as the readers of data files have them: whole numbers without `.0`, no blanks around texts."""
    if "item_id" not in items.columns:
        raise DataError("the new items have no column 'item_id'", f"there are: {', '.join(items.columns)}")
    kind = items.schema["item_id"]
    if not (isinstance(kind, pl.String) or kind.is_integer() or kind.is_float() or kind == pl.Categorical):
        raise DataError(f"the new items: column 'item_id' is {kind}, not texts or whole numbers")
    ids = items.select(as_text(pl.col("item_id"), kind).str.strip_chars().alias("item_id"))["item_id"]
    missing = (ids.is_null() | (ids == "")).arg_true()
    if len(missing):
        raise DataError(f"the new items, row {missing[0] + 1}: the item id is missing")
    return items.with_columns(ids)


def _fitting_columns(bundle: Bundle, items: pl.DataFrame) -> pl.DataFrame:
    fields = [name for name in bundle.items.columns if name not in OWN_COLUMNS]
    text_fields = bundle.manifest.text_fields or fields
    if not set(text_fields) & set(items.columns):
        raise DataError(
            f"the new items have none of the text fields {', '.join(text_fields)}",
            "name the columns as in the items that the model was trained on",
        )
    columns = [
        pl.col(name).cast(pl.String) if name in items.columns else pl.lit(None, pl.String).alias(name)
        for name in fields
    ]
    return items.select("item_id", *columns)


@dataclass(frozen=True, eq=False)
class _Read:
    """Embeddings of new items `[M, m]`, a row of zeros where there is no text, and what they are held against."""

    vectors: Vectors
    ids: SemanticIds
    quantizer: Quantizer
    text: Halves
    leading: int | None


def _embed(bundle: Bundle, items: pl.DataFrame) -> _Read:
    encoder, quantizer, text = (bundle.folder / name for name in ("encoder", "quantizer", TEXT))
    if (reason := bundle.model.refuses_new_items) is not None:
        raise BundleError(f"{bundle.folder}: new items can't be placed: {reason}", "train again")
    if bundle.semantic_ids is None or not (encoder.is_dir() and quantizer.is_dir() and text.is_file()):
        raise BundleError(
            f"{bundle.folder}: it carries no text encoder and quantizer, or no text of its items ({TEXT}), "
            "so new items can't be placed",
            "train with item text and a quantizer (codes from a file can't be made for new items); bundle again "
            "a run of before this version",
        )
    # It may have been loaded long ago, and what is read now goes into the new bundle under a new hash.
    if read_manifest(bundle.folder) != bundle.manifest:
        raise BundleError(f"{bundle.folder}: it was replaced after it was loaded", "load it again")
    texts = item_texts(items, bundle.manifest.text_fields)
    present = [row for row, text in enumerate(texts) if text]
    with _as_bundle_error(bundle.folder):
        loaded = load_quantizer(quantizer)
        vectors, leading = np.zeros((len(texts), loaded.dimension), np.float32), None
        if present:
            read, new_texts = load_encoder(encoder), [texts[row] for row in present]
            embedded = read.encode(new_texts)
            known = understood([items["item_id"][row] for row in present], new_texts, embedded, read)
            vectors[present] = embedded * known[:, None]
            leading = leading_columns(encoder)
        return _Read(vectors, bundle.semantic_ids, loaded, _known_text(text, loaded.dimension), leading)


def _known_text(path: Path, columns: int) -> Halves:
    """What the bundle keeps of its items' text, `[N, m]`, mapped from disk and read in pieces."""
    check_npy(path, np.float16, (None, columns))
    text: Halves = np.load(path, mmap_mode="r", allow_pickle=False)
    if not all(np.isfinite(text[start : start + 8192]).all() for start in range(0, len(text), 8192)):
        raise BundleError(f"{path}: it holds NaN or infinity")
    return text


@contextmanager
def _as_bundle_error(folder: Path) -> Iterator[None]:
    """Raise a `BundleError` for any fault of a damaged part; errors about what is missing here pass unchanged."""
    try:
        yield
    except (ConfigError, BundleError, MissingExtraError):
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        message = (
            error.message
            if isinstance(error, H2RecError)
            else f"{folder}: its encoder, quantizer or {TEXT} is damaged"
        )
        raise BundleError(message, getattr(error, "hint", None)) from error


def _grown_parts(
    bundle: Bundle,
    model: SequenceModel,
    fresh: pl.DataFrame,
    ids: SemanticIds,
    *,
    text: Halves,
    provenance: Mapping[str, Any],
) -> BundleParts:
    fields = bundle.items.drop("train_count", "head")
    counts = np.concatenate([[0], bundle.items["train_count"].to_numpy(), np.zeros(fresh.height, np.int64)])
    head = np.concatenate([[False], bundle.items["head"].to_numpy(), np.zeros(fresh.height, np.bool_)])
    manifest = bundle.manifest
    before = manifest.provenance.get("items_added_after_training", 0)
    added = (before if type(before) is int else 0) + fresh.height
    return BundleParts(
        model=model,
        settings=manifest.model,
        items=pl.concat([fields, fresh.select(fields.columns)]),
        train_counts=counts,
        head=head,
        semantic_ids=ids,
        collisions=manifest.collisions,
        repeats=manifest.repeats,
        refit=manifest.refit,
        whole_number_ids=manifest.whole_number_ids and are_whole_numbers(fresh["item_id"]),
        encoder=bundle.folder / "encoder",
        quantizer=bundle.folder / "quantizer",
        text=text,  # of those that training knew alone, whoever was added
        text_fields=manifest.text_fields,
        columns=manifest.columns,
        log=log if (log := bundle.folder / LOG).is_dir() else None,
        lineage=manifest.lineage,
        provenance=manifest.provenance | {"items_added_after_training": added} | dict(provenance),
    )

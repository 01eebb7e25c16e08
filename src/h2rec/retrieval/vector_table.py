"""Items with their vectors and attributes as a table, for stores."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.errors import DataError
from h2rec.retrieval.catalogue import Catalogue
from h2rec.retrieval.destinations.protocol import VectorTable

_ROWS_AT_ONCE = 1000
_OWN = {"item_index": pl.Int64, "head": pl.Boolean, "train_count": pl.Int64, "codes": pl.String}


def vector_table(
    catalogue: Catalogue,
    item_vectors: npt.NDArray[np.float32],
    attributes: Sequence[str] | None = None,
    *,
    first: int = 1,
) -> VectorTable:
    """Make the table of items from number `first` on: ids, numbers, head marks, counts, codes, attributes, vectors.

    `item_vectors` are float32 `[N + 1, D]`, padding first.
    ``item_index`` is the item's number in histories that the exported encoder reads; ``codes`` are the item's codes as
    text, ``7-6-0``.
    """
    vectors = item_vectors[1:]
    if not vectors.shape[1]:
        hint = "export its transitions, or serve the bundle"
        raise DataError("the model counts alone, or decodes: it has no item vectors", hint)
    fields = catalogue.fields
    chosen = fields.columns if attributes is None else list(dict.fromkeys(attributes))
    if unknown := set(chosen) - set(fields.columns):
        hint = f"there are: {', '.join(fields.columns) or 'none'}"
        raise DataError(f"the items have no attribute '{min(unknown)[:80]}'", hint)
    if taken := {*_OWN, "vector"} & set(chosen):
        raise DataError(
            f"the items have an attribute '{min(taken)}', and the export has a column of that name",
            "leave it out: --attributes names those that go along",
        )
    own = [pl.Series("item_id", catalogue.item_ids)]
    own.append(pl.Series("item_index", np.arange(1, len(catalogue) + 1)))
    own += [pl.Series("head", catalogue.head[1:]), pl.Series("train_count", catalogue.train_counts[1:])]
    if catalogue.semantic_ids is not None:
        own.append(code_prefixes(catalogue, catalogue.semantic_ids.levels).alias("codes"))
    table = pl.DataFrame([*own, *fields.select(chosen).get_columns()])
    kind = pl.Array(pl.Float32, vectors.shape[1])

    def batches() -> Iterator[pl.DataFrame]:
        for start in range(first - 1, len(vectors), _ROWS_AT_ONCE):
            some = pl.Series("vector", np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE]), kind)
            yield table.slice(start, _ROWS_AT_ONCE).with_columns(some)

    shape = (len(vectors) - first + 1, vectors.shape[1])
    return VectorTable(pl.Schema({**table.schema, "vector": kind}), shape, batches())


def code_prefixes(catalogue: Catalogue, levels: int) -> pl.Series:
    """Leading codes of every item, `[N]`, as text."""
    ids = catalogue.semantic_ids
    assert ids is not None
    codes = pl.DataFrame(ids.codes[:, :levels], [str(level) for level in range(min(levels, ids.levels))])
    return codes.select(pl.concat_str(pl.all(), separator="-").alias("codes"))["codes"]

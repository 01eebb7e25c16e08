"""Checks of embeddings, and passes over them in chunks."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from h2rec.errors import SemanticIdError
from h2rec.runtime import random_stream

Embeddings = npt.NDArray[np.float32]

CHUNK = 8192
"""Rows handled at once: embeddings may be mapped from disk and larger than memory."""


def chunks(embeddings: Embeddings) -> Iterator[Embeddings]:
    """Rows in order, at most `CHUNK` at a time, as contiguous float32 arrays of their own."""
    for start in range(0, len(embeddings), CHUNK):
        # A copy: torch can't wrap rows that are mapped from disk for reading only.
        yield np.array(embeddings[start : start + CHUNK], dtype=np.float32, order="C")


def check_embeddings(
    embeddings: Embeddings, dimension: int | None = None, item_ids: Sequence[str] | None = None
) -> None:
    """Refuse embeddings that no quantizer can use.

    `dimension` is that of a fitted quantizer; `item_ids` name the rows in the message.

    Raises `SemanticIdError` for another shape, or a row that holds NaN or infinity.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise SemanticIdError(
            f"embeddings must be a table [items, dimensions], found shape {embeddings.shape}"
        )
    if dimension is not None and embeddings.shape[1] != dimension:
        raise SemanticIdError(
            f"embeddings have {embeddings.shape[1]} dimensions, the quantizer was fitted on {dimension}",
            "embed new items with the same text encoder as the catalogue",
        )
    for number, chunk in enumerate(chunks(embeddings)):
        broken = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
        if len(broken):
            row = number * CHUNK + int(broken[0])
            name = f"item '{item_ids[row]}'" if item_ids is not None else f"row {row + 1}"
            raise SemanticIdError(
                f"the embedding of {name} holds NaN or infinity",
                "check the text encoder or the embeddings file",
            )


def distinct_embeddings(embeddings: Embeddings, enough: int) -> int:
    """Count distinct rows, until there are `enough`."""
    distinct: set[bytes] = set()
    for chunk in chunks(embeddings):
        distinct.update(row.tobytes() for row in chunk)
        if len(distinct) >= enough:
            break
    return len(distinct)


def check_enough_items(embeddings: Embeddings, codebook_size: int) -> None:
    """Refuse catalogues with fewer distinct embeddings than codes: some codes could never be used.

    Raises `SemanticIdError` with the number of distinct embeddings.
    """
    distinct = distinct_embeddings(embeddings, codebook_size)
    if distinct == 1 < codebook_size:
        raise SemanticIdError(
            f"all {len(embeddings)} items have one and the same embedding, so codes can't tell them apart",
            "give texts that differ, or leave data.items out",
        )
    if distinct < codebook_size:
        raise SemanticIdError(
            f"{len(embeddings)} items with {distinct} distinct embeddings "
            f"can't fill {codebook_size} codes a level",
            "lower semantic_ids.codebook_size, or take a text.encoder that knows the language of the items",
        )


def sample_rows(embeddings: Embeddings, limit: int, seed: int) -> Embeddings:
    """Return all rows, or `limit` random ones in file order, as a new float32 array."""
    if len(embeddings) <= limit:
        return np.array(embeddings, dtype=np.float32)
    rows = random_stream(seed, "sample").choice(len(embeddings), size=limit, replace=False)
    return np.array(embeddings[np.sort(rows)], dtype=np.float32)


def variance(embeddings: Embeddings) -> float:
    """Mean squared distance of the rows to their mean: the error of a quantizer with a single code."""
    total = np.zeros(embeddings.shape[1])
    squares = 0.0
    for chunk in chunks(embeddings):
        wide = chunk.astype(np.float64)
        total += wide.sum(axis=0)
        squares += float(np.square(wide).sum())
    count = max(1, len(embeddings))
    return max(0.0, squares / count - float(np.square(total / count).sum()))

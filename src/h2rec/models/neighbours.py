"""Known items whose text is nearest to that of a new item, and what they lend it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]

NEIGHBOURS = 5
"""Items that lend a new one their place: one alone is often a chance likeness, many blur what they have in common."""
TEMPERATURE = 0.05
"""Of the shares: a cosine lower by this much counts e times less, so that a twin in text outweighs mere kin."""
_KNOWN_AT_ONCE = 8192
_NEW_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Neighbours:
    """For each of `M` new items, the known items nearest in text."""

    items: npt.NDArray[np.int64]
    """Their rows, nearest first, int64 `[M, k]`; `k` is `NEIGHBOURS`, or the number of known items with text."""
    shares: Vectors
    """How much each counts, float32 `[M, k]`; those of a new item add up to 1."""
    trained: int
    """How many items training knew, the first of the catalogue: items that were added later are nobody's neighbours.
    So it makes no difference what was added before, or together."""

    def mean_of(self, table: Vectors) -> Vectors:
        """Mean row of each new item's neighbours by their shares, `[M, ..]`, of a table `[N, ..]`."""
        means = np.zeros((len(self.items), *table.shape[1:]), dtype=np.float32)
        for items, shares in zip(self.items.T, self.shares.T, strict=True):
            means += table[items] * shares.reshape(-1, *[1] * (table.ndim - 1))
        return means


def text_directions(vectors: Vectors, has_text: npt.NDArray[np.bool_]) -> Halves:
    """Text embeddings `[N, m]` as they are kept to find neighbours: of length 1, zero for an item without text."""
    return directions_of(vectors * has_text[:, None]).astype(np.float16)


def nearest_in_text(known: Vectors | Halves, new: Vectors, leading: int | None = None) -> Neighbours:
    """Find the known items of the highest cosine; of equals the first.

    `known`: embeddings of the items that training knew, `[N, m]`, zero for one without text; read in pieces.
    `new`: those of the new items, `[M, m]`.
    `leading`: how many columns are the first of several encoders'; None for a single one. Where the first, or all
    others, can't read a new text, their columns have no say: texts that they read would only be further off.
    """
    count = min(NEIGHBOURS, len(known))
    items = np.zeros((len(new), count), np.int64)
    best = np.full((len(new), count), -np.inf, np.float32)
    split = new.shape[1] if leading is None else leading
    read = np.stack([new[:, :split].any(axis=1), new[:, split:].any(axis=1)], axis=1)
    for parts in np.unique(read, axis=0):
        rows = np.flatnonzero((read == parts).all(axis=1))
        weights = np.repeat(parts, [split, new.shape[1] - split]).astype(np.float32)
        items[rows], best[rows] = _nearest(known, new[rows], weights, count)
    found = np.isfinite(best).all(axis=0)
    items, best = items[:, found], best[:, found]
    shares = np.exp((best - best[:, :1]).astype(np.float64) / TEMPERATURE)
    shares /= shares.sum(axis=1, keepdims=True)
    return Neighbours(items, shares.astype(np.float32), len(known))


def _nearest(
    known: Vectors | Halves, new: Vectors, weights: Vectors, count: int
) -> tuple[npt.NDArray[np.int64], Vectors]:
    """The `count` rows of `known` with the highest cosines, and these; minus infinity for a row without text."""
    items = np.zeros((len(new), count), np.int64)
    best = np.full((len(new), count), -np.inf, np.float32)
    new = directions_of(new * weights)
    for first in range(0, len(known), _KNOWN_AT_ONCE):
        piece = known[first : first + _KNOWN_AT_ONCE]
        has_text, directions = piece.any(axis=1), directions_of(piece * weights)
        for start in range(0, len(new), _NEW_AT_ONCE):
            rows = slice(start, start + _NEW_AT_ONCE)
            # Blocks of one shape: the rounding of a product depends on it, and equal items must stay equal.
            block = np.zeros((_NEW_AT_ONCE, new.shape[1]), np.float32)
            block[: len(new[rows])] = new[rows]
            cosines = np.where(has_text, block @ directions.T, -np.inf)[: len(new[rows])]
            _keep_best(items[rows], best[rows], cosines, first)
    return items, best


def _keep_best(items: npt.NDArray[np.int64], best: Vectors, cosines: Vectors, first: int) -> None:
    """Replace the best so far, in place, by the best of them and of the items from `first` on."""
    values = np.concatenate([best, cosines], axis=1)
    numbers = np.concatenate(
        [items, np.broadcast_to(np.arange(first, first + cosines.shape[1]), cosines.shape)], axis=1
    )
    rows = np.arange(len(values))
    for place in range(best.shape[1]):
        at = values.argmax(axis=1)  # the first of equals
        items[:, place], best[:, place] = numbers[rows, at], values[rows, at]
        values[rows, at] = -np.inf


def directions_of(vectors: Vectors | Halves) -> Vectors:
    """Rows of length 1, or zero, `[N, m]`."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: Vectors = np.divide(rows, lengths, where=lengths > 0, out=np.zeros_like(rows))
    return directions

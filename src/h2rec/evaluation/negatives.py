"""Negatives of the sampled protocol: uniform, distinct, and the same for every model."""

import numpy as np
import numpy.typing as npt

from h2rec.data.splits import Holdout
from h2rec.errors import DataError
from h2rec.files import array_hash
from h2rec.runtime import random_stream


def draw_negatives(holdout: Holdout, item_count: int, count: int, seed: int) -> npt.NDArray[np.int32]:
    """Draw, for every case, distinct items outside its whole history that are not its target.

    The draw depends on the cases and the seed alone, never on a model or on how cases are chunked.

    Parameters
    ----------
    item_count
        Number of items, N.
    count
        Negatives per case.

    Returns
    -------
    numpy.ndarray
        int32 `[cases, count]`; every set of `count` allowed items is equally likely.

    Raises
    ------
    DataError
        If a case has fewer than `count` items to draw from.
    """
    rows, taken = _taken_items(holdout, item_count)
    starts = np.searchsorted(rows, np.arange(len(holdout) + 1))
    allowed = item_count - np.diff(starts)
    short = np.flatnonzero(allowed < count)
    if len(short):
        raise DataError(
            f"user row {holdout.users[short[0]]}: only {allowed[short[0]]} of {item_count} items are outside "
            f"the history, and sampled{count} needs {count} negatives ({len(short)} users like this)",
            "leave the sampled protocol out of evaluate.protocols, or name a smaller one such as sampled20",
        )
    stream = random_stream(seed, "negatives", array_hash(np.asarray(holdout.targets, dtype=np.int32)))
    ordinals = _distinct_ordinals(allowed, count, stream)
    # The o-th allowed item is o + 1 + (taken items before it). The taken item number j of a row (both from 0)
    # has item - 1 - j allowed ones before it, so it lies before ordinal o where that is at most o.
    before = taken - 1 - (np.arange(len(taken)) - starts[rows])
    queries = np.arange(len(holdout))[:, None] * (item_count + 1) + ordinals
    passed = np.searchsorted(rows * (item_count + 1) + before, queries, side="right") - starts[:-1, None]
    return (ordinals + 1 + passed).astype(np.int32)


def _taken_items(holdout: Holdout, item_count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct (row, item) of histories and targets, sorted by row, then item."""
    histories = holdout.histories
    rows = np.concatenate([np.repeat(np.arange(len(holdout)), histories.lengths), np.arange(len(holdout))])
    items = np.concatenate([histories.items, holdout.targets])
    keys = np.unique(rows * (item_count + 1) + items)
    row, item = np.divmod(keys, item_count + 1)
    return row, item


def _distinct_ordinals(
    allowed: npt.NDArray[np.int64], count: int, stream: np.random.Generator
) -> npt.NDArray[np.int64]:
    """`count` distinct numbers below `allowed[row]` for every row, `[rows, count]` (Floyd's algorithm)."""
    chosen = np.empty((len(allowed), count), dtype=np.int64)
    for step in range(count):
        last = allowed - count + step
        drawn = stream.integers(0, last, endpoint=True)
        repeated = (chosen[:, :step] == drawn[:, None]).any(axis=1)
        chosen[:, step] = np.where(repeated, last, drawn)
    return chosen

"""Negatives of the sampled protocol: uniform, distinct, and the same for every model."""

import numpy as np
import numpy.typing as npt

from h2rec.data.splits import Holdout
from h2rec.evaluation.settings import RepeatRule
from h2rec.files import array_hash
from h2rec.runtime import random_stream


def draw_negatives(
    holdout: Holdout, item_count: int, count: int, seed: int, rule: RepeatRule
) -> npt.NDArray[np.int32]:
    """Draw, for every case, distinct items that its target competes with.

    The target competes with all items but itself and, where repeats are excluded, its history. The draw depends on the
    cases, the rule and the seed alone, never on a model or on chunks.

    Returns int32 `[cases, count]`; every set of `count` allowed items is equally likely. Zeros for a case with too few
    items to draw from; see `too_few`.
    """
    rows, taken = _taken_items(holdout, item_count, rule)
    starts = np.searchsorted(rows, np.arange(len(holdout) + 1))
    allowed = item_count - np.diff(starts)
    stream = random_stream(seed, "negatives", array_hash(np.asarray(holdout.targets, dtype=np.int32)))
    ordinals = _distinct_ordinals(np.maximum(allowed, count), count, stream)
    # The o-th allowed item is o + 1 + (taken items before it). The taken item number j of a row (both from 0)
    # has item - 1 - j allowed ones before it, so it lies before ordinal o where that is at most o.
    before = taken - 1 - (np.arange(len(taken)) - starts[rows])
    # Ordinals of a row with too few items may lie beyond the catalogue; its negatives are zeros.
    width = item_count + count + 1
    queries = np.arange(len(holdout))[:, None] * width + ordinals
    skipped = np.searchsorted(rows * width + before, queries, side="right") - starts[:-1, None]
    return np.where(allowed[:, None] < count, 0, ordinals + 1 + skipped).astype(np.int32)


def too_few(holdout: Holdout, item_count: int, count: int, rule: RepeatRule) -> npt.NDArray[np.bool_]:
    """Whether each case has fewer than `count` items to draw negatives from, bool `[cases]`."""
    rows, _ = _taken_items(holdout, item_count, rule)
    return item_count - np.bincount(rows, minlength=len(holdout)) < count


def _taken_items(
    holdout: Holdout, item_count: int, rule: RepeatRule
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct (row, item) of the targets and of excluded items, sorted by row, then item."""
    rows, items = np.arange(len(holdout)), np.asarray(holdout.targets, dtype=np.int64)
    if rule == "excluded":
        histories = holdout.histories
        rows = np.concatenate([np.repeat(rows, histories.lengths), rows])
        items = np.concatenate([histories.items, items])
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

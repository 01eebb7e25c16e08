"""How often one item follows another in training histories: sparse counts, normalised and pruned."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from h2rec.data.histories import Histories, IntArray, offsets_of

Direction = Literal["forward", "backward", "both"]
"""Which neighbours of an item in a history are counted: what came after it, before it, or either."""

LAGS = 3
"""K: an item follows the K items before it."""
LAG_DECAY = 0.6
"""g: a pair that is ``lag`` steps apart counts ``g^(lag - 1)``."""
MOST_SUCCESSORS = 500
"""Successors of a group that are kept, the strongest."""


@dataclass(frozen=True, eq=False)
class TransitionTable:
    """The successors of every group, strongest kept.

    Parameters
    ----------
    offsets
        int64 `[G + 1]`; group `a` has the entries ``offsets[a]:offsets[a + 1]``.
    successors
        Groups that follow, int64 `[z]`, ascending within a group.
    values
        ``t(a -> b)``, float32 `[z]`.
    """

    offsets: IntArray
    successors: IntArray
    values: npt.NDArray[np.float32]


def transition_table(
    train: Histories, groups: IntArray, direction: Direction, *, popularity_power: float
) -> TransitionTable:
    """Count transitions between groups of items and normalise them.

    ``t(a -> b) = c(a, b) / (n_a * pop_b^e)``: `c` counts how often an item of `b` stood near one of `a` in a history,
    ``n_a`` is its row sum and ``pop_b`` the training interactions of `b`.

    Parameters
    ----------
    train
        Training histories; held-out items must not be among them.
    groups
        The group of each item, int64 `[N + 1]`, padding first; 0 is the group of no item.
    direction
        ``forward`` counts what came after an item, ``backward`` what came before it, ``both`` either.
    popularity_power
        `e`: 0 leaves popular successors on top, 1 divides by popularity.
    """
    size = int(groups.max(initial=0)) + 1
    left, right, weights = _pairs(train, groups, direction)
    pairs, place = np.unique(left * size + right, return_inverse=True)
    counts = np.bincount(place.reshape(-1), weights, minlength=len(pairs))
    left, right = pairs // size, pairs % size
    totals = np.bincount(left, counts, minlength=size)
    popularity = np.bincount(groups, train.counts(len(groups) - 1), minlength=size)
    values = counts / (totals[left] * np.maximum(popularity[right], 1) ** popularity_power)
    strongest = np.lexsort((right, -values, left))
    first = np.searchsorted(left[strongest], left[strongest])
    kept = np.sort(strongest[np.arange(len(strongest)) - first < MOST_SUCCESSORS])
    offsets = offsets_of(np.bincount(left[kept], minlength=size))
    return TransitionTable(offsets, right[kept], values[kept].astype(np.float32))


def _pairs(
    train: Histories, groups: IntArray, direction: Direction
) -> tuple[IntArray, IntArray, npt.NDArray[np.float64]]:
    """All pairs of groups within `LAGS` steps of each other, and what each counts."""
    flat = groups[np.asarray(train.items)].astype(np.int64)
    user = np.repeat(np.arange(len(train)), train.lengths)
    pairs = [(np.zeros(0, np.int64), np.zeros(0, np.int64), 0.0)]
    for lag in range(1, LAGS + 1):
        together = (user[:-lag] == user[lag:]) & (flat[:-lag] > 0) & (flat[lag:] > 0)
        earlier, later = flat[:-lag][together], flat[lag:][together]
        weight = LAG_DECAY ** (lag - 1)
        if direction != "backward":
            pairs.append((earlier, later, weight))
        if direction != "forward":
            pairs.append((later, earlier, weight))
    weights = [np.full(len(one), weight) for one, _, weight in pairs]
    return (
        np.concatenate([one for one, _, _ in pairs]),
        np.concatenate([other for _, other, _ in pairs]),
        np.concatenate(weights),
    )

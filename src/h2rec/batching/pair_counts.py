"""How often two items stood near each other in training histories, in whole numbers that can be kept up to date."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.histories import Histories, IntArray
from h2rec.engines import LOCAL, Engine
from h2rec.errors import DataError
from h2rec.frames import read_parquet, write_parquet

LAGS = 3
"""K: an item follows the K items before it."""
LAG_DECAY = 0.6
"""g: a pair that is ``lag`` steps apart counts ``g^(lag - 1)``."""

_LAG_COLUMNS = tuple(f"lag_{lag}" for lag in range(1, LAGS + 1))


EVENTS_AT_ONCE = 4_000_000
"""Events whose pairs are counted at once, at least those of one user."""


def _parts(histories: Histories) -> Iterator[Histories]:
    """Histories of so many users that they have about `EVENTS_AT_ONCE` events, one part or more."""
    first = 0
    while True:
        last = (
            int(np.searchsorted(histories.offsets, histories.offsets[first] + EVENTS_AT_ONCE, side="right"))
            - 1
        )
        last = max(last, min(first + 1, len(histories)))
        start, end = histories.offsets[first], histories.offsets[last]
        yield Histories(histories.offsets[first : last + 1] - start, histories.items[start:end])
        if last == len(histories):
            return
        first = last


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Every pair of an item and one that came up to `LAGS` steps after it in a history.

    Whole numbers add up to the same whatever the order, so counts that took in a day at a time are those of all days
    counted at once, to the bit.
    """

    earlier: IntArray
    later: IntArray
    """Items, int64 `[z]` both, ascending by the earlier and then by the later one; a pair occurs once."""
    times: IntArray
    """How often they stood so many steps apart, int64 `[z, LAGS]`, the nearest first."""

    @classmethod
    def of(cls, histories: Histories, engine: Engine = LOCAL) -> "PairCounts":
        """Count the pairs of some histories, those of some users after those of others; `engine` does the parts."""
        total: list[PairCounts] = []
        for part in engine.map(cls._of_all, list(_parts(histories))):
            total.append(part)
            # Like sizes are added up, so that a pair is touched as often as the number of parts has binary digits.
            while len(total) > 1 and len(total[-2].earlier) <= 2 * len(total[-1].earlier):
                total.append(total.pop().added(total.pop()))
        while len(total) > 1:
            total.append(total.pop().added(total.pop()))
        return total[0]

    @classmethod
    def _of_all(cls, histories: Histories) -> Self:
        items = np.asarray(histories.items).astype(np.int64)
        user = np.repeat(np.arange(len(histories)), histories.lengths)
        found = [(items[:-lag], items[lag:], user[:-lag] == user[lag:]) for lag in range(1, LAGS + 1)]
        earlier = np.concatenate([one[together] for one, _, together in found])
        later = np.concatenate([other[together] for _, other, together in found])
        lags = np.repeat(np.arange(LAGS), [np.count_nonzero(together) for _, _, together in found])
        width = int(items.max(initial=0)) + 1
        keys, place = np.unique(earlier * width + later, return_inverse=True)
        times = np.bincount(place.reshape(-1) * LAGS + lags, minlength=len(keys) * LAGS)
        return cls(keys // width, keys % width, times.reshape(-1, LAGS))

    def added(self, other: Self) -> Self:
        """The counts of both."""
        width = 1 + max(int(one.later.max(initial=0)) for one in (self, other))
        keys = np.concatenate([one.earlier * width + one.later for one in (self, other)])
        order = np.argsort(keys, kind="stable")  # both ascend already, which makes it quick
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        times = np.concatenate([self.times, other.times])[order]
        sums = np.add.reduceat(times, starts, axis=0) if len(starts) else times
        return type(self)(keys[starts] // width, keys[starts] % width, sums)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """What each pair counts, near ones more, float64 `[z]`."""
        weights: npt.NDArray[np.float64] = self.times @ (LAG_DECAY ** np.arange(LAGS))
        return weights

    def replaced(self, before: Self, after: Self) -> Self:
        """The counts once some histories are not what they were: those of them before, and after."""
        width = 1 + max((int(one.later.max(initial=0)) for one in (self, before, after)), default=0)
        keys, times = self.earlier * width + self.later, self.times
        for change, sign in ((before, -1), (after, 1)):
            changed = change.earlier * width + change.later
            # Both ascend: what is new goes in between, which costs no sorting of all that is known.
            place = np.searchsorted(keys, changed)
            new = (
                keys[np.minimum(place, len(keys) - 1)] != changed
                if len(keys)
                else np.ones(len(changed), bool)
            )
            keys, times = (
                np.insert(keys, place[new], changed[new]),
                np.insert(times, place[new], 0, axis=0),
            )
            times[np.searchsorted(keys, changed)] += sign * change.times
        kept = times.any(axis=1)
        return type(self)(keys[kept] // width, keys[kept] % width, times[kept])

    def save(self, path: Path) -> None:
        """Write a Parquet file."""
        lags = {name: self.times[:, lag].astype(np.int32) for lag, name in enumerate(_LAG_COLUMNS)}
        columns = {"earlier": self.earlier.astype(np.int32), "later": self.later.astype(np.int32)}
        write_parquet(pl.DataFrame(columns | lags), path)

    @classmethod
    def load(cls, path: Path, item_count: int) -> Self:
        """Read what `save` wrote for a catalogue of that many items.

        Raises `DataError` if the file is damaged or belongs to another catalogue: it may come from anywhere.
        """
        try:
            frame = read_parquet(path)
            columns = [frame[name].cast(pl.Int64).to_numpy() for name in ("earlier", "later", *_LAG_COLUMNS)]
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path}: can't read the counts ({error})") from None
        earlier, later, *lags = columns
        keys = earlier * (item_count + 1) + later
        inside = all(((part >= 1) & (part <= item_count)).all() for part in (earlier, later))
        times = np.stack(lags, axis=1)
        if not (inside and (np.diff(keys) > 0).all() and (times >= 0).all() and times.any(axis=1).all()):
            raise DataError(f"{path}: no counts of {item_count:,} items")
        return cls(earlier, later, times)

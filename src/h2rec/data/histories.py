"""Users' item sequences as one flat array and offsets (CSR), in memory or mapped from disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from h2rec.errors import DataError

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Histories:
    """One time-ordered sequence of item indices per row.

    Item indices start at 1; 0 is padding and never stored.
    """

    offsets: IntArray
    """int64 `[rows + 1]`; row `r` is ``items[offsets[r]:offsets[r + 1]]``."""
    items: IntArray
    """int32 `[interactions]`."""

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> Self:
        """Build from plain lists of item indices."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        items = np.array([item for row in rows for item in row], dtype=np.int32)
        return cls(offsets_of(lengths), items)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> IntArray:
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[IntArray]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> IntArray:
        """Items in each row, int64 `[rows]`."""
        return np.diff(self.offsets)

    def select(self, rows: IntArray) -> Self:
        """Return the given rows, in the given order."""
        return self.slices(self.offsets[rows], self.lengths[rows])

    def shortened(self, by: IntArray) -> Self:
        """Return every row without its last `by[row]` items."""
        return self.slices(self.offsets[:-1], self.lengths - by)

    def slices(self, starts: IntArray, lengths: IntArray) -> Self:
        """Return a row for each flat position in `starts`: so many items from there on."""
        offsets = offsets_of(lengths)
        source = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return type(self)(offsets, self.items[source])

    def counts(self, item_count: int) -> IntArray:
        """How often each item occurs, int64 `[item_count + 1]`, padding first (0)."""
        return np.bincount(self.items, minlength=item_count + 1)

    def padded(self, rows: IntArray, max_length: int) -> tuple[IntArray, IntArray]:
        """Return the last `max_length` items of the given rows, padded with 0 on the right.

        Returns `items, lengths`: int64 `[B, T]`, where `T` is the longest returned length (at least 1), and int64
        `[B]`.
        """
        ends = self.offsets[1:][rows]
        lengths = np.minimum(self.lengths[rows], max_length)
        width = max(1, int(lengths.max(initial=0)))
        columns = np.arange(width)
        inside = columns < lengths[:, None]
        items = np.zeros((len(rows), width), dtype=np.int64)
        items[inside] = self.items[((ends - lengths)[:, None] + columns)[inside]]
        return items, lengths

    def save(self, folder: Path) -> None:
        """Write `offsets.npy` and `items.npy` into an existing folder."""
        np.save(folder / "offsets.npy", self.offsets)
        np.save(folder / "items.npy", self.items)

    @classmethod
    def load(cls, folder: Path, *, mapped: bool = True) -> Self:
        """Read what `save` wrote, mapped from disk by default.

        Raises
        ------
        DataError
            If a file is missing or damaged.
        """
        mode: Literal["r"] | None = "r" if mapped else None
        try:
            offsets = np.load(folder / "offsets.npy", mmap_mode=mode, allow_pickle=False)
            items = np.load(folder / "items.npy", mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: can't read histories ({error})") from None
        if len(offsets) == 0 or int(offsets[-1]) != len(items):
            raise DataError(f"{folder}: offsets and items do not fit together")
        return cls(offsets, items)


def offsets_of(lengths: IntArray) -> IntArray:
    """Row offsets, int64 `[rows + 1]`, for the given row lengths."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets

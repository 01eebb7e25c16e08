"""Semantic IDs: one tuple of codes per item, coarse to fine."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from h2rec.errors import SemanticIdError
from h2rec.files import write_text

CodeArray = npt.NDArray[np.int32]

LARGEST_CODEBOOK = 1 << 20
"""Most codes of a level in a file: each needs a vector."""


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """The codes of a catalogue."""

    codes: CodeArray
    """int32 `[N, L]`; row `i - 1` belongs to item index `i`. Codes of level `l` run from 0 to ``codebook_sizes[l] -
    1``."""
    codebook_sizes: tuple[int, ...]
    """Codes per level, `L` numbers, coarse level first."""

    def __post_init__(self) -> None:
        codes = self.codes
        if codes.ndim != 2 or codes.shape[1] != len(self.codebook_sizes):
            raise SemanticIdError(
                f"codes of shape {codes.shape} do not fit {len(self.codebook_sizes)} codebook sizes"
            )
        outside = np.argwhere((codes < 0) | (codes >= np.array(self.codebook_sizes)))
        if len(outside):
            row, level = outside[0]
            raise SemanticIdError(
                f"item {row + 1}, level {level + 1}: code {codes[row, level]} is outside "
                f"0..{self.codebook_sizes[level] - 1}"
            )

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def levels(self) -> int:
        """Number of levels, L."""
        return len(self.codebook_sizes)

    def with_sizes(self, codebook_sizes: Sequence[int]) -> Self:
        """Return the same codes with other codebook sizes.

        Raises `SemanticIdError` if a code does not fit.
        """
        return type(self)(self.codes, tuple(codebook_sizes))

    def padded(self) -> CodeArray:
        """Codes with a row of zeros for the padding item in front, int32 `[N + 1, L]`."""
        return np.concatenate([np.zeros((1, self.levels), np.int32), self.codes])

    def prefix_groups(self) -> Iterator[npt.NDArray[np.int64]]:
        """Group items by their first code, then by their first two, ..: each item's number from 0, int64 `[N]`."""
        group = np.zeros(len(self), dtype=np.int64)
        for size, column in zip(self.codebook_sizes, self.codes.T, strict=True):
            # Renumbered at every level, so that the number stays below items x codes.
            group = np.unique(group * size + column, return_inverse=True)[1].reshape(-1)
            yield group

    def tuple_groups(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Group items by identical tuple: the number of each item's group and its size, int64 `[N]` each."""
        *_, group = self.prefix_groups()
        return group, np.bincount(group)[group]

    def save(self, path: Path, item_ids: Sequence[str]) -> None:
        """Write `semantic_ids.json`: ``{"item": [c1, .., cL]}``, one item a line."""
        write_rows(path, item_ids, self.codes.tolist())

    @classmethod
    def from_mapping(
        cls,
        codes_by_item: Mapping[str, Sequence[int]],
        item_ids: Sequence[str] | None = None,
        *,
        source: str = "semantic IDs",
    ) -> Self:
        """Build from item -> codes, in the order of `item_ids` or their own; sizes are the largest codes plus one.

        Raises `SemanticIdError` if an item has no codes, tuples differ in length, or a code is not an integer in
        range.
        """
        if not isinstance(codes_by_item, Mapping) or not codes_by_item:
            raise SemanticIdError(f"{source}: expected an object that maps items to lists of codes")
        place = {item: number for number, item in enumerate(codes_by_item)}
        missing = [item for item in item_ids or () if item not in place]
        if missing:
            shown = ", ".join(missing[:5])
            raise SemanticIdError(f"{source}: {len(missing)} items have no codes, the first: {shown}")
        levels = None
        for item, row in codes_by_item.items():
            is_integers = isinstance(row, Sequence) and all(type(code) is int for code in row)
            if not is_integers or len(row) == 0 or (levels is not None and len(row) != levels):
                expected = "a non-empty list of integers" if levels is None else f"{levels} integers"
                raise SemanticIdError(f"{source}: item '{item}': expected {expected}, found {row!r}")
            levels = len(row)
        furthest = max((code for row in codes_by_item.values() for code in row), key=abs)
        if abs(furthest) >= LARGEST_CODEBOOK:
            raise SemanticIdError(
                f"{source}: there is no code {furthest}, codebooks have at most {LARGEST_CODEBOOK:,} codes"
            )
        codes = np.array(list(codes_by_item.values()), dtype=np.int32)
        sizes = tuple(int(top) + 1 for top in codes.max(axis=0))
        return cls(codes if item_ids is None else codes[[place[item] for item in item_ids]], sizes)


def write_rows(path: Path, item_ids: Sequence[str], rows: Sequence[Sequence[int | str]]) -> None:
    """Write a JSON object of items and their rows, one item a line."""
    pairs = zip(item_ids, rows, strict=True)
    lines = (f"{json.dumps(item, ensure_ascii=False)}: {json.dumps(row)}" for item, row in pairs)
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")

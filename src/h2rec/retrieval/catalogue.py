"""The items of a bundle as people see them: ids, fields, head and tail, and the tree of codes."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from h2rec.errors import DataError
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.filters import Allowed, ItemFilter, allowed_items
from h2rec.retrieval.item_ids import ItemId, as_item_id
from h2rec.retrieval.item_table import OWN_COLUMNS

_TITLES = ("title", "name")
_LONGEST_VALUE = 200
_LISTED = 100
_CHARACTERS_KEPT = 20_000_000
"""Characters of fields that are kept as dictionaries: the same items are asked for again and again."""
_COMPARED = 50_000
"""Most ids that an unknown one is compared with: a second's work."""


@dataclass(frozen=True)
class Branch:
    """One code below a prefix: how many items, how many of them head, and the most popular ones."""

    code: int
    items: int
    head: int
    examples: list[str]


@dataclass(frozen=True)
class AttributeValue:
    """A value of a field, and how many items have it."""

    value: str
    items: int


@dataclass(frozen=True)
class Attribute:
    """A field whose values many items share, such as a category."""

    name: str
    distinct: int
    """How many values there are."""
    values: list[AttributeValue]
    """The most frequent ones first, at most a hundred."""


class Catalogue:
    """Look-ups in the item table of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        table = bundle.items
        self.semantic_ids = bundle.semantic_ids
        self.item_ids: list[str] = table["item_id"].to_list()
        self.index = {item_id: row + 1 for row, item_id in enumerate(self.item_ids)}
        self.fields = table.drop(*OWN_COLUMNS)
        # Arrow takes a few rows in the calling thread; polars wakes its pool for that, which costs milliseconds.
        self._few_rows = self.fields.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        self.train_counts: npt.NDArray[np.int64] = np.concatenate([[0], table["train_count"].to_numpy()])
        self.head: npt.NDArray[np.bool_] = np.concatenate([[False], table["head"].to_numpy()])
        self._lowered = self._searchable()
        self._read: dict[int, dict[str, str | None]] = {}
        self._read_size = 0

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def _id_column(self) -> pa.Array:
        return pa.array(self.item_ids, pa.string())

    @cached_property
    def attributes(self) -> list[Attribute]:
        """Fields to filter by: those whose values are short, and two items or more have one on average."""
        found = []
        for column in self.fields:
            texts = column.drop_nulls()
            counts = (
                texts.alias("value")
                .value_counts(name="items")
                .sort(["items", "value"], descending=[True, False])
            )
            longest = counts["value"].str.len_chars().max()
            if counts.height and 2 * counts.height <= len(texts) and int(str(longest)) <= _LONGEST_VALUE:
                values = [AttributeValue(*row) for row in counts.head(_LISTED).rows()]
                found.append(Attribute(column.name, counts.height, values))
        return found[:_LISTED]

    def known(self, item_ids: Iterable[str]) -> list[int]:
        """Indices of the items that are in the catalogue, in the given order."""
        return [self.index[item] for item in item_ids if item in self.index]

    def ids_of(self, items: npt.NDArray[np.int64]) -> pa.Array:
        """Ids of items by index, as a column of texts."""
        return self._id_column.take(pa.array(items - 1))

    def passing(self, filter_: ItemFilter) -> Allowed:
        """Which items a filter lets pass, see `allowed_items`."""
        return allowed_items(filter_, self.fields, self.index)

    def require(self, item_id: ItemId) -> int:
        """Index of an item.

        Raises `DataError` if it is no id, or the catalogue does not have it. Ids that look like it are not looked
        for: in a large catalogue that takes seconds, and a server is asked for unknown items all day.
        """
        known = as_item_id(item_id)
        if known not in self.index:
            raise DataError(f"unknown item '{known[:80]}'", f"ids look like: {', '.join(self.item_ids[:3])}")
        return self.index[known]

    def nearest_ids(self, item_id: str) -> list[str]:
        """Ids of the catalogue that look like a given one, for a person's slip; none in a large catalogue."""
        if len(self) > _COMPARED:
            return []
        return difflib.get_close_matches(item_id[:80], self.item_ids, n=3)

    def field_rows(self, items: Sequence[int]) -> list[dict[str, str | None]]:
        """Text fields of items by index."""
        if self._read_size > _CHARACTERS_KEPT:
            self._read, self._read_size = {}, 0
        read = self._read  # another thread may put an empty one in its place
        new = [item for item in items if item not in read]
        if new:
            places = pa.array([item - 1 for item in new], pa.int64())
            rows: list[dict[str, str | None]] = self._few_rows.take(places).to_pylist()
            rows = rows or [{} for _ in new]  # a table without fields has no rows
            read.update(zip(new, rows, strict=True))
            self._read_size += sum(100 + len(text or "") for row in rows for text in row.values())
        return [read[item].copy() for item in items]

    def codes(self, item: int) -> list[int] | None:
        """Codes of an item by index, or None for a bundle without."""
        if self.semantic_ids is None:
            return None
        codes: list[int] = self.semantic_ids.codes[item - 1].tolist()
        return codes

    def titles(self, items: Sequence[int]) -> list[str]:
        """What to call items: their title or name, else their first text, else their id."""
        rows = self.field_rows(items)
        named = [name for name in self.fields.columns if name.lower() in _TITLES]
        order = [*named, *self.fields.columns]
        return [
            next((row[name] for name in order if row[name]), None) or self.item_ids[item - 1]
            for item, row in zip(items, rows, strict=True)
        ]

    def find(self, text: str, limit: int) -> list[int]:
        """Indices of items whose id or text holds every word of a query, most popular first."""
        matches = pl.Series([True]).new_from_index(0, len(self))
        for word in text.lower().split():
            matches &= self._lowered.str.contains(word, literal=True)
        rows = matches.arg_true().to_numpy().astype(np.int64) + 1
        best = np.argsort(-self.train_counts[rows], kind="stable")[:limit]
        items: list[int] = rows[best].tolist()
        return items

    def below(self, prefix: Sequence[int], examples: int = 3) -> list[Branch]:
        """Walk the tree of codes: what follows a prefix, largest branch first.

        Raises `DataError` for a bundle without codes, or a prefix as long as a whole tuple.
        """
        rows = self._under(prefix)
        if self.semantic_ids is None or len(prefix) >= self.semantic_ids.levels:
            raise DataError(f"a prefix of {len(prefix)} codes has nothing below it", "it is a whole tuple")
        following = self.semantic_ids.codes[rows, len(prefix)]
        groups = []
        for code in np.unique(following).tolist():
            items = rows[following == code] + 1
            best = items[np.argsort(-self.train_counts[items], kind="stable")[:examples]]
            groups.append((code, items, best.tolist()))
        titles = iter(self.titles([item for _, _, best in groups for item in best]))
        branches = [
            Branch(code, len(items), int(self.head[items].sum()), [next(titles) for _ in best])
            for code, items, best in groups
        ]
        return sorted(branches, key=lambda branch: -branch.items)

    def members(self, prefix: Sequence[int], limit: int) -> list[int]:
        """Indices of items whose codes begin with a prefix, most popular first.

        Raises `DataError` for a bundle without codes.
        """
        items = self._under(prefix) + 1
        best: list[int] = items[np.argsort(-self.train_counts[items], kind="stable")[:limit]].tolist()
        return best

    def _under(self, prefix: Sequence[int]) -> npt.NDArray[np.int64]:
        if self.semantic_ids is None:
            raise DataError("this bundle's model has no codes")
        codes = self.semantic_ids.codes[:, : len(prefix)]
        if len(prefix) > codes.shape[1]:
            return np.empty(0, dtype=np.int64)
        wanted = np.array(prefix, dtype=np.int64)
        return np.flatnonzero((codes == wanted).all(axis=1))

    def _searchable(self) -> pl.Series:
        columns: list[Any] = [pl.Series("item_id", self.item_ids), *self.fields.get_columns()]
        joined = pl.concat_str([pl.col(column.name) for column in columns], separator=" ", ignore_nulls=True)
        return pl.DataFrame(columns).select(joined.str.to_lowercase().alias("text"))["text"]

"""Which items an answer may list."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.errors import DataError
from h2rec.retrieval.item_ids import ItemId, as_item_ids

_COMPARED = 1000


@dataclass(frozen=True)
class ItemFilter:
    """Restrictions on an answer; all of them hold."""

    allow: frozenset[str] | None = None
    """Ids of the only items that may be listed, or None for all. Unknown ids are passed over."""
    deny: frozenset[str] = frozenset()
    """Ids of items that may not be listed."""
    where: tuple[tuple[str, frozenset[str]], ...] = ()
    """Field and accepted values: an item's field must equal one of them."""
    seen: bool | None = None
    """Whether items of the history may be listed again; None as the bundle says, which was evaluated by that rule."""

    @classmethod
    def make(
        cls,
        *,
        allow: Iterable[ItemId] | None = None,
        deny: Iterable[ItemId] = (),
        where: Mapping[str, Iterable[ItemId]] | None = None,
        seen: bool | None = None,
    ) -> Self:
        """Build from plain lists of ids and of values; whole numbers are taken as their texts.

        Raises `DataError` if one of them is no list, or holds something else.
        """
        fields = [(name, _texts(values, f"filter: {name}")) for name, values in (where or {}).items()]
        allowed = None if allow is None else _texts(allow, "filter: allow")
        return cls(allowed, _texts(deny, "filter: deny"), tuple(sorted(fields, key=itemgetter(0))), seen)

    @property
    def restricts(self) -> bool:
        """Whether anything but the history is left out."""
        return self.allow is not None or bool(self.deny) or bool(self.where)


def _texts(values: Iterable[ItemId], what: str) -> frozenset[str]:
    return frozenset(as_item_ids(values, what, ordered=False))


ANY_ITEM = ItemFilter()
"""Leaves out nothing but the history, where the bundle says so."""


@dataclass(frozen=True, eq=False)
class Allowed:
    """The items that may be listed: as marks, and, for an index that filters by itself, as what they were made of."""

    marks: npt.NDArray[np.bool_]
    """bool `[N + 1]`; the padding item is never marked."""
    where: tuple[tuple[str, frozenset[str]], ...] = ()
    """Field and accepted values."""
    only: tuple[int, ...] | None = None
    """The only items by number, or None."""
    never: tuple[int, ...] = ()
    """Items by number that are not."""
    tail: bool = False
    """Whether items of the head are not."""

    @cached_property
    def count(self) -> int:
        """How many they are."""
        return int(np.count_nonzero(self.marks))

    def of_tail(self, head: npt.NDArray[np.bool_]) -> "Allowed":
        """Those of them that are not marked as head, `[N + 1]`."""
        return replace(self, marks=self.marks & ~head, tail=True)


def every_item(count: int) -> Allowed:
    """All of so many items."""
    return Allowed(np.arange(count + 1) > 0)


def allowed_items(filter_: ItemFilter, items: pl.DataFrame, index: Mapping[str, int]) -> Allowed:
    """Find the items that a filter lets pass.

    Raises `DataError` for an unknown field, or one of whose accepted values no item has any, naming the nearest.
    """
    allowed = np.ones(items.height + 1, dtype=np.bool_)
    never = tuple(sorted(index[item] for item in filter_.deny if item in index))
    only = None
    if filter_.allow is not None:
        only = tuple(sorted(index[item] for item in filter_.allow if item in index))
        allowed[:] = False
        allowed[list(only)] = True
    allowed[list(never)] = False
    for field, values in filter_.where:
        if field not in items.columns:
            # Cut: a name of a megabyte would be compared for a long time.
            nearest = difflib.get_close_matches(field[:80], items.columns, n=1, cutoff=0.5)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"there are: {', '.join(items.columns)}"
            raise DataError(f"filter: the items have no field '{field[:80]}'", hint)
        matches = items[field].cast(pl.String).is_in(sorted(values)).fill_null(False)
        if values and not matches.any():
            raise _no_such_value(field, min(values), items[field])
        allowed[1:] &= matches.to_numpy()
    allowed[0] = False
    return Allowed(allowed, filter_.where, only, never)


def _no_such_value(field: str, value: str, column: pl.Series) -> DataError:
    """Name the nearest among the most frequent values: all those of a large catalogue would take seconds."""
    found = (
        column.drop_nulls()
        .alias("value")
        .value_counts(name="items")
        .sort(["items", "value"], descending=[True, False])
    )
    frequent = found["value"].head(_COMPARED).str.slice(0, 80).to_list()
    folded = {text.lower(): text for text in reversed(frequent)}
    nearest = difflib.get_close_matches(value[:80].lower(), folded, n=1, cutoff=0.5)
    hint = f"did you mean '{folded[nearest[0]]}'?" if nearest else f"there are: {', '.join(frequent[:5])}"
    return DataError(f"filter: no item has the {field} '{value[:80]}'", hint)

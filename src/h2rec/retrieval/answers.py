"""Questions to the recommender and its answers."""

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from h2rec.data.histories import IntArray
from h2rec.errors import DataError
from h2rec.native import POLARS, Kind
from h2rec.retrieval.explanation import Explanation
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.item_ids import GivenId, ItemId, as_item_ids, id_column
from h2rec.shown import Shown

_PLURAL = ("", "s")


def checked_k(k: Any) -> int:
    """Return how many items are asked for. Raises `DataError` if it is no whole number, or below one."""
    try:
        number = operator.index(k)
    except TypeError:
        raise DataError(f"k is {str(k)[:80]!r}, it must be a whole number") from None
    if number < 1:
        raise DataError(f"k is {number}, it must be at least 1")
    return number


@dataclass(frozen=True)
class Query:
    """One question.

    Parameters
    ----------
    history
        Item ids, oldest first, in anything that `as_item_ids` reads; kept as texts.
    k
        How many items to recommend.
    filter
        Which items may be recommended.
    tail_share
        Least share of tail items in the answer, or None for the model's own order.
    explain
        Whether to explain every item.
    bare
        Whether to tell of items their ids and scores alone; codes and fields are then left empty.

    Raises
    ------
    DataError
        If the history is no list of ids, `k` is no whole number above zero or the share is not between 0 and 1.
    """

    history: Sequence[ItemId]
    k: int = 10
    filter: ItemFilter = ANY_ITEM
    tail_share: float | None = None
    explain: bool = False
    bare: bool = False

    @property
    def item_ids(self) -> list[str]:
        """The history as texts."""
        ids: list[str] = self.history  # type: ignore[assignment]  # made so by what follows
        return ids

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", as_item_ids(self.history))
        object.__setattr__(self, "k", checked_k(self.k))
        if self.tail_share is not None and not 0 <= self.tail_share <= 1:
            raise DataError(f"the tail share is {self.tail_share}, it must be between 0 and 1")


@dataclass(frozen=True)
class RecommendedItem:
    """One recommended item."""

    item_id: GivenId
    """The item's own id."""
    score: float
    """The model's score; higher is better, comparable within one answer only."""
    head: bool
    """Whether it is one of the popular items."""
    fields: dict[str, str | None]
    """Its text fields, such as a title."""
    codes: list[int] | None = None
    """Its semantic ID, or None for a model without."""
    explanation: Explanation | None = None
    """Why, if that was asked for and the answer is the model's."""


@dataclass(frozen=True, repr=False)
class ItemList(Shown):
    """Items with scores, best first."""

    items: list[RecommendedItem]
    """Best first."""
    kind: Kind = field(default=POLARS, kw_only=True, compare=False)
    """What `to_frame` gives."""

    @property
    def title(self) -> str:
        return f"{len(self.items)} item{_PLURAL[len(self.items) != 1]}"

    @property
    def notes(self) -> list[str]:
        """Why, a sentence an item, where that was asked for."""
        return [f"{item.item_id} {why}" for item, why in zip(self.items, self._why, strict=True) if why]

    @property
    def _why(self) -> list[str]:
        return ["" if item.explanation is None else item.explanation.sentence() for item in self.items]

    def frame(self) -> pl.DataFrame:
        """Return what is shown, and reasons as a column ``why`` where they were asked for."""
        table = self.table()
        return table.with_columns(pl.Series("why", self._why)) if any(self._why) else table

    def table(self) -> pl.DataFrame:
        scores = {
            "rank": pl.Series(range(1, len(self.items) + 1), dtype=pl.Int64),
            "item_id": id_column([item.item_id for item in self.items]),
            "score": pl.Series([item.score for item in self.items], dtype=pl.Float64),
            "head": pl.Series([item.head for item in self.items], dtype=pl.Boolean),
        }
        names = [name for name in (self.items[0].fields if self.items else {}) if name not in scores]
        texts = {
            name: pl.Series([item.fields[name] for item in self.items], dtype=pl.String) for name in names
        }
        return pl.DataFrame(scores | texts)


@dataclass(frozen=True, repr=False)
class Recommendation(ItemList):
    """An answer for one history."""

    unknown: list[GivenId] = field(default_factory=list)
    """History entries that the catalogue does not have; they were skipped."""
    from_popularity: bool = False
    """Whether the history was empty (or wholly unknown), so that the most popular items are given."""
    alpha: list[float] | None = None
    """How much of each level the user's intent asks for, if an explanation was asked for."""

    @property
    def title(self) -> str:
        origin = "the most popular ones, as nothing in the history is known" if self.from_popularity else ""
        unknown = f"not known: {', '.join(map(str, self.unknown[:5]))}" if self.unknown else ""
        return "; ".join(filter(None, (super().title, origin, unknown)))


@dataclass(frozen=True, eq=False)
class IdLists:
    """Answers of `n` users as columns, without what is told of items: for files of very many."""

    offsets: IntArray
    """int64 `[n + 1]`; the list of user `r` is ``offsets[r]:offsets[r + 1]`` of the ids and of the scores."""
    item_ids: pa.Array
    """Texts, best first."""
    scores: npt.NDArray[np.float32]
    unknown: list[list[str]]
    """Entries of each history that the catalogue does not have."""
    from_popularity: list[bool]
    """Whether nothing of a history is known."""


def item_as_json(item: RecommendedItem) -> dict[str, Any]:
    """Plain values of an item; codes and explanation only where there are any."""
    values: dict[str, Any] = {
        "item_id": item.item_id,
        "score": item.score,
        "head": item.head,
        "fields": item.fields,
    }
    if item.codes is not None:
        values["codes"] = item.codes
    if item.explanation is not None:
        values["explanation"] = asdict(item.explanation)
    return values


def as_columns(answer: Recommendation, names: Sequence[str]) -> dict[str, Any]:
    """Plain values of an answer, of its items a list of each of ``item_id`` and ``score`` that is named."""
    # Nine digits tell every float32 from its neighbours; more are noise of the wider float.
    columns = {
        "item_id": [item.item_id for item in answer.items],
        "score": [float(f"{item.score:.9g}") for item in answer.items],
    }
    told = {"unknown": answer.unknown, "from_popularity": answer.from_popularity}
    return {name: columns[name] for name in names} | told


def as_json(answer: Recommendation) -> dict[str, Any]:
    """Plain values of an answer; alpha only where there is any."""
    values: dict[str, Any] = {
        "items": [item_as_json(item) for item in answer.items],
        "unknown": answer.unknown,
        "from_popularity": answer.from_popularity,
    }
    if answer.alpha is not None:
        values["alpha"] = answer.alpha
    return values

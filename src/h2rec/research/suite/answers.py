"""Another system's answers from a file: where each test user's target stands in them."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.columns import find_column
from h2rec.data.dataset import Dataset
from h2rec.data.identifiers import identifier_reader
from h2rec.data.numbers import number
from h2rec.data.readers import Table
from h2rec.data.splits import Holdout
from h2rec.errors import DataError
from h2rec.evaluation.settings import RepeatRule

_NAMES = {
    "user": "name it user_id",
    "item": "name it item_id, or write a list of items a user and name that items",
    "rank": "name it rank; 1 is the best place",
}
"""What to do where a column is missing."""


@dataclass(frozen=True, eq=False)
class Placed:
    """Where targets stand in another system's answers."""

    ranks: npt.NDArray[np.int64]
    """Rank of the target, int64 `[cases]`, 0 where the answers do not have it."""
    answered: npt.NDArray[np.bool_]
    """Whether the user has an answer at all, bool `[cases]`."""
    depth: int
    """How deep the answers go: a target that is not in them stands somewhere behind."""
    lists: npt.NDArray[np.int32] | None = None
    """The lists, int32 `[cases, depth]`, 0 where one ends early; None where only ranks are known."""


def placed_by_rank(table: Table, dataset: Dataset, cases: Holdout) -> Placed:
    """Read a row a user: `user` and the `rank` of the target, 1 is best.

    Raises `DataError`, naming the place, for an unknown user, one that stands twice, or what is no rank.
    """
    rows = _ranked(table, _read(table, dataset, {part: _column(table, part) for part in ("user", "rank")}))
    _refuse_twice(table, rows)
    rows = rows.join(_cases_of(dataset, cases), on="user")
    ranks = np.zeros(len(cases), dtype=np.int64)
    ranks[rows["case"]] = rows["rank"]
    return Placed(ranks, ranks > 0, int(ranks.max()))


def placed_in_lists(table: Table, dataset: Dataset, cases: Holdout, rule: RepeatRule) -> Placed:
    """Read lists: a row a place (`user`, `item`, `rank`), or a row a user (`user`, `items`, best first).

    Where `rule` excludes repeats, items of a user's own history are taken out, and the others move up.

    Raises `DataError`, naming the place, for an unknown user or item, one that stands twice, or what is no rank.
    """
    names, listed = {"user": _column(table, "user")}, find_column(table, "items", None)
    if listed is None:
        names |= {part: _column(table, part) for part in ("item", "rank")}
        rows = _ranked(table, _read(table, dataset, names))
        users = rows["user"].unique()
    else:
        rows = _read(table, dataset, names | {"items": listed})
        _refuse_twice(table, rows)
        users = rows["user"]
        items = _split(pl.col("items"), joined=listed in table.lists)
        rows = rows.select("place", "user", item=items).explode("item")
        rows = rows.filter(pl.col("item") != "").with_columns(rank=pl.int_range(pl.len()))
    catalogue = pl.DataFrame({"item": dataset.items["item_id"]}).with_row_index("number", offset=1)
    rows = rows.join(catalogue, on="item", how="left", maintain_order="left")
    _refuse(table, rows, pl.col("number").is_null(), "the item '{item}' is not in the catalogue")
    for part in ("item", "rank"):
        twice = ~pl.struct("user", part).is_first_distinct()
        _refuse(table, rows, twice, part + " {" + part + "} stands twice in the list of user '{user}'")
    of_user = _cases_of(dataset, cases)
    answered = np.zeros(len(cases), dtype=np.bool_)
    answered[of_user.join(users.to_frame(), on="user", how="semi")["case"]] = True
    rows = rows.join(of_user, on="user").select("case", "rank", pl.col("number").cast(pl.Int64))
    if rule == "excluded":
        histories = cases.histories
        own = {
            "case": np.repeat(np.arange(len(cases)), histories.lengths),
            "number": np.asarray(histories.items, dtype=np.int64),
        }
        rows = rows.join(pl.DataFrame(own), on=["case", "number"], how="anti")
    rows = rows.sort("case", "rank").with_columns(at=pl.int_range(pl.len()).over("case"))
    lists = np.zeros((len(cases), int(rows["at"].to_numpy().max(initial=-1)) + 1), dtype=np.int32)
    lists[rows["case"], rows["at"]] = rows["number"]
    places = np.arange(1, lists.shape[1] + 1)
    ranks = ((lists == cases.targets[:, None]) * places).sum(axis=1)
    return Placed(ranks, answered, lists.shape[1], lists)


def _cases_of(dataset: Dataset, cases: Holdout) -> pl.DataFrame:
    """Number of each test user's ``case``; a user without one has no row."""
    ids = dataset.user_ids.cast(pl.String).gather(np.asarray(cases.users, dtype=np.int64))
    return pl.DataFrame({"user": ids, "case": np.arange(len(cases))})


def _split(column: pl.Expr, *, joined: bool) -> pl.Expr:
    """Ids of a list: as readers join them, or as people write them, with commas or blanks between."""
    if joined:
        return column.str.split(", ")
    return column.str.replace_all(r"[\s,]+", " ").str.strip_chars().str.split(" ")


def _column(table: Table, part: str) -> str:
    column = find_column(table, part, None)
    if column is None:
        columns = ", ".join(table.columns)
        raise DataError(f"{table.path}: none of the columns is obviously the {part}: {columns}", _NAMES[part])
    return column


def _read(table: Table, dataset: Dataset, names: dict[str, str]) -> pl.DataFrame:
    """Columns by part, with ids as the data set has them, and the ``place`` of each row in the file."""
    columns = [
        (identifier_reader(table, column)(pl.col(column)) if part in ("user", "item") else pl.col(column))
        .cast(pl.String)
        .alias(part)
        for part, column in names.items()
    ]
    rows = table.collect(table.scan().select(columns)).with_row_index("place")
    if rows.height == 0:
        raise DataError(f"{table.path}: a header and no rows")
    for part in ("user", "item"):
        if part in names:
            _refuse(table, rows, pl.col(part).is_null(), f"no {part}")
    known = dataset.user_ids.cast(pl.String).implode()
    hint = "leave out users who are not in the interactions, or whose interactions were cleaned away"
    _refuse(table, rows, ~pl.col("user").is_in(known), "the user '{user}' is not in the data set", hint)
    return rows


def _ranked(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Read ranks as whole numbers."""
    rank = number(pl.col("rank"))
    valid = (rank >= 1) & (rank == rank.floor()) & rank.is_finite()
    hint = "the best place is 1; leave out users whose target is not found"
    _refuse(table, rows, ~valid.fill_null(value=False), "rank '{rank}' is no whole number from 1 on", hint)
    return rows.with_columns(rank.cast(pl.Int64).alias("rank"))


def _refuse_twice(table: Table, rows: pl.DataFrame) -> None:
    _refuse(table, rows, ~pl.col("user").is_first_distinct(), "the user '{user}' stands twice")


def _refuse(table: Table, rows: pl.DataFrame, wrong: pl.Expr, what: str, hint: str | None = None) -> None:
    """Raise a `DataError` that names the first row that is wrong and says what, with values of its columns."""
    found = rows.filter(wrong).head(1)
    if found.height:
        row: dict[str, Any] = found.row(0, named=True)
        line = next(islice(table.records(), row["place"], None))[0]
        raise DataError(f"{table.place(line)}: {what.format(**row)}", hint)

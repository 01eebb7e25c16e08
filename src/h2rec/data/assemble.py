"""The catalogue, the description and the warnings of a data set, however its rows were read."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories, IntArray
from h2rec.data.identifiers import are_whole_numbers
from h2rec.data.interactions import FILE_ORDER, Report
from h2rec.data.items import read_items
from h2rec.data.readers import Table
from h2rec.data.settings import DataSettings
from h2rec.errors import DataError

logger = logging.getLogger(__name__)

MANY_TIES = 0.02
"""Share of the users with two or more interactions, the last two at the same time, from which a warning tells of it."""

_NOTABLE = (
    "rows_without_user_or_item",
    "rows_below_min_rating",
    "duplicate_interactions",
    "interactions_outside_k_core",
    "item_rows_without_id",
    "duplicate_item_rows",
    "conflicting_item_rows",
    "items_not_in_item_file",
    "items_without_text",
    "users_with_one_interaction",
)
"""Counts of the report that a careful user wants to know of, where they are not zero."""


class Placed(NamedTuple):
    """Interactions in their places."""

    histories: Histories
    times: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64] | None


def assembled(
    settings: DataSettings,
    interactions: Table,
    items: Table | None,
    report: Report,
    *,
    user_ids: pl.Series,
    seen_ids: pl.Series,
    place: Callable[[IntArray], Placed],
) -> Dataset:
    """Make a data set of cleaned interactions.

    Parameters
    ----------
    user_ids, seen_ids
        Ids of users and of items with an interaction, by first appearance.
    place
        Puts interactions into users' histories, given the index (1..N) of every item in `seen_ids`.

    Raises `DataError` if the item file can't be understood or has none of the items, or every weight is 0.
    """
    catalogue, item_numbers, file_index = _catalogue(settings, items, seen_ids, report)
    if not are_whole_numbers(catalogue["item_id"]):
        report["item_ids"] = "texts"
    histories, times, weights = place(item_numbers)
    if weights is not None and weights.max() == 0:
        raise DataError(
            f"{interactions.path}: every {settings.columns.weight} that is left after cleaning is 0",
            "weights of nothing give no figure; leave data.columns.weight out",
        )
    _describe(histories, times, catalogue, report)
    return Dataset(
        user_ids=user_ids,
        items=catalogue,
        histories=histories,
        timestamps=pl.Series("timestamp", times),
        report=report,
        item_file_index=file_index,
        weights=None if weights is None else pl.Series("weight", weights),
        settings=settings,
    )


def check_core(k: int, rows: int, kept: int, report: Report) -> None:
    """Put into the report what the k-core left out. Raises `DataError` if it is empty."""
    report["interactions_outside_k_core"] = rows - kept
    if kept == 0:
        raise DataError(f"data.k_core: the {k}-core of {rows:,} interactions is empty", "lower it")


def check_split(settings: DataSettings, interactions: Table, report: Report) -> None:
    """Raise a `DataError` for a split by time without times."""
    if settings.split == "time" and report["time_order"] == FILE_ORDER:
        raise DataError(
            f"{interactions.path}: a split by time needs a time column",
            "name it with data.columns.timestamp, or use data.split: leave_one_out",
        )


def _catalogue(
    settings: DataSettings, table: Table | None, seen_ids: pl.Series, report: Report
) -> tuple[pl.DataFrame, IntArray, pl.Series | None]:
    """Build the item table.

    Returns `items, item_numbers, file_index`: the item table; the index (1..N) of every item in `seen_ids`, int32;
    and for every row of the item file the index of the item that it describes, 0 for none.
    """
    seen = pl.DataFrame({"item_id": seen_ids})
    if table is None:
        return seen, np.arange(1, len(seen_ids) + 1, dtype=np.int32), None
    described, file_rows = read_items(table, settings.columns, report)
    unknown = seen.join(described, on="item_id", how="anti", maintain_order="left")
    report["items_not_in_item_file"] = unknown.height
    if unknown.height == seen.height:
        raise DataError(
            f"{table.path}: none of its items occurs in the interactions",
            f"do the ids agree? '{described['item_id'][0]}' here, '{seen_ids[0]}' there",
        )
    if settings.catalogue == "interacted":
        described = described.join(seen, on="item_id", how="semi", maintain_order="left")
    items = pl.concat([described.drop("file_row"), unknown], how="diagonal")
    index = items.select("item_id").with_row_index("index", offset=1)
    numbers = seen.join(index, on="item_id", how="left", maintain_order="left")["index"]
    file_index = np.zeros(file_rows, dtype=np.int32)
    file_index[described["file_row"].to_numpy()] = np.arange(1, described.height + 1)
    return items, numbers.to_numpy().astype(np.int32), pl.Series("item", file_index)


def _describe(
    histories: Histories, times: npt.NDArray[np.float64], items: pl.DataFrame, report: Report
) -> None:
    fields = [name for name in items.columns if name != "item_id"]
    without_text = (
        items.filter(pl.all_horizontal(pl.col(name).is_null() for name in fields)) if fields else items
    )
    last = histories.offsets[1:][histories.lengths > 1] - 1
    tied = int(np.count_nonzero(times[last] == times[last - 1]))
    report |= {
        "users": len(histories),
        "items": items.height,
        "interactions": len(histories.items),
        "users_with_one_interaction": int(np.count_nonzero(histories.lengths == 1)),
        "users_whose_last_two_times_are_equal": tied,
        "items_without_text": without_text.height,
    }
    counts = f"{len(histories):,} users, {items.height:,} items, {len(histories.items):,} interactions"
    logger.info("data: %s", counts)
    warnings = _warnings(report)
    if tied and tied >= MANY_TIES * len(last):
        warnings.append(
            f"the last two interactions of {tied:,} users ({tied / len(last):.1%} of those with two or more) have the "
            "same time: the order of the file says which is the last, and models learn that order where it has one"
        )
    report["warnings"] = warnings
    for warning in warnings:
        logger.warning("data: %s", warning)
    notable = [f"{report[name]:,} {name.replace('_', ' ')}" for name in _NOTABLE if report.get(name)]
    if notable:
        logger.info("data: %s", ", ".join(notable))


def _warnings(report: Report) -> list[str]:
    """What a user should look at before trusting any figure, as sentences."""
    warnings = []
    if report["time_order"] == FILE_ORDER:
        columns = report.get("time_like_columns")
        hint = "name one with data.columns.timestamp, if the file is not sorted"
        if isinstance(columns, list) and columns:
            hint = f"data.columns.timestamp could name {', '.join(columns)}"
        warnings.append(f"no time column was found: the order of the file is the order in time; {hint}")
    if report.get("times_before_1973"):
        warnings.append(f"{report['times_before_1973']:,} times lie before 1973: are they missing ones?")
    for name, rows in (
        ("rows_with_a_word_for_nothing_as_id", "rows"),
        ("item_rows_with_a_word_for_nothing_as_id", "rows of the item file"),
    ):
        if report.get(name):
            warnings.append(
                f"{report[name]:,} {rows} were dropped, as their id is a word for nothing, such as nan or NULL"
            )
    for name in ("doubtful_user_ids", "doubtful_item_ids"):
        odd = report.get(name)
        warnings += odd if isinstance(odd, list) else []
    items, unknown = report["items"], report.get("items_not_in_item_file")
    if isinstance(items, int) and isinstance(unknown, int) and 2 * unknown > items:
        warnings.append(f"the item file does not have {unknown:,} of {items:,} items: do the ids agree?")
    columns = report.get("item_columns_left_out")
    if isinstance(columns, list) and columns:
        warnings.append(f"columns of the item file left out: {', '.join(columns)}")
    return warnings

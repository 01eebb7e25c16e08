"""From files to a `Dataset`: read, clean, cut to the k-core, index, sort."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories, IntArray, offsets_of
from h2rec.data.identifiers import are_whole_numbers
from h2rec.data.interactions import FILE_ORDER, Report, read_interactions
from h2rec.data.items import read_items
from h2rec.data.k_core import k_core
from h2rec.data.readers import Table, open_table
from h2rec.data.settings import DataSettings
from h2rec.data.sources import fetch
from h2rec.errors import DataError
from h2rec.files import file_hash

REPLACED_HINT = "run the same command again once nothing writes to it: nothing of this try was kept"
"""What to do about an input that changed under way."""

MANY_TIES = 0.02
"""Share of the users with two or more interactions, the last two at the same time, from which a warning tells of it."""

logger = logging.getLogger(__name__)

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


def prepare(settings: DataSettings) -> Dataset:
    """Read interactions and items and bring them into index order.

    Users are numbered by their first interaction in the file. Items of the item file come first, in its
    order, then those that only the interactions name, by first appearance. Within a user, interactions
    are in time order; ties keep the order of the file. What cleaning did is in the data set's `report`.

    Raises
    ------
    DataError
        If a file can't be read or understood (naming file, line and remedy), or nothing is left.
    """
    located = _with_files(settings)
    assert located.interactions is not None
    interactions = open_table(located.interactions, separator=settings.separator)
    items = None if located.items is None else open_table(located.items, separator=settings.separator)
    return prepare_tables(settings, interactions, items)


def prepare_tables(settings: DataSettings, interactions: Table, items: Table | None) -> Dataset:
    """Prepare tables that were opened, as `prepare` does; the settings' own paths are not read."""
    report: Report = {}
    rows = read_interactions(
        interactions,
        settings.columns,
        report,
        min_rating=settings.min_rating,
        time_format=settings.time_format,
    )
    if settings.split == "time" and report["time_order"] == FILE_ORDER:
        raise DataError(
            f"{interactions.path}: a split by time needs a time column",
            "name it with data.columns.timestamp, or use data.split: leave_one_out",
        )
    rows = _cut_to_core(rows, settings.k_core, report)
    user_ids, users = _numbered(rows["user"])
    seen_ids, seen = _numbered(rows["item"])
    catalogue, item_numbers, file_index = _catalogue(settings, items, seen_ids, report)
    if not are_whole_numbers(catalogue["item_id"]):
        report["item_ids"] = "texts"

    order = np.lexsort((rows["time"].to_numpy(), users))  # stable: ties keep the order of the file
    lengths = np.bincount(users, minlength=len(user_ids))
    histories = Histories(offsets_of(lengths), item_numbers[seen[order]])
    times = rows["time"].gather(order).rename("timestamp")
    weights = rows["weight"].gather(order) if "weight" in rows.columns else None
    if weights is not None and weights.max() == 0:
        raise DataError(
            f"{interactions.path}: every {settings.columns.weight} that is left after cleaning is 0",
            "weights of nothing give no figure; leave data.columns.weight out",
        )
    _describe(histories, times.to_numpy(), catalogue, report)
    return Dataset(
        user_ids=user_ids,
        items=catalogue,
        histories=histories,
        timestamps=times,
        report=report,
        item_file_index=file_index,
        weights=weights,
        settings=settings,
    )


def prepare_as_hashed(settings: DataSettings, fingerprint: Mapping[str, Any]) -> Dataset:
    """Prepare data whose fingerprint was taken before, and hold the files to it.

    Raises `DataError` as `prepare`, and if a file was replaced or written to since.
    """
    try:
        dataset = prepare(settings)
    except DataError:
        # Half of a file that is being written is no mistake in the file.
        _refuse_replaced(settings, fingerprint)
        raise
    _refuse_replaced(settings, fingerprint)
    return dataset


def _refuse_replaced(settings: DataSettings, fingerprint: Mapping[str, Any]) -> None:
    now = input_fingerprint(settings)
    located = _with_files(settings)
    for name, path in (("interactions", located.interactions), ("items", located.items)):
        if now[name] != fingerprint[name]:
            raise DataError(f"{path}: changed while it was read", REPLACED_HINT)


def input_fingerprint(settings: DataSettings) -> dict[str, Any]:
    """Describe all that the prepared data depend on: settings and hashes of the files, not their places.

    A named data set is fetched first, if it was not yet.

    Raises `DataError` if a file is missing.
    """
    located = _with_files(settings)
    fingerprint = settings.model_dump(mode="json", exclude={"interactions", "items"})
    # Groups are read off the prepared data: whatever their number, it is the same data still.
    fingerprint["popularity_groups"] = DataSettings.model_fields["popularity_groups"].default
    for name, path in (("interactions", located.interactions), ("items", located.items)):
        if path is not None and not path.is_file():
            raise DataError(f"{path}: no such file", f"check data.{name}")
        # The name's endings tell the format, so they count as well.
        fingerprint[name] = (
            None if path is None else {"format": "".join(path.suffixes[-2:]), "sha256": file_hash(path)}
        )
    return fingerprint


def _with_files(settings: DataSettings) -> DataSettings:
    if settings.source is None:
        return settings
    fetched = fetch(settings.source)
    files = {"source": None, "interactions": fetched.interactions, "items": fetched.items}
    return settings.model_copy(update=files)


def _cut_to_core(rows: pl.DataFrame, k: int | None, report: Report) -> pl.DataFrame:
    if k is None:
        return rows
    users, items = (rows[name].to_physical().to_numpy() for name in ("user", "item"))
    kept = rows.filter(pl.Series(k_core(users, items, k)))
    report["interactions_outside_k_core"] = rows.height - kept.height
    if kept.height == 0:
        raise DataError(f"data.k_core: the {k}-core of {rows.height:,} interactions is empty", "lower it")
    return kept


def _numbered(values: pl.Series) -> tuple[pl.Series, IntArray]:
    """Return the distinct values by first appearance, as strings, and each row's number among them."""
    distinct = values.unique(maintain_order=True)
    codes = distinct.to_physical().to_numpy()
    number_of_code = np.zeros(int(codes.max()) + 1, dtype=np.int32)
    number_of_code[codes] = np.arange(len(codes), dtype=np.int32)
    return distinct.cast(pl.String).rename("id"), number_of_code[values.to_physical().to_numpy()]


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

"""The item file: one row an item, every other column a text field."""

import re

import polars as pl

from h2rec.data.columns import require_column
from h2rec.data.identifiers import identifier_reader, names_nothing
from h2rec.data.interactions import Report
from h2rec.data.readers.table import Table, is_missing
from h2rec.data.settings import ColumnSettings
from h2rec.errors import DataError

RESERVED = ("item_id", "file_row", "train_count", "head")
"""What the item table of a data set or of a bundle has beside text fields."""


_ROW_NUMBERS = re.compile(r"__index_level_\d+__|Unnamed: \d+(?:_level_\d+)?")
"""What pandas calls an index that has no name."""


def read_items(table: Table, columns: ColumnSettings, report: Report) -> tuple[pl.DataFrame, int]:
    """Read the item file; counts of what was passed over go into the report.

    Of several rows of one item the first counts, whether or not they agree. Rows without an id are
    dropped. Blank texts are null; ids and others lose the blanks around them. Columns that are no text, and
    the row numbers that pandas leaves, are left out.

    Returns `items, row_count`: `item_id`, the text fields (strings), and
    `file_row`, the item's row in the file counted from 0, in the order of the file; and how many rows the file has.
    Raises `DataError` if the file can't be read, has no rows, or no column is the item id.
    """
    id_column = require_column(table, "item_id", columns.item_id)
    row_numbers = [name for name in table.columns if name != id_column and _ROW_NUMBERS.fullmatch(name)]
    fields = [name for name in table.columns if name != id_column and name not in row_numbers]
    left_out = [*table.left_out, *(f"{name} (row numbers of pandas)" for name in row_numbers)]
    if left_out:
        report["item_columns_left_out"] = left_out
    clash = next((name for name in fields if name in RESERVED), None)
    if clash is not None:
        hint = f"rename it; the item id is read from '{id_column}'"
        raise DataError(f"{table.path}: a text field can't be called '{clash}'", hint)
    expressions = [
        identifier_reader(table, id_column)(pl.col(id_column)).alias("item_id"),
        names_nothing(pl.col(id_column)).alias("named_nothing"),
    ]
    expressions += [
        pl.when(~is_missing(pl.col(name))).then(pl.col(name).str.strip_chars()).alias(name) for name in fields
    ]
    rows = table.collect(table.scan().select(expressions)).with_row_index("file_row")
    if rows.height == 0:
        raise DataError(f"{table.path}: a header and no rows")
    identified = rows.filter(pl.col("item_id").is_not_null())
    items = identified.unique("item_id", keep="first", maintain_order=True)
    distinct = identified.n_unique(["item_id", *fields])
    report["item_rows"] = rows.height
    report["item_rows_with_a_word_for_nothing_as_id"] = int(rows["named_nothing"].sum())
    report["item_rows_without_id"] = rows.height - identified.height
    report["duplicate_item_rows"] = identified.height - items.height
    report["conflicting_item_rows"] = distinct - items.height
    return items.select("item_id", *fields, pl.col("file_row").cast(pl.Int64)), rows.height

"""Ids of users and items as every reader understands them."""

import logging
from collections.abc import Callable

import polars as pl

from h2rec.data.readers import Table
from h2rec.errors import DataError

logger = logging.getLogger(__name__)

_NOTHING = (
    *("nan", "NaN", "NAN", "NaT", "None", "none", "NONE", "null", "Null", "NULL", "nil", "NA", "N/A", "n/a"),
    *("#N/A", "<NA>", "\\N"),
)
_WHOLE_FLOAT = r"^[-+]?\d+\.0+$"


def clean_id(value: str) -> str:
    """Return an id without the blanks around it, which columns of fixed width have."""
    return value.strip()


def names_nothing(column: pl.Expr) -> pl.Expr:
    """Whether an id is a word that programs write where there is none."""
    return column.str.strip_chars().is_in(_NOTHING).fill_null(value=False)


def identifier(column: pl.Expr) -> pl.Expr:
    """Read ids: without blanks around them; null where there is none."""
    bare = column.str.strip_chars()
    return pl.when((bare != "") & ~bare.is_in(_NOTHING)).then(bare)


def identifier_reader(table: Table, column: str) -> Callable[[pl.Expr], pl.Expr]:
    """Choose how a column's ids are read.

    Where all of them are whole floats (`17850.0`, as pandas writes whole numbers with gaps), they lose their
    `.0`, so that they meet the ids of other files; anything else keeps its form.

    Raises `DataError` if the column holds lists, which would become one id each.
    """
    if column in table.lists:
        raise DataError(f"{table.path}: '{column}' holds lists, not ids", "write a row for each id")
    ids = table.scan().select(identifier(pl.col(column)).alias("id")).filter(pl.col("id").is_not_null())
    first = table.collect(ids.head(1))["id"].to_list()
    like = pl.col("id").str.contains(_WHOLE_FLOAT)
    if not first or not pl.select(pl.lit(first[0]).str.contains(_WHOLE_FLOAT)).item():
        return identifier
    if not table.collect(ids.select(like.all())).item():
        return identifier
    logger.info("%s: the ids in '%s' are whole floats and lose their '.0'", table.path, column)
    return lambda value: identifier(value).str.replace(r"\.0+$", "")


def are_whole_numbers(ids: pl.Series) -> bool:
    """Whether all ids are whole numbers of 64 bits, written as a program writes them."""
    return bool((ids.cast(pl.Int64, strict=False).cast(pl.String) == ids).fill_null(value=False).all())


def doubtful(ids: pl.Series, whose: str) -> list[str]:
    """Say what about some distinct ids looks like an accident of the program that wrote them.

    `ids`: distinct ids, as strings. `whose`: what they are ids of, such as users.
    """
    doubts = []
    floats = ids.filter(ids.str.contains(_WHOLE_FLOAT))
    both = int(floats.str.replace(r"\.0+$", "").is_in(ids.implode()).sum()) if len(floats) else 0
    if both:
        doubts.append(f"{both:,} {whose} are written both as whole numbers and with .0, and count as two")
    if rounded := int(ids.str.contains(r"^\d(?:[.,]\d+)?[eE]\+\d+$").sum()):
        doubts.append(
            f"{rounded:,} {whose} are written as rounded numbers, such as 1.2E+17, and may be several"
        )
    return doubts

"""Which column of a file plays which part."""

import difflib

from h2rec.data.readers import Table
from h2rec.errors import DataError

_ITEM = ("itemid", "item", "iid", "parentasin", "asin", "productid", "movieid", "businessid", "articleid")
_OBVIOUS = {
    "user": ("userid", "user", "uid", "reviewerid", "customerid", "visitorid", "sessionid"),
    "item": _ITEM,
    "item_id": (*_ITEM, "id"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "datetime", "date", "createdat", "ts"),
    "rating": ("rating", "overall", "stars", "score"),
}
"""Names taken for each part, best first, written without case, `_`, `-` and blanks."""


def find_column(table: Table, part: str, wanted: str | None) -> str | None:
    """Return the column that was asked for, or else the one whose name is obvious, or None.

    Parameters
    ----------
    part
        What the column means: user, item, timestamp, rating, or item_id in the item file.
    wanted
        The configured name.

    Raises
    ------
    DataError
        If the configured column is not there; the file's columns and the nearest name are told.
    """
    if wanted is not None:
        if wanted in table.columns:
            return wanted
        nearest = difflib.get_close_matches(wanted, table.columns, n=1, cutoff=0.5)
        hint = f"did you mean '{nearest[0]}'?" if nearest else None
        raise DataError(f"{table.path}: no column '{wanted}'; there are: {', '.join(table.columns)}", hint)
    by_bare_name = {_bare(name): name for name in reversed(table.columns)}
    return next((by_bare_name[name] for name in _OBVIOUS[part] if name in by_bare_name), None)


def require_column(table: Table, part: str, wanted: str | None, setting: str) -> str:
    """Return what `find_column` finds.

    Raises
    ------
    DataError
        If it finds none; the setting that names the column is told.
    """
    found = find_column(table, part, wanted)
    if found is None:
        raise DataError(
            f"{table.path}: none of the columns is obviously the {part.replace('_', ' ')}: {', '.join(table.columns)}",
            f"name it with data.columns.{setting}; a file without a header needs one",
        )
    return found


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())

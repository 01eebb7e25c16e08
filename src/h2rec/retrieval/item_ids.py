"""Item ids as callers give them, as the texts that a catalogue knows."""

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from typing import Any, SupportsIndex

import polars as pl

from h2rec.errors import DataError

ItemId = str | SupportsIndex
"""An id as a caller may give it: a text, or a whole number of Python or numpy."""
GivenId = str | int
"""An id as it is given out: a whole number where the data had such."""

_LARGEST_WHOLE_FLOAT = 2**53


def as_item_id(value: object, what: str = "item id") -> str:
    """Turn one id into text, as the readers of data files do.

    Whole numbers lose their `.0` (pandas makes floats of integers with gaps), texts the blanks around them. Scalars of
    numpy, Arrow, Polars and pandas count as what they hold.

    `what`: how a message calls it. Raises `DataError` for anything else: a missing value, a fraction, a list.
    """
    if hasattr(value, "as_py"):  # a scalar of Arrow
        value = value.as_py()
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if number.is_integer() and abs(number) < _LARGEST_WHOLE_FLOAT:
            return str(int(number))
    # NaN, and what pandas puts for a value that is not there.
    missing = value is None or str(value) in ("nan", "NaT", "<NA>")
    shown = "none, it is missing" if missing else f"{type(value).__name__} {str(value)[:80]!r}"
    raise DataError(f"{what}: expected a text or a whole number, found {shown}")


def as_item_ids(values: Any, what: str = "history", *, ordered: bool = True) -> list[str]:
    """Turn a list of ids into texts: a list or tuple, or a column of numpy, pandas, Polars or Arrow.

    `ordered`: whether their order counts, so that a set is no list of them. Raises `DataError` if it is no list (a
    text, a mapping, a table), or an entry is no id, naming its place.
    """
    table = isinstance(values, Mapping) or hasattr(values, "columns") or getattr(values, "ndim", 1) != 1
    unordered = ordered and isinstance(values, Set)
    if isinstance(values, str | bytes) or table or unordered or not isinstance(values, Iterable):
        raise DataError(
            f"{what}: expected a list of item ids, found {type(values).__name__} {str(values)[:80]!r}",
            f"put a single id into a list: [{values!r:.80}]"
            if isinstance(values, str | Integral)
            else "such as ['42']",
        )
    if hasattr(values, "tolist"):  # numpy and pandas: plain numbers at once
        values = values.tolist()
    return [_fast(value, what, place) for place, value in enumerate(values, 1)]


def _fast(value: object, what: str, place: int) -> str:
    # Nearly all are plain texts.
    return value.strip() if type(value) is str else as_item_id(value, f"{what}, entry {place}")


def id_column(ids: Sequence[GivenId] | Sequence[str]) -> pl.Series:
    """Make a column of ids: whole numbers where all of them are."""
    whole = bool(ids) and all(isinstance(value, int) for value in ids)
    return pl.Series("item_id", ids if whole else list(map(str, ids)), pl.Int64 if whole else pl.String)

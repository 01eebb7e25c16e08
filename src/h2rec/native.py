"""Frames of other libraries: how they come in, and go out as they came.

Inside, everything is Polars. This is the only place that knows of pandas, Arrow and others, all by way of narwhals.
"""

from numbers import Number
from typing import Any

import narwhals as nw
import polars as pl

from h2rec.errors import DataError

Kind = nw.Implementation
"""Which library a frame is of."""

POLARS = Kind.POLARS
"""What is given where nothing tells what is wanted."""

_HINT = "give a frame of Polars, pandas or Arrow: polars.DataFrame(rows) makes one of plain values"


def from_native(native: Any, name: str) -> tuple[pl.DataFrame, Kind]:
    """Take a frame in, and tell which library it is of; what is lazy is collected.

    `name`: how messages call it. Raises `DataError` if it is no frame, or can't be one of Polars: two columns of one
    name, no rows, values of no type.
    """
    try:
        frame = _known(native, name)
        if frame.implementation.is_pandas():
            frame = nw.from_native(_plain_pandas(frame.to_native()), eager_only=True)
        inside = frame.to_polars()
    except DataError:
        raise
    except nw.exceptions.DuplicateError:
        raise DataError(f"{name}: two columns have the same name", "rename one, or drop it") from None
    except Exception as error:  # every library has its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{name}: can't be read as a frame ({reason[:200]})", _HINT) from None
    if inside.height == 0:
        raise DataError(f"{name}: the frame has no rows")
    return inside, frame.implementation


def to_native(frame: pl.DataFrame, kind: Kind) -> Any:
    """Give a frame out as one of another library."""
    if kind is POLARS:
        return frame
    arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return nw.from_arrow(arrow, backend=kind.to_native_namespace()).to_native()


def _known(native: Any, name: str) -> "nw.DataFrame[Any]":
    known = nw.from_native(native, pass_through=True)
    if isinstance(known, nw.LazyFrame):
        return known.collect()
    if isinstance(known, nw.DataFrame):
        return known
    # Anything else that speaks the PyCapsule interface, such as a reader of record batches.
    if getattr(native, "__arrow_c_stream__", None) is None:
        raise DataError(f"{name}: expected a frame, found {type(native).__name__}", _HINT)
    return nw.from_arrow(native, backend="polars")


def _plain_pandas(frame: Any) -> Any:
    """Make columns of what Arrow does not take: levels of the index that have names, and mixtures of types.

    Spreadsheets give such mixtures, of texts and of numbers for the texts that look like numbers.
    """
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=levels) if levels else frame
    mixed = {}
    for name in frame.columns[frame.dtypes.eq("object")]:
        values = [
            value if there else None for value, there in zip(frame[name], frame[name].notna(), strict=True)
        ]
        kinds = {type(value) for value in values if value is not None}
        if str in kinds and len(kinds) > 1 and all(issubclass(kind, str | Number) for kind in kinds):
            mixed[name] = [None if value is None else _text(value) for value in values]
    return frame.assign(**mixed) if mixed else frame


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

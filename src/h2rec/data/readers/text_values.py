"""Typed columns as the text a reader would expect."""

from typing import Any

import polars as pl

_LARGEST_WHOLE_FLOAT = 2**53


def has_text(kind: pl.DataType) -> bool:
    """Whether values of a type can be written as text: not bytes inside others, maps, durations, objects."""
    if isinstance(kind, pl.List | pl.Array):
        return not isinstance(kind.inner, pl.Binary) and has_text(_instance(kind.inner))
    if isinstance(kind, pl.Struct):
        inner = [_instance(field.dtype) for field in kind.fields]
        return not any(isinstance(inner_kind, pl.Binary) for inner_kind in inner) and all(
            map(has_text, inner)
        )
    scalar = isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Boolean | pl.Binary | pl.Null)
    return scalar or kind.is_numeric() or (kind.is_temporal() and not isinstance(kind, pl.Duration))


def _instance(kind: Any) -> pl.DataType:
    instance: pl.DataType = kind() if isinstance(kind, type) else kind
    return instance


def as_text(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Turn values of a type into strings.

    Whole floats lose their `.0` (an id column with gaps is often stored as floats), lists are joined by
    ", " at any depth, times become ISO 8601 in UTC, NaN becomes null, and structs become JSON.
    """
    if isinstance(kind, pl.String):
        return value
    if isinstance(kind, pl.List | pl.Array):
        as_list = value.arr.to_list() if isinstance(kind, pl.Array) else value
        return as_list.list.eval(as_text(pl.element(), _instance(kind.inner))).list.join(
            ", ", ignore_nulls=True
        )
    if isinstance(kind, pl.Struct):
        return value.struct.json_encode()
    if kind.is_float():
        is_whole = (value == value.round()) & (value.abs() < _LARGEST_WHOLE_FLOAT)
        numbers = value.fill_nan(None)
        return (
            pl.when(is_whole)
            .then(numbers.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(numbers.cast(pl.String))
        )
    if isinstance(kind, pl.Datetime):
        moment = value if kind.time_zone is None else value.dt.convert_time_zone("UTC")
        return moment.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    return value.cast(pl.String)

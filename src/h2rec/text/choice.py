"""Which columns of an item file are text, if the user names none."""

import logging
from collections.abc import Sequence

import polars as pl

logger = logging.getLogger(__name__)

_MOST = 0.95
_FEWEST_ITEMS = 20
"""Fewest values that show whether a column is constant, or an identifier."""
_KINDS = {
    "numbers": r"^[-+]?[$€£¥₹]?\s*[-+]?\d[\d.,' ]*(?:[eE][-+]?\d+)?\s*(?:%|[$€£¥₹]|[A-Z]{3})?$",
    "flags": r"(?i)^(?:true|false|yes|no|y|n|t|f)$",
    "dates": r"^(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[T ].*)?$",
    "links": r"(?i)^(?:(?:https?:)?//|www\.)\S+$|^\S+\.(?:jpe?g|png|gif|webp|svg)$",
}
_YEAR = r"^(?:1[89]|20)\d\d$"
_IDENTIFIER = r"^[\w:./-]*\d[\w:./-]*$"


def text_fields(items: pl.DataFrame, fields: Sequence[str] | None) -> list[str]:
    """Return the fields that make an item's text; logs which columns are left out, and why.

    Columns are judged, not values: a film that is called 1984 keeps its title. Years are kept. Where no column would be
    left, all are taken.

    `fields` that the user names are taken unchanged.
    """
    if fields is not None:
        return list(fields)
    available = [name for name in items.columns if name != "item_id"]
    left_out = {name: reason for name in available if (reason := _no_text(items[name])) is not None}
    chosen = [name for name in available if name not in left_out]
    if not left_out:
        return chosen
    reasons = ", ".join(f"{name} ({reason})" for name, reason in left_out.items())
    if not chosen:
        logger.warning("no column of the items looks like text: %s; all of them are taken as text", reasons)
        return available
    logger.info("text of the items: %s; left out: %s; text.fields names others", ", ".join(chosen), reasons)
    return chosen


def _no_text(column: pl.Series) -> str | None:
    values = column.cast(pl.String).str.strip_chars().replace("", None).drop_nulls()
    if values.is_empty():
        return None
    if _share(values, _YEAR) >= _MOST:
        return _constant(values)
    for kind, pattern in _KINDS.items():
        if _share(values, pattern) >= _MOST:
            return kind
    if len(values) >= _FEWEST_ITEMS:
        unique = values.n_unique() >= _MOST * len(values)
        if unique and _share(values, _IDENTIFIER) >= _MOST:
            return "identifiers"
    return _constant(values)


def _constant(values: pl.Series) -> str | None:
    if len(values) < _FEWEST_ITEMS:
        return None
    commonest = values.value_counts(sort=True).row(0)
    return f"nearly always {commonest[0][:30]!r}" if commonest[1] >= _MOST * len(values) else None


def _share(values: pl.Series, pattern: str) -> float:
    return int(values.str.contains(pattern).sum()) / len(values)

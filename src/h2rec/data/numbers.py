"""Numbers written as text, read strictly."""

import polars as pl


def number(text: pl.Expr) -> pl.Expr:
    """Read finite numbers; null where a text is none."""
    value = text.str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)

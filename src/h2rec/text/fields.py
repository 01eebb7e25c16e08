"""One text from an item's fields."""

import difflib
from collections.abc import Sequence

import polars as pl

from h2rec.errors import ConfigError

_SEPARATOR = ". "


def item_texts(items: pl.DataFrame, fields: Sequence[str] | None = None) -> list[str]:
    """Join every item's fields to one text, as sentences: ``title. categories``, empty fields left out.

    Parameters
    ----------
    items
        The item table: `item_id` and the text fields.
    fields
        Which fields, in which order; None takes all, in the table's order.

    Returns
    -------
    list
        One text an item, `[N]`; empty where an item has none.

    Raises
    ------
    ConfigError
        For a field that the table does not have; the nearest name is told.
    """
    available = [name for name in items.columns if name != "item_id"]
    chosen = available if fields is None else list(fields)
    for name in chosen:
        if name not in available:
            nearest = difflib.get_close_matches(name, available, n=1, cutoff=0.5)
            hint = (
                f"did you mean '{nearest[0]}'?" if nearest else f"there are: {', '.join(available) or 'none'}"
            )
            raise ConfigError(f"text.fields: the items have no field '{name}'", hint)
    if not chosen:
        return [""] * items.height
    parts = (
        pl.col(name).str.replace_all(r"\s+", " ").str.strip_chars().str.strip_chars_end(".").replace("", None)
        for name in chosen
    )
    joined = pl.concat_str(list(parts), separator=_SEPARATOR, ignore_nulls=True)
    return items.select(joined.fill_null("").alias("text"))["text"].to_list()

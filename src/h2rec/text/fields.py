"""One text from an item's fields."""

import difflib
from collections.abc import Sequence

import polars as pl

from h2rec.errors import ConfigError
from h2rec.text.markup import plain_text

_SEPARATOR = ". "
_TITLES = ("title", "name")


def item_texts(items: pl.DataFrame, fields: Sequence[str] | None = None) -> list[str]:
    """Join every item's fields to one text, as sentences: ``title. categories``, without empty fields and HTML.

    `fields` names them, in their order; None takes all. The text of an item without any is empty.

    Raises `ConfigError` for a field that the table does not have, with the nearest name.
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
    plain = items.select(pl.col(name).cast(pl.String) for name in chosen).with_columns(
        pl.when(pl.col(name).str.contains("[<&]"))
        .then(pl.col(name).map_elements(plain_text, pl.String))
        .otherwise(name)
        for name in chosen
        if items[name].cast(pl.String).str.contains("[<&]").any()
    )
    sentences = (
        pl.col(name).str.replace_all(r"\s+", " ").str.strip_chars().str.strip_chars_end(".").replace("", None)
        for name in chosen
    )
    joined = pl.concat_str(list(sentences), separator=_SEPARATOR, ignore_nulls=True)
    return plain.select(joined.fill_null("").alias("text"))["text"].to_list()


def item_titles(items: pl.DataFrame) -> list[str]:
    """What to call items: their title or name, else their first field that says something, else their id; no HTML."""
    named = [name for name in items.columns if name.lower() in _TITLES]
    others = [name for name in items.columns if name not in (*named, "item_id")]
    return [
        next(filter(None, (plain_text(str(row[name] or "")).strip() for name in (*named, *others))), None)
        or str(row["item_id"])
        for row in items.to_dicts()
    ]


def has_markup(items: pl.DataFrame, fields: Sequence[str]) -> bool:
    """Whether any of the fields holds HTML, so that its text differs from the file."""
    return any(
        plain_text(value) != value
        for name in fields
        for value in items[name].cast(pl.String).drop_nulls().to_list()
        if "<" in value or "&" in value
    )

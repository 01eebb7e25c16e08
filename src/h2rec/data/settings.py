"""Which data to read, how to clean it and how to split it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from h2rec.settings import Settings


class ColumnSettings(Settings):
    """Names of the columns to read; null takes the column whose name is obvious."""

    user: str | None = None
    """Column of the interactions with the user's id; null takes the one whose name is obvious."""
    item: str | None = None
    """Column of the interactions with the item's id; null takes the one whose name is obvious."""
    timestamp: str | None = None
    """Column of the interactions with the time; null takes the one whose name is obvious. Without any, the order of the
    file is the order in time."""
    rating: str | None = None
    """Column of the interactions with the rating; read only where `min_rating` is set."""
    weight: str | None = None
    """Column of the interactions with what a case weighs, such as a price: figures get a slice `weighted` by it. It is
    never guessed."""
    item_id: str | None = None
    """Column of the item file with the item's id; null takes the one whose name is obvious. Every other column is a
    text field."""


OBVIOUS = ColumnSettings()
"""Columns with obvious names."""


class DataSettings(Settings):
    """Input files or a named data set, cleaning, split, and what counts as head."""

    source: str | None = None
    """A named public data set such as ml-100k (`h2rec datasets list`), instead of files."""
    interactions: Path | None = None
    """Interactions: .inter, .csv, .tsv, .parquet or JSON lines (.jsonl, .ndjson, .json), also as .gz; or a folder of
    .parquet files."""
    items: Path | None = None
    """Item ids and text, in any of the same formats (.item for RecBole); null trains without text."""
    columns: ColumnSettings = ColumnSettings()
    """Column names, where they can't be guessed."""
    separator: str | None = Field(default=None, pattern=r"^[^\w\s\"'.-]$|^\t$")
    """What stands between the fields of .csv and .tsv files; null takes what their header shows."""
    time_format: str | None = Field(default=None, pattern="%")
    """How times are written, in the letters of strptime (`%d/%m/%Y %H:%M`); null reads numbers, ISO 8601 and
    dates whose day and month can be told apart."""
    k_core: int | None = Field(default=None, ge=1)
    """Keep only users and items with at least this many interactions, repeated until all have them."""
    min_rating: float | None = None
    """Drop interactions rated lower than this, or not rated."""
    catalogue: Literal["interacted", "all"] = "interacted"
    """interacted: items with an interaction; all: also those that only the item file names."""
    split: Literal["leave_one_out", "time"] = "leave_one_out"
    """leave_one_out: each user's last two items are held out; time: everything after two moments in time."""
    test_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of interactions after each moment (`split: time` only)."""
    head_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of items, the most popular in training, that are the head; the others are the tail."""
    popularity_groups: int = Field(default=5, ge=1)
    """Equal-sized groups of items by popularity in training."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.interactions is None):
            raise ValueError("give either 'source' (a named data set) or 'interactions' (a file)")
        if self.source is not None and self.items is not None:
            raise ValueError("'items' goes with 'interactions'; a named data set brings its own items")
        return self

    @property
    def name(self) -> str:
        """What the data set is called: the named one, or the file of the interactions."""
        if self.source is not None:
            return self.source
        assert self.interactions is not None
        return self.interactions.name

    def resolved(self, base: Path) -> Self:
        """Return the settings with relative paths taken from `base`."""
        paths = {"interactions": self.interactions, "items": self.items}
        return self.model_copy(update={name: base / path for name, path in paths.items() if path is not None})

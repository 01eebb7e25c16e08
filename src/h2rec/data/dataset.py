"""A prepared data set: histories and items under dense indices, and what preparing it changed."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.histories import Histories
from h2rec.data.interactions import FILE_ORDER, WHOLE_NUMBERS
from h2rec.data.settings import DataSettings
from h2rec.data.times import days_of
from h2rec.errors import DataError
from h2rec.files import read_json, write_json
from h2rec.frames import read_parquet, write_parquet
from h2rec.native import Kind


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames that a data set was made from: of each the columns that were read."""

    events: pl.DataFrame
    items: pl.DataFrame | None
    kind: Kind
    """What the events came as."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Users' histories and the item table, both in index order.

    Item `i` of the histories (1..N) is row `i - 1` of `items`; user `u` is row `u` of `histories`.

    Parameters
    ----------
    user_ids
        The users' own ids as strings, `[U]`.
    items
        One row an item, `[N]`: column `item_id` (string, unique), then the text fields as strings,
        null where there is none.
    histories
        Every user's items in time order, `[U]` rows.
    timestamps
        Sorting key of every interaction, float64 `[interactions]` alongside `histories.items`.
    report
        What reading and cleaning did: counts of rows, duplicates, dropped users and the like.
    item_file_index
        For every row of the item file the index (1..N) of the item that it describes, 0 for none, so that
        arrays in the order of the file find their items; None without an item file.
    weights
        What every interaction weighs as a target, float64 `[interactions]` alongside `histories.items`; None without
        a column of weights.
    settings
        What it was prepared by; None where it was loaded from a folder.
    frames
        The frames that it was made from; None where it was made from files.
    """

    user_ids: pl.Series
    items: pl.DataFrame
    histories: Histories
    timestamps: pl.Series
    report: dict[str, int | str | list[str]]
    item_file_index: pl.Series | None = None
    weights: pl.Series | None = None
    settings: DataSettings | None = None
    frames: Frames | None = None

    @classmethod
    def from_frames(
        cls,
        events: Any,
        items: Any = None,
        *,
        user: str | None = None,
        item: str | None = None,
        timestamp: str | None = None,
        rating: str | None = None,
        weight: str | None = None,
        item_id: str | None = None,
        time_format: str | None = None,
        k_core: int | None = None,
        min_rating: float | None = None,
        catalogue: Literal["interacted", "all"] = "interacted",
    ) -> "Dataset":
        """Prepare frames: of Polars, pandas, Arrow, or whatever else narwhals or the Arrow PyCapsule interface knows.

        They are read as a Parquet file of the same content is. Columns whose names are obvious are found. Levels of a
        pandas index that have a name are columns; others don't count.

        Parameters
        ----------
        events
            A row an interaction: user, item, and best a time; without one the order of the rows is the order in time.
        items
            A row an item: its id, and texts. None trains without text.
        user, item, timestamp, rating, weight
            Names of columns of the events, as in `ColumnSettings`.
        item_id
            Name of the column of `items` that has the ids.
        time_format, k_core, min_rating, catalogue
            As in `DataSettings`.

        Raises
        ------
        DataError
            If something is no frame, or can't be understood; frame, row and remedy are named.
        """
        from h2rec.data.from_frames import dataset_of_frames  # which prepares, and so makes data sets

        columns = {"user": user, "item": item, "timestamp": timestamp, "rating": rating, "weight": weight}
        cleaning = {
            "time_format": time_format,
            "k_core": k_core,
            "min_rating": min_rating,
            "catalogue": catalogue,
        }
        return dataset_of_frames(events, items, {"columns": {**columns, "item_id": item_id}, **cleaning})

    def __repr__(self) -> str:
        counts = f"{self.user_count:,} users, {self.item_count:,} items, {len(self.histories.items):,} interactions"
        return "\n".join([f"Dataset: {counts}", *(f"  warning: {warning}" for warning in self.warnings)])

    @property
    def user_count(self) -> int:
        """Number of users, U."""
        return len(self.histories)

    @property
    def item_count(self) -> int:
        """Number of items, N; indices run from 1 to N."""
        return self.items.height

    @property
    def warnings(self) -> list[str]:
        """What a user should look at before trusting any figure."""
        warnings = self.report.get("warnings")
        return warnings if isinstance(warnings, list) else []

    @property
    def has_whole_number_ids(self) -> bool:
        """Whether the items' ids were numbers where they came from."""
        return self.report.get("item_ids") == WHOLE_NUMBERS

    @property
    def days(self) -> npt.NDArray[np.int64] | None:
        """Calendar day (UTC) of every interaction, int64 `[interactions]`; None where times tell no days."""
        return None if self.report.get("time_order") == FILE_ORDER else days_of(self.timestamps.to_numpy())

    @cached_property
    def item_index(self) -> dict[str, int]:
        """Index (1..N) of every item id."""
        return {item_id: row + 1 for row, item_id in enumerate(self.items["item_id"])}

    def save(self, folder: Path) -> None:
        """Write Parquet, npy and JSON into an existing folder."""
        write_parquet(pl.DataFrame({"user_id": self.user_ids}), folder / "users.parquet")
        write_parquet(self.items, folder / "items.parquet")
        write_parquet(pl.DataFrame({"timestamp": self.timestamps}), folder / "timestamps.parquet")
        if self.item_file_index is not None:
            write_parquet(pl.DataFrame({"item": self.item_file_index}), folder / "item_file_index.parquet")
        if self.weights is not None:
            write_parquet(pl.DataFrame({"weight": self.weights}), folder / "weights.parquet")
        self.histories.save(folder)
        write_json(folder / "report.json", self.report)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If a file is missing or damaged.
        """
        try:
            users = read_parquet(folder / "users.parquet")
            items = read_parquet(folder / "items.parquet")
            timestamps = read_parquet(folder / "timestamps.parquet")
            index_path = folder / "item_file_index.parquet"
            file_index = read_parquet(index_path)["item"] if index_path.exists() else None
            weights_path = folder / "weights.parquet"
            weights = read_parquet(weights_path)["weight"] if weights_path.exists() else None
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{folder}: can't read the prepared data ({error})") from None
        report = read_json(folder / "report.json")
        histories = Histories.load(folder)
        return cls(users["user_id"], items, histories, timestamps["timestamp"], report, file_index, weights)

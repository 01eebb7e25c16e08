"""Interactions in buckets by their users, on disk: their ids, their k-core, and their places in histories."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.assemble import Placed, check_core
from h2rec.data.histories import Histories, IntArray, offsets_of
from h2rec.data.interactions import Report
from h2rec.data.k_core import k_core
from h2rec.errors import DataError
from h2rec.frames import parquet_rows, read_parquet


def bucket_file(work: Path, bucket: int, what: str) -> Path:
    """Name one of a bucket's files: rows, users or items."""
    return work / f"bucket-{bucket:06}-{what}.parquet"


class Buckets:
    """The buckets of all users, and where their rows go."""

    def __init__(self, work: Path, buckets: int) -> None:
        self._work, self._buckets = work, buckets
        self.users = pl.concat(self._read(bucket, "users") for bucket in range(buckets))
        self.items = (
            pl.concat(self._read(bucket, "items") for bucket in range(buckets))
            .group_by("id")
            .agg(pl.col("first").min())
            .sort("first")
        )
        if self.users["id"].n_unique() < len(self.users):
            raise DataError(
                f"{work}: a user is in two buckets",
                "machines of one cluster need the same versions of all packages",
            )
        self._events = self.users["events"].to_numpy()
        self._first = self.users["first"].to_numpy()
        self._kept: list[npt.NDArray[np.bool_]] | None = None

    def _read(self, bucket: int, what: str, columns: list[str] | None = None) -> pl.DataFrame:
        return read_parquet(bucket_file(self._work, bucket, what), columns)

    def _seen(self, bucket: int) -> IntArray:
        """Rows of `items` that the items of a bucket are."""
        known = self.items.select("id").with_row_index("row")
        joined = self._read(bucket, "items", ["id"]).join(known, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(0).to_numpy()  # null: an item that the k-core left out

    def cut_to_core(self, k: int, report: Report) -> None:
        """Leave only the k-core."""
        rows = [self._read(bucket, "rows", ["item", "row"]) for bucket in range(self._buckets)]
        items = np.concatenate([self._seen(n)[part["item"].to_numpy()] for n, part in enumerate(rows)])
        users = np.repeat(np.arange(len(self._events), dtype=np.int32), self._events)
        numbers = np.concatenate([part["row"].to_numpy() for part in rows])
        kept = k_core(users, items, k)
        check_core(k, len(kept), int(np.count_nonzero(kept)), report)
        self._kept = np.split(kept, np.cumsum([part.height for part in rows])[:-1])
        self._events = np.bincount(users[kept], minlength=len(self._events))
        self._first = np.full(len(self._events), np.iinfo(np.int64).max)
        np.minimum.at(self._first, users[kept], numbers[kept])
        first = np.full(self.items.height, np.iinfo(np.int64).max)
        np.minimum.at(first, items[kept], numbers[kept])
        left = np.isin(np.arange(len(first)), items[kept])
        self.items = self.items.with_columns(first=first).filter(pl.Series(left)).sort("first")

    @property
    def _order(self) -> IntArray:
        """Rows of `users` by their first interaction, without those of whom nothing is left."""
        order = np.argsort(self._first, kind="stable")
        return order[self._events[order] > 0]

    @property
    def user_ids(self) -> pl.Series:
        return self.users["id"].gather(self._order)

    @property
    def seen_ids(self) -> pl.Series:
        return self.items["id"]

    def placed(self, item_numbers: IntArray) -> Placed:
        """Put the rows of all buckets into the histories; `item_numbers`: as in `assembled`."""
        order = self._order
        offsets = offsets_of(self._events[order])
        start = np.zeros(len(self._events), np.int64)
        start[order] = offsets[:-1]
        arrays: dict[str, npt.NDArray[Any]] = {"item": np.zeros(offsets[-1], np.int32)}
        users = 0
        for bucket in range(self._buckets):
            rows = self._read(bucket, "rows")
            if self._kept is not None:
                rows = rows.drop("row").filter(pl.Series(self._kept[bucket]))
            own = slice(users, users := users + parquet_rows(bucket_file(self._work, bucket, "users")))
            lengths = self._events[own]
            places = np.repeat(start[own] - offsets_of(lengths)[:-1], lengths) + np.arange(rows.height)
            columns = {name: rows[name].to_numpy() for name in rows.columns}
            columns["item"] = item_numbers[self._seen(bucket)][columns["item"]]
            for name, values in columns.items():
                arrays.setdefault(name, np.zeros(offsets[-1]))[places] = values
        return Placed(Histories(offsets, arrays["item"]), arrays["time"], arrays.get("weight"))

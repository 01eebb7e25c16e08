"""Data for extreme cold start: some items withheld from training wholly, and the cases that ask for them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories, offsets_of
from h2rec.data.splits import Holdout, split
from h2rec.errors import DataError
from h2rec.frames import write_parquet
from h2rec.runtime import random_stream

Bools = npt.NDArray[np.bool_]


def withheld_items(dataset: Dataset, has_text: Bools, share: float, seed: int) -> Bools:
    """Choose the items to be withheld, bool `[N + 1]`, padding first: a share of those that have text."""
    described = np.flatnonzero(has_text) + 1
    count = round(share * len(described))
    withheld = np.zeros(dataset.item_count + 1, dtype=np.bool_)
    withheld[random_stream(seed, "cold start").choice(described, count, replace=False)] = True
    return withheld


def write_warm_files(dataset: Dataset, withheld: Bools, folder: Path) -> None:
    """Write `interactions.parquet` and `items.parquet` as if the withheld items had never existed.

    The order within a history is kept as time, so that a user's last items are the last ones again.
    """
    histories, items = dataset.histories, np.asarray(dataset.histories.items)
    kept = ~withheld[items]
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    ids = dataset.items["item_id"]
    columns = {
        "user_id": dataset.user_ids.gather(users[kept]),
        "item_id": ids.gather(items[kept] - 1),
        "timestamp": pl.Series(np.arange(len(items))[kept]),
    }
    if dataset.weights is not None:
        columns["weight"] = dataset.weights.filter(pl.Series(kept))
    write_parquet(pl.DataFrame(columns), folder / "interactions.parquet")
    write_parquet(dataset.items.filter(pl.Series(~withheld[1:])), folder / "items.parquet")


@dataclass(frozen=True, eq=False)
class ColdCases:
    """Cases whose target was withheld, in the indices of the grown catalogue."""

    items: pl.DataFrame
    """The withheld items, `[M]` rows of the item table; the grown catalogue lists them behind the known ones."""
    cases: Holdout
    """Histories of known items (withheld ones are left out of them) and withheld targets."""


def cold_cases(full: Dataset, warm: Dataset, withheld: Bools) -> ColdCases:
    """Find the test cases of the whole data set whose target is withheld. Raises `DataError` if there is none."""
    test = split(full, "leave_one_out").test
    cold = full.items.filter(pl.Series(withheld[1:]))
    # From an index of the whole catalogue to one of the grown: known items first, withheld ones behind them.
    index = np.zeros(full.item_count + 1, dtype=np.int32)
    index[1:] = [warm.item_index.get(item, 0) for item in full.items["item_id"]]
    index[withheld] = warm.item_count + 1 + np.arange(cold.height)
    rows = np.flatnonzero(withheld[test.targets])
    histories = test.histories.select(rows)
    items = np.asarray(histories.items)
    known = ~withheld[items] & (index[items] > 0)
    owner = np.repeat(np.arange(len(histories)), histories.lengths)
    lengths = np.bincount(owner[known], minlength=len(histories))
    kept = Histories(offsets_of(lengths), index[items[known]])
    usable = np.flatnonzero(lengths > 0)
    if len(usable) == 0:
        raise DataError("no test user's target is withheld: raise --share")
    targets = index[test.targets[rows]][usable]
    return ColdCases(cold, Holdout(test.users[rows][usable], kept.select(usable), targets))

"""Every interaction that a model was trained on, kept so that newer ones can take their places among them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.histories import Histories, IntArray, offsets_of
from h2rec.errors import DataError
from h2rec.frames import read_parquet, write_parquet

Floats = npt.NDArray[np.float64]

_USERS = "users.parquet"
_EVENTS = "events.parquet"


@dataclass(frozen=True, eq=False)
class EventLog:
    """Users' histories with the times of their events."""

    user_ids: pl.Series
    """The users' own ids, `[U]`, each once."""
    histories: Histories
    """Their items in time order, `[U]` rows."""
    times: Floats
    """When each event was, float64 `[events]` alongside `histories.items`, ascending within a user."""

    @property
    def until(self) -> float:
        """The latest time."""
        return float(self.times.max(initial=-np.inf))

    def merged(self, new: pl.DataFrame) -> "Merged":
        """Put new events into their places by time; at equal times after what is known, in the order given.

        `new`: `user` (string), `item` (index, from 1) and `time` (float), a row an event. What has the user, item and
        time of an event that is there already, or that stands above it, is the same event and is left out.
        """
        ids = pl.DataFrame({"user": pl.concat([self.user_ids, new["user"]]).rename("user")})
        ids = ids.unique(maintain_order=True).with_row_index("row")
        rows = new.select("user").join(ids, on="user", how="left", maintain_order="left")["row"].to_numpy()
        count = ids.height
        known_lengths = np.zeros(count, np.int64)
        known_lengths[: len(self.user_ids)] = self.histories.lengths
        touched = np.unique(rows)
        # Those who are not touched are copied as they are: a night's work grows with the night, not with the years.
        is_touched = np.zeros(count, np.bool_)
        is_touched[touched] = True
        known_rows = np.repeat(np.arange(count), known_lengths)
        moved = is_touched[known_rows]
        user = np.concatenate([known_rows[moved], rows])
        time = np.concatenate([self.times[moved], new["time"].to_numpy()])
        item = np.concatenate([np.asarray(self.histories.items)[moved], new["item"].to_numpy()])
        fresh = np.arange(len(user)) >= np.count_nonzero(moved)
        known = np.flatnonzero(~_repeats(user, item, time))
        order = known[np.lexsort((time[known], user[known]))]
        user, time, item, fresh = user[order], time[order], item[order], fresh[order]

        lengths = np.where(is_touched, np.bincount(user, minlength=count), known_lengths)
        offsets = offsets_of(lengths)
        items, times = np.zeros(offsets[-1], np.int32), np.zeros(offsets[-1])
        is_new = np.zeros(offsets[-1], np.bool_)
        still = np.repeat(~is_touched, lengths)
        items[still], times[still] = np.asarray(self.histories.items)[~moved], self.times[~moved]
        items[~still], times[~still], is_new[~still] = item, time, fresh
        log = EventLog(ids["user"].alias("user_id"), Histories(offsets, items), times)
        last = np.full(count, -np.inf)
        has_any = known_lengths[: len(self.user_ids)] > 0
        last[: len(self.user_ids)][has_any] = self.times[self.histories.offsets[1:][has_any] - 1]
        return Merged(
            log,
            is_new,
            touched=np.unique(user[fresh]),
            new_users=count - len(self.user_ids),
            late=int(np.count_nonzero(fresh & (time < last[user]))),
            repeated=new.height - int(fresh.sum()),
        )

    def save(self, folder: Path) -> None:
        """Write Parquet files into an existing folder."""
        lengths = pl.Series("events", self.histories.lengths, pl.Int64)
        write_parquet(pl.DataFrame([self.user_ids.alias("user_id"), lengths]), folder / _USERS)
        items = pl.Series("item", np.asarray(self.histories.items), pl.Int32)
        write_parquet(pl.DataFrame([items, pl.Series("time", self.times)]), folder / _EVENTS)

    @classmethod
    def load(cls, folder: Path, item_count: int) -> Self:
        """Read what `save` wrote for a catalogue of that many items.

        Raises `DataError` if a file is missing or damaged, or belongs to another catalogue: it may come from anywhere.
        """
        try:
            users, events = read_parquet(folder / _USERS), read_parquet(folder / _EVENTS)
            ids, lengths = users["user_id"].cast(pl.String), users["events"].cast(pl.Int64).to_numpy()
            items, times = (
                events["item"].cast(pl.Int32).to_numpy(),
                events["time"].cast(pl.Float64).to_numpy(),
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{folder}: can't read the log ({error})") from None
        fits = (
            (lengths >= 0).all()
            and lengths.sum() == len(items)
            and ids.null_count() == 0
            and ids.n_unique() == len(ids)
            and ((items >= 1) & (items <= item_count)).all()
            and np.isfinite(times).all()
        )
        if not fits:
            raise DataError(f"{folder}: no log of {item_count:,} items")
        return cls(ids, Histories(offsets_of(lengths), items), times)


@dataclass(frozen=True, eq=False)
class Merged:
    """A log that took in new events, and what they were."""

    log: EventLog
    is_new: npt.NDArray[np.bool_]
    """Which events are new, bool `[events]`."""
    touched: IntArray
    """Rows of the users who have new events, ascending."""
    new_users: int
    late: int
    """New events that are older than what was known of their users; they went in between."""
    repeated: int
    """Events that were known already, or stood twice."""


def _repeats(user: IntArray, item: IntArray, time: Floats) -> npt.NDArray[np.bool_]:
    """Mark all but the first of the events with the same user, item and time."""
    order = np.lexsort((item, time, user))  # stable
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in (user, item, time):
        ordered = key[order]
        same &= ordered[1:] == ordered[:-1]
    repeats = np.zeros(len(order), np.bool_)
    repeats[order[1:][same]] = True
    return repeats

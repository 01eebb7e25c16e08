"""A log that takes in new events is the log of all events, whatever came when."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2rec.data.event_log import EventLog
from h2rec.data.histories import Histories
from h2rec.errors import DataError

EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 4)), max_size=12)
NOTHING = EventLog(pl.Series("user_id", [], pl.String), Histories.from_lists([]), np.zeros(0))


def frame(events):
    rows = [(user, item, float(time)) for user, item, time in events]
    return pl.DataFrame(rows, {"user": pl.String, "item": pl.Int64, "time": pl.Float64}, orient="row")


def told(log):
    times = np.split(log.times, log.histories.offsets[1:-1]) if len(log.user_ids) else []
    return {
        user: list(zip(map(int, items), map(float, of), strict=True))
        for user, items, of in zip(log.user_ids, log.histories, times, strict=True)
    }


@given(EVENTS, EVENTS)
def test_in_two_steps_it_is_all_that_happened_by_time(first, second):
    known = NOTHING.merged(frame(first)).log
    merged = known.merged(frame(second))
    expected: dict[str, list[tuple[int, float]]] = {}
    for user, item, time in dict.fromkeys([*first, *second]):
        expected.setdefault(user, []).append((item, float(time)))
    assert told(merged.log) == {u: sorted(walk, key=lambda event: event[1]) for u, walk in expected.items()}
    new = set(second) - set(first)
    assert int(merged.is_new.sum()) == len(new)
    assert merged.repeated == len(second) - len(new)
    assert merged.new_users == len({user for user, *_ in second} - {user for user, *_ in first})
    assert merged.log.user_ids.gather(merged.touched).to_list() == [
        user for user in merged.log.user_ids if user in {user for user, *_ in new}
    ]
    last = {user: max(time for other, _, time in first if other == user) for user, *_ in first}
    assert merged.late == sum(time < last.get(user, -1) for user, _, time in new)


def test_it_is_read_as_it_was_written_and_damage_is_told(tmp_path):
    log = NOTHING.merged(frame([("a", 1, 0), ("b", 3, 2), ("a", 2, 1)])).log
    log.save(tmp_path)
    assert told(EventLog.load(tmp_path, 3)) == told(log)
    with pytest.raises(DataError, match="no log of 2 items"):
        EventLog.load(tmp_path, 2)
    users = pl.read_parquet(tmp_path / "users.parquet")
    users.with_columns(events=pl.lit(9)).write_parquet(tmp_path / "users.parquet")
    with pytest.raises(DataError, match="no log of 3 items"):
        EventLog.load(tmp_path, 3)
    (tmp_path / "users.parquet").unlink()
    with pytest.raises(DataError, match="can't read the log"):
        EventLog.load(tmp_path, 3)

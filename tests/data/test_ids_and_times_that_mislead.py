"""What reads without an error and says something else than its owner thinks."""

import datetime
import json

import polars as pl
import pytest

from h2rec import prepare
from h2rec.data.settings import ColumnSettings, DataSettings
from h2rec.errors import DataError

ROWS = [{"user_id": f"u{n % 3}", "item_id": f"i{n % 7}", "timestamp": 1_600_000_000 + n} for n in range(30)]


def written(path, rows):
    frame = pl.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        frame.write_csv(path)
    return path


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_a_list_is_no_id(ending, column, tmp_path):
    rows = [row | {column: ["a", row[column]]} for row in ROWS]
    path = written(tmp_path / f"events.{ending}", rows)
    with pytest.raises(DataError, match=f"'{column}' holds lists, not ids\n.*a row for each"):
        prepare(DataSettings(interactions=path))
    items = written(tmp_path / f"items.{ending}", [{"item_id": ["i1"], "title": "tea"}])
    events = written(tmp_path / "events.csv", ROWS)
    with pytest.raises(DataError, match="'item_id' holds lists"):
        prepare(DataSettings(interactions=events, items=items))


@pytest.mark.parametrize("part", ["user", "timestamp"])
def test_one_column_is_not_two_things(part, tmp_path):
    path = written(tmp_path / "events.csv", ROWS)
    with pytest.raises(DataError, match="'item_id' can't be two of user, item, time and weight"):
        prepare(DataSettings(interactions=path, columns=ColumnSettings(**{part: "item_id"})))


@pytest.mark.parametrize(("times", "equal"), [(1, 27), (2, 27), (30, 0)])
def test_times_that_tell_no_order_are_told(times, equal, tmp_path):
    rows = [row | {"timestamp": 1_600_000_000 + n * times // 30} for n, row in enumerate(ROWS)]
    rows = [row | {"item_id": f"i{n}"} for n, row in enumerate(rows)]
    report = prepare(DataSettings(interactions=written(tmp_path / "events.csv", rows))).report
    assert report["times_equal_within_a_user"] == equal - (3 if times == 2 else 0)
    assert any("have the same time" in said for said in report["warnings"]) == (equal > 0)


def test_times_of_clocks_before_1970_are_told_too(tmp_path):
    rows = [row | {"timestamp": -row["timestamp"]} for row in ROWS]
    report = prepare(DataSettings(interactions=written(tmp_path / "events.csv", rows))).report
    assert report["times_before_1973"] == len(ROWS)


def test_a_time_that_is_no_text_is_named_though_no_other_column_is_there(tmp_path):
    rows = [row | {"timestamp": datetime.timedelta(row["timestamp"] % 100)} for row in ROWS]
    report = prepare(DataSettings(interactions=written(tmp_path / "events.parquet", rows))).report
    assert "could name timestamp (duration)" in report["warnings"][0]

"""Times: one form and one unit a file, and an error that names the line where that is not so."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from h2rec.data.interactions import read_interactions
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.data.times import days_of
from h2rec.errors import DataError


def times(folder: Path, *values: str) -> tuple[list[float], str]:
    path = folder / "i.csv"
    path.write_text("user,item,time\n" + "".join(f"u,i{n},{value}\n" for n, value in enumerate(values)))
    report: dict[str, int | str | list[str]] = {}
    rows = read_interactions(open_table(path), ColumnSettings(), report)
    return rows["time"].to_list(), str(report["time_order"])


def seconds(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("values", "expected", "unit"),
    [
        (("0", "1", "2.5"), [0, 1, 2.5], "count"),
        (("881250949", "1.5e9"), [881250949, 1.5e9], "seconds"),
        (("0", "1500000000"), [0, 1.5e9], "seconds"),
        (("1500000000123", "1600000000000"), [1500000000.123, 1.6e9], "milliseconds"),
        (("1500000000123456",), [1500000000.123456], "microseconds"),
        (("1500000000123456789",), [1500000000.1234567], "nanoseconds"),
        (("-5", " 7 "), [-5, 7], "count"),
    ],
)
def test_numbers(tmp_path, values, expected, unit):
    found, order = times(tmp_path, *values)
    assert found == pytest.approx(expected, abs=1e-6)
    assert order == f"column 'time' ({unit})"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2014-03-01", seconds(2014, 3, 1)),
        ("2014-03-01T12:30", seconds(2014, 3, 1, 12, 30)),
        ("2014-03-01 12:30:15", seconds(2014, 3, 1, 12, 30, 15)),
        ("2014-03-01T12:30:15Z", seconds(2014, 3, 1, 12, 30, 15)),
        ("2014-03-01T12:30:15.250", seconds(2014, 3, 1, 12, 30, 15) + 0.25),
        ("2014-03-01T12:30+02:00", seconds(2014, 3, 1, 10, 30)),
        ("2014-03-01T12:30:15-0530", seconds(2014, 3, 1, 18, 0, 15)),
        ("1965-01-01", seconds(1965, 1, 1)),
        ("2014-03-01 12:30:15+00", seconds(2014, 3, 1, 12, 30, 15)),
        ("2014-03-01 12:30:15.5-08", seconds(2014, 3, 1, 20, 30, 15) + 0.5),
        ("2014-03-01 12:30:15 UTC", seconds(2014, 3, 1, 12, 30, 15)),
        ("2014-03-01 12:30:15 +0000", seconds(2014, 3, 1, 12, 30, 15)),
        ("2014-03-01 12:30 GMT", seconds(2014, 3, 1, 12, 30)),
        ("2014-03-01 UTC", seconds(2014, 3, 1)),
        ("2014/03/01", seconds(2014, 3, 1)),
        ("2014/3/1 9:05", seconds(2014, 3, 1, 9, 5)),
        ('"2014-03-01 12:30:15,250"', seconds(2014, 3, 1, 12, 30, 15) + 0.25),
    ],
)
def test_dates(tmp_path, value, expected):
    # The first row fixes the form; dates of different precision may be mixed.
    found, _ = times(tmp_path, "2001-01-01", value)
    assert found == [seconds(2001, 1, 1), expected]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("1", "2", "soon"), r"i\.csv:4: time 'soon' is not a time"),
        (("soon", "2"), r"i\.csv:2: time 'soon' is not a time"),
        (("1", "2014-03-01"), r"i\.csv:3: time '2014-03-01' is a date, but the rows before it have numbers"),
        (("2014-03-01", "2014-03-02", "7"), r"i\.csv:4: time '7' is a number, but .* dates"),
        (("1", "nan"), r"i\.csv:3: time 'nan' is not a time"),
        (("1", "inf"), r"i\.csv:3: time 'inf' is not a time"),
        (("2014-02-30",), r"i\.csv:2: time '2014-02-30' is not a time"),
        (("1", "", "3"), r"i\.csv:3: no time"),
        (("", "1"), r"i\.csv:2: no time"),
        (
            ("1500000000", "1500000001", "1500000002000"),
            r"i\.csv:4: time 1500000002000 looks like milliseconds, but most look like seconds",
        ),
        (("1500000000", "1500000002000", "1500000003000"), r"i\.csv:2: .* looks like seconds, but most"),
    ],
)
def test_what_is_no_time_or_mixed_is_named_with_its_line(tmp_path, values, message):
    with pytest.raises(DataError, match=message):
        times(tmp_path, *values)


def test_the_line_named_is_of_a_row_that_counts(tmp_path):
    path = tmp_path / "i.csv"
    path.write_text("user,item,time\nu,a,1\n,b,never\nu,c,soon\n")
    with pytest.raises(DataError, match=r"i\.csv:4: time 'soon'"):
        read_interactions(open_table(path), ColumnSettings(), {})


def test_parquet_times_of_their_own_type(tmp_path):
    path = tmp_path / "i.parquet"
    moments = pl.Series(["2014-03-01T00:00:00", "2014-03-01T00:00:00.5"]).str.to_datetime()
    pl.DataFrame({"user": [1, 1], "item": [2, 3], "time": moments}).write_parquet(path)
    rows = read_interactions(open_table(path), ColumnSettings(), {})
    assert rows["time"].to_list() == [seconds(2014, 3, 1), seconds(2014, 3, 1) + 0.5]


def test_a_bad_row_of_a_parquet_file_is_named_by_its_number(tmp_path):
    path = tmp_path / "i.parquet"
    pl.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "time": ["1", "x"]}).write_parquet(path)
    with pytest.raises(DataError, match=r"i\.parquet, row 2: time 'x' is not a time"):
        read_interactions(open_table(path), ColumnSettings(), {})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("01/12/2010 08:26", "13/12/2010"), [seconds(2010, 12, 1, 8, 26), seconds(2010, 12, 13)]),
        (("1/12/2010 8:26", "12/31/2010"), [seconds(2010, 1, 12, 8, 26), seconds(2010, 12, 31)]),
        (("01.12.2010", "13.12.2010 09:00:01"), [seconds(2010, 12, 1), seconds(2010, 12, 13, 9, 0, 1)]),
    ],
)
def test_days_and_months_are_told_apart_where_the_file_can_tell(tmp_path, values, expected):
    found, _ = times(tmp_path, *values)
    assert found == expected


def test_days_and_months_that_nothing_tells_apart(tmp_path):
    hint = r"\n.*data\.time_format, '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'"
    with pytest.raises(DataError, match=r"i\.csv:2: time '01/12/2010' and all others may be days .*" + hint):
        times(tmp_path, "01/12/2010", "02/12/2010")
    with pytest.raises(DataError, match=r"i\.csv:4: time '12/31/2010' is not a time"):
        times(tmp_path, "01/12/2010", "13/12/2010", "12/31/2010")


@pytest.mark.parametrize(
    ("value", "time_format", "expected"),
    [
        ("02/12/2010 08:26", "%d/%m/%Y %H:%M", seconds(2010, 12, 2, 8, 26)),
        ("02/12/2010 08:26", "%m/%d/%Y %H:%M", seconds(2010, 2, 12, 8, 26)),
        ("12/31/2010 8:26 PM", "%m/%d/%Y %I:%M %p", seconds(2010, 12, 31, 20, 26)),
        ("Jan 5 2024", "%b %d %Y", seconds(2024, 1, 5)),
        ("20240105", "%Y%m%d", seconds(2024, 1, 5)),
    ],
)
def test_a_form_that_is_told(tmp_path, value, time_format, expected):
    path = tmp_path / "i.csv"
    path.write_text(f"user,item,time\nu,i,{value}\nu,j,{value}\n")
    rows = read_interactions(open_table(path), ColumnSettings(), {}, time_format=time_format)
    assert rows["time"].to_list() == [expected, expected]
    path.write_text(f"user,item,time\nu,i,{value}\nu,j,2024-01-05\n")
    with pytest.raises(
        DataError, match=r"i\.csv:3: time '2024-01-05' is not written as data\.time_format says"
    ):
        read_interactions(open_table(path), ColumnSettings(), {}, time_format=time_format)


def test_days_by_hand():
    night = seconds(2014, 3, 1, 23, 59, 59)
    found = days_of(np.array([night, night + 1, night + 86_400, night + 86_401, -1.0]))
    assert found is not None
    assert (found - found[0]).tolist()[:4] == [0, 1, 1, 2]
    assert found[0] == seconds(2014, 3, 1) / 86_400
    assert found[4] == -1


@pytest.mark.parametrize("values", [[0.0, 5e7], [1.5e9, 1.5e9 + 60], []])
def test_positions_and_a_single_day_are_no_days(values):
    assert days_of(np.array(values)) is None

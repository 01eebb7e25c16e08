"""A suite's results file gives back what was written, and is read as a table by other programs."""

import polars as pl
import pytest

from h2rec.errors import DataError
from h2rec.research.suite.results import RESULTS_FILE, read_results, write_results


def test_what_is_read_is_what_was_written_value_for_value(found, wide, tmp_path):
    for content in (found, wide):
        write_results(tmp_path / "x.parquet", content)
        assert read_results(tmp_path / "x.parquet") == content
    uneven = {
        "suite": "a",
        "empty": [],
        "records": [
            {"model": "a", "mean": 1, "place": None, "of": {"x": [0.1, None]}},
            {"model": "b", "mean": 0.1 + 0.2, "more": True},
            {"mean": None},
        ],
    }
    write_results(tmp_path / "x.parquet", uneven)
    again = read_results(tmp_path / "x.parquet")
    assert again == uneven
    assert [type(record["mean"]) for record in again["records"]] == [int, float, type(None)]


def test_other_programs_find_a_row_a_figure(found, tmp_path):
    write_results(tmp_path / "x.parquet", found)
    rows = pl.read_parquet(tmp_path / "x.parquet").filter(pl.col("table") == "records")
    names = ["data", "protocol", "slice", "metric", "model"]
    assert rows.select(*names, "mean").rows() == [
        (*(record[name] for name in names), record["mean"]) for record in found["records"]
    ]


def test_another_file_is_told_to_be_none(tmp_path):
    for name, content in {"none": None, "text": b"not a table", "empty": b""}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: not the results of a suite"):
            read_results(tmp_path / name)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / RESULTS_FILE)
    with pytest.raises(DataError, match="not the results of a suite"):
        read_results(tmp_path / RESULTS_FILE)

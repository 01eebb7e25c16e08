"""`h2rec datasets`, as a user calls it."""

import pytest
from typer.testing import CliRunner

from h2rec.cli.datasets import app
from h2rec.data.sources import list_sources
from h2rec.errors import DataError


def test_list_names_every_data_set():
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        source.name for source in list_sources()
    ]


def test_fetch_prints_the_two_files(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "yelp_academic_dataset_review.json").write_text('{"user_id": "u", "business_id": "b"}\n')
    (raw / "yelp_academic_dataset_business.json").write_text('{"business_id": "b", "name": "Tea"}\n')
    result = CliRunner().invoke(app, ["fetch", "yelp", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    told = dict(line.split(": ") for line in result.stdout.splitlines())
    assert told == {
        "interactions": str(tmp_path / "interactions.parquet"),
        "items": str(tmp_path / "items.parquet"),
    }


def test_an_unknown_name_is_an_error_of_ours():
    result = CliRunner().invoke(app, ["fetch", "nothing-like-it"])
    assert isinstance(result.exception, DataError)
    with pytest.raises(DataError, match="no data set is called"):
        raise result.exception

"""A path is the name of one file: no pattern, no home, no address."""

import re
from pathlib import Path

import polars as pl
import pytest

import h2rec
from h2rec.data.dataset import Dataset
from h2rec.data.prepare import prepare
from h2rec.data.readers import open_table
from h2rec.data.settings import DataSettings
from h2rec.frames import read_parquet, scan_parquet, write_parquet
from h2rec.retrieval.history_files import _open

NAMES = ["a[1]", "a*", "a?", "~", "~root", "$HOME", "a b", "s3:", "file:", "hf:x", "{a,b}", "ü"]
DECOYS = ("a1", "ab", "axx")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_files_and_folders_of_any_name(here, name):
    for decoy in DECOYS:
        Path(decoy).mkdir()
        for parent in (Path(decoy), Path()):
            write_parquet(pl.DataFrame({"x": ["wrong"]}), parent / f"{decoy}.parquet")
            write_parquet(pl.DataFrame({"x": ["wrong"]}), parent / "t.parquet")
    Path(name).mkdir()
    frame = pl.DataFrame({"x": ["right"]})
    for path in (Path(name) / "t.parquet", Path(f"{name}.parquet")):
        write_parquet(frame, path)
        assert path.exists()
        assert read_parquet(path).equals(frame)
        assert scan_parquet(path).collect().equals(frame)
        assert _open(path).metadata.num_rows == 1
        table = open_table(path)
        assert table.collect(table.scan()).equals(frame)
    for ending, content in ((".jsonl", '{"x": "right"}\n'), (".csv", "x\nright\n"), (".tsv", "x\nright\n")):
        path = Path(name) / f"{name}{ending}"
        path.write_text(content)
        table = open_table(path)
        assert table.collect(table.scan()).equals(frame)


@pytest.mark.parametrize("name", NAMES)
def test_prepared_data_in_a_folder_of_any_name(here, name):
    Path("events.csv").write_text("user,item,time\nu,a,1\nu,b,2\n")
    data = prepare(DataSettings(interactions=Path("events.csv")))
    for folder in (*DECOYS, name):
        Path(folder).mkdir()
    data.save(Path(name))
    assert Dataset.load(Path(name)).items.equals(data.items)


def test_frames_are_read_and_written_in_one_place():
    # The linter refuses Polars' own functions; methods it can't tell.
    root = Path(h2rec.__file__).parent
    others = [path for path in root.rglob("*.py") if path != root / "frames.py"]
    method = re.compile(r"\.(?:write|sink)_(?:parquet|csv|ndjson|json|ipc)\(")
    assert [path.name for path in others if method.search(path.read_text())] == []

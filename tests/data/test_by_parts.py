"""Parquet that is prepared part by part gives the bytes that it gives at once."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from h2rec.data import prepare as preparing
from h2rec.data.by_parts import prepare_by_parts
from h2rec.data.prepare import input_fingerprint, prepare
from h2rec.data.readers import open_table
from h2rec.data.settings import DataSettings
from h2rec.engines import LOCAL
from h2rec.errors import DataError
from h2rec.files import folder_hashes


def made_events(rows: int = 400) -> pl.DataFrame:
    """Events with all that cleaning looks for: ids without a value, repeats, equal times, low ratings."""
    stream = np.random.default_rng(5)
    again = np.arange(9, rows, 9)
    columns = {
        "user": stream.integers(0, 40, rows),
        "item": stream.integers(0, 25, rows),
        "time": 1_600_000_000_000 + 1000 * stream.integers(0, 60, rows),
    }
    for values in columns.values():
        values[again] = values[again - 1]
    # Their first rows are not in the core: what is numbered is the first that is.
    columns["user"][:2], columns["item"][:2] = (99, 39), (24, 999)
    users = [f" u{user}" if user else ["", "nan", None][row % 3] for row, user in enumerate(columns["user"])]
    return pl.DataFrame(
        {
            "user_id": users,
            "item_id": columns["item"],
            "timestamp": columns["time"],
            "rating": stream.integers(1, 6, rows),
            "price": stream.integers(0, 9, rows) / 4,
        }
    )


def in_shards(events: pl.DataFrame, folder: Path, sizes: tuple[int, ...] = (150, 1, 0, 120)) -> Path:
    """Write events as files of these sizes, and a last one of the others."""
    (folder / "day=1").mkdir(parents=True)
    starts = [0, *np.cumsum(sizes).tolist()]
    for number, (start, size) in enumerate(zip(starts, (*sizes, len(events)), strict=True)):
        events.slice(start, size).write_parquet(folder / "day=1" / f"{number}.parquet")
    (folder / "_SUCCESS").touch()
    return folder


def items_file(folder: Path) -> Path:
    path = folder / "items.csv"
    path.write_text("item_id,title\n" + "".join(f"{item},Thing {item}\n" for item in (7, 3, 99, 12)))
    return path


CASES = {
    "plain": {},
    "items": {"items": True},
    "all items": {"items": True, "catalogue": "all"},
    "core": {"k_core": 5, "items": True},
    "ratings and weights": {"min_rating": 3, "columns": {"weight": "price"}, "k_core": 3},
    "no time": {"without": "timestamp", "k_core": 2},
    "no repeats": {"without": "timestamp"},
}


@pytest.mark.parametrize("rows_a_part", [37, 1000])
@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_as_of_one_file_at_once(tmp_path, case, rows_a_part):
    values = dict(CASES[case])
    events = made_events().drop(values.pop("without", []))
    shards, whole = in_shards(events, tmp_path / "events"), tmp_path / "events.parquet"
    events.write_parquet(whole)
    if values.pop("items", False):
        values["items"] = items_file(tmp_path)
    settings = DataSettings.parse({"interactions": shards, **values})
    at_once = prepare(settings.model_copy(update={"interactions": whole}))
    table = open_table(shards)
    items = None if settings.items is None else open_table(settings.items)
    by_parts = prepare_by_parts(settings, table, items, LOCAL, tmp_path / "work", rows_a_part=rows_a_part)
    for name, data in (("one", at_once), ("two", by_parts)):
        (tmp_path / name).mkdir()
        data.save(tmp_path / name)
    assert folder_hashes(tmp_path / "two") == folder_hashes(tmp_path / "one")
    assert at_once.report["interactions"] > 0
    assert case != "plain" or at_once.report["duplicate_interactions"] > 0


def test_what_was_finished_is_not_done_again(tmp_path):
    shards = in_shards(made_events(), tmp_path / "events")
    settings = DataSettings(interactions=shards)
    done = []

    def written() -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_mtime_ns) for path in (tmp_path / "work").iterdir()}

    class Counting:
        def __init__(self, most: int) -> None:
            self.left = most

        def map(self, function, parts):
            for part in parts:
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
                before = written()
                yield function(part)
                done.append(written() - before)

    table = open_table(shards)
    with pytest.raises(KeyboardInterrupt):
        prepare_by_parts(settings, table, None, Counting(9), tmp_path / "work", rows_a_part=100)
    assert (len(done), all(done)) == (9, True)  # all 7 parts of the rows, and 2 of the 4 buckets
    data = prepare_by_parts(settings, table, None, Counting(99), tmp_path / "work", rows_a_part=100)
    assert list(map(bool, done[9:])) == 9 * [False] + 2 * [True]
    assert data.report == prepare(settings).report


def test_a_row_that_can_not_be_read_is_named_with_its_file(tmp_path):
    events = made_events().with_columns(pl.col("timestamp").cast(pl.String))
    broken = pl.when(pl.int_range(pl.len()) == 280).then(pl.lit("soon")).otherwise(pl.col("timestamp"))
    shards = in_shards(events.with_columns(timestamp=broken), tmp_path / "events")
    table = open_table(shards)
    with pytest.raises(DataError, match=r"day=1.4\.parquet, row 10: timestamp 'soon' is not a time"):
        prepare_by_parts(
            DataSettings(interactions=shards), table, None, LOCAL, tmp_path / "work", rows_a_part=100
        )


def test_shards_have_the_same_columns_and_nothing_else_lies_beside_them(tmp_path):
    shards = in_shards(made_events(), tmp_path / "events")
    made_events(9).with_columns(pl.col("item_id").cast(pl.String)).write_parquet(shards / "z.parquet")
    with pytest.raises(
        DataError, match=r"z\.parquet: its column 'item_id' is String, but Int64 in 0\.parquet"
    ):
        open_table(shards)
    (shards / "z.parquet").unlink()
    (shards / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes\.txt: a folder of a table has Parquet files alone"):
        open_table(shards)


def test_large_parquet_goes_part_by_part_and_its_fingerprint_is_of_all_files(tmp_path, monkeypatch):
    shards = in_shards(made_events(), tmp_path / "events")
    settings = DataSettings(interactions=shards)
    at_once, first = prepare(settings), input_fingerprint(settings)
    monkeypatch.setattr(preparing, "ROWS_IN_MEMORY", 10)
    data = prepare(settings, work=tmp_path / "work")
    assert (tmp_path / "work").is_dir()
    assert data.histories.items.tolist() == at_once.histories.items.tolist()
    (shards / "day=1" / "2.parquet").unlink()  # it has no rows, but is one of the files
    assert input_fingerprint(settings) != first


@pytest.mark.parametrize("rows_in_memory", [10, 1000])
def test_a_file_that_is_damaged_inside_is_named(rows_in_memory, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "ROWS_IN_MEMORY", rows_in_memory)
    shards = in_shards(made_events(), tmp_path / "events")
    damaged = sorted(shards.rglob("*.parquet"))[-1]
    content = bytearray(damaged.read_bytes())
    content[10:60] = bytes(50)  # its beginning and its end are as they were
    damaged.write_bytes(content)
    with pytest.raises(DataError, match=rf"{damaged.name}: (not a whole|can.t be read)"):
        prepare(DataSettings(interactions=shards))

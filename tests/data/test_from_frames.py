"""Frames of every library become the data set that files of the same content become."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2rec.data.dataset import Dataset
from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
from h2rec.errors import DataError
from h2rec.python.estimators import _on_disk
from made_frames import KINDS, is_of, made_frames, plain


def assert_same(one, other, *, without=()):
    """Everything but what it was made from."""
    assert one.user_ids.to_list() == other.user_ids.to_list()
    assert one.items.equals(other.items)
    assert [row.tolist() for row in one.histories] == [row.tolist() for row in other.histories]
    assert one.timestamps.equals(other.timestamps)
    for mine, theirs in ((one.weights, other.weights), (one.item_file_index, other.item_file_index)):
        assert mine is theirs is None or mine.equals(theirs)
    reports = ({k: v for k, v in data.report.items() if k not in without} for data in (one, other))
    assert next(reports) == next(reports)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_read_as_files_are(kind, tmp_path):
    events, items = made_frames()
    events.write_parquet(tmp_path / "events.parquet")
    items.write_parquet(tmp_path / "items.parquet")
    asked = DataSettings(interactions=tmp_path / "events.parquet", items=tmp_path / "items.parquet", k_core=3)
    events, items = KINDS[kind](events), KINDS[kind](items)
    made = Dataset.from_frames(events, items, k_core=3)
    assert_same(made, prepare(asked))
    assert made.has_whole_number_ids
    assert is_of(kind, KINDS[kind](made.frames.events))
    assert "60 users" in repr(made)


texts = st.sampled_from(["1", "2", "3", "a", " a", "1.0", "17.0", "nan", "", "ü", "b,c", None])
numbers = st.sampled_from([1, 2, 3, 4, -1, None])


@st.composite
def frames(draw):
    """Events and items, odd ones too: gaps, blanks, words for nothing, duplicates, several types."""
    ids, kind = draw(st.sampled_from([(texts, pl.String), (numbers, pl.Int64), (numbers, pl.Float32)]))
    rows = draw(st.lists(st.tuples(ids, ids, st.integers(0, 2)), min_size=8, max_size=40))
    columns = {
        name: pl.Series([row[at] for row in rows], dtype=kind) for at, name in enumerate(("user", "item"))
    }
    time = draw(st.sampled_from(["none", "dates", "counts", "milliseconds"]))
    if time == "dates":
        start = datetime(2024, 3, 30, 23, tzinfo=UTC)
        columns["timestamp"] = [start + timedelta(hours=row[2], microseconds=7 * row[2]) for row in rows]
    elif time != "none":
        start = 0 if time == "counts" else 1_700_000_000_001
        columns["timestamp"] = [start + 333 * row[2] for row in rows]
    if draw(st.booleans()):
        columns["price"] = draw(st.lists(st.floats(0.5, 9), min_size=len(rows), max_size=len(rows)))
    events = pl.DataFrame(columns)
    if draw(st.booleans()) and kind == pl.String:
        events = events.with_columns(pl.col("item").cast(pl.Categorical))
    if draw(st.booleans()):
        return events, None
    titles = st.sampled_from(["tea", "  ", None, "rose <b>", "7"])
    described = draw(st.lists(st.tuples(texts, titles), min_size=4, max_size=12))
    return events, pl.DataFrame(described, schema={"item_id": pl.String, "title": pl.String}, orient="row")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(made=frames(), k_core=st.sampled_from([None, 2]), catalogue=st.sampled_from(["interacted", "all"]))
def test_what_is_written_for_a_run_is_prepared_again_the_same(made, k_core, catalogue, tmp_path_factory):
    events, items = made
    asked = {
        "weight": "price" if "price" in events.columns else None,
        "k_core": k_core,
        "catalogue": catalogue,
    }
    try:
        dataset = Dataset.from_frames(events, items, **asked)
    except DataError:
        return
    again = prepare(_on_disk(dataset, tmp_path_factory.mktemp("run")))
    assert_same(dataset, again)


def test_columns_that_nobody_read_are_not_written(tmp_path):
    events = pl.DataFrame(
        {"user": ["a"] * 3, "item": ["x", "y", "z"], "email": ["a@b.c"] * 3, "when": [1, 2, 3]}
    )
    named = Dataset.from_frames(events, timestamp="when")
    assert named.frames.events.columns == ["user", "item", "when"]
    again = prepare(_on_disk(named, tmp_path))
    assert pl.read_parquet(tmp_path / "interactions.parquet").columns == ["user", "item", "when"]
    assert_same(named, again)


EVENTS = {"user": ["a", "a", "b", "b", "b"], "item": ["x", "y", "x", "y", "z"], "time": [1, 2, 3, 4, 5]}


def as_pandas(**changes):
    return pd.DataFrame(EVENTS | changes)


@pytest.mark.parametrize(
    ("frame", "named", "message"),
    [
        ([("a", "x")], {}, r"events: expected a frame, found list\n.*polars.DataFrame"),
        ({"user": ["a"]}, {}, "events: expected a frame, found dict"),
        ("events.csv", {}, "events: expected a frame, found str"),
        (pd.Series([1, 2]), {}, "events: "),
        (pl.Series([1, 2]), {}, "events: "),
        (None, {}, "events: expected a frame, found NoneType"),
        (as_pandas().head(0), {}, "events: the frame has no rows"),
        (pl.DataFrame(), {}, "events: the frame has no rows"),
        (as_pandas().rename(columns={"user": "item"}), {}, "events: two columns have the same name"),
        (pa.table([[1], [2]], names=["user", "user"]), {}, "events: two columns have the same name"),
        (
            as_pandas().rename(columns={"user": "who"}),
            {},
            r"obviously the user: who, item, time\n.*name it with user=$",
        ),
        (as_pandas(), {"user": "usr"}, r"events: no column 'usr'.*\n.*did you mean 'user'"),
        (as_pandas(time=["2024-01-02"] * 4 + ["later"]), {}, "events, row 5: time 'later' is not a time"),
        (as_pandas(time=[1, 2, None, 4, 5]), {}, "events, row 3: no time"),
        (as_pandas(price=[1, 2, -3, 4, 5]), {"weight": "price"}, "events, row 3: price '-3' is negative"),
        (as_pandas(item=[["x"], ["y"], ["x"], ["y"], ["z"]]), {}, "events: 'item' holds lists"),
        (as_pandas(time=["01/02/2024"] * 5), {}, "time_format="),
        (as_pandas(item=["x", {"y": 1}, 3, object(), "z"]), {}, "events: can't be read as a frame"),
        (pl.DataFrame(EVENTS), {"k_core": 9}, "the 9-core of 5 interactions is empty"),
        (pl.DataFrame(EVENTS), {"k_core": 0}, "from_frames: k_core"),
    ],
)
def test_mistakes_are_named(frame, named, message):
    with pytest.raises(DataError if "from_frames" not in message else Exception, match=message):
        Dataset.from_frames(frame, **named)


def test_items_are_named_in_their_own_errors():
    events = pl.DataFrame(EVENTS)
    with pytest.raises(DataError, match="items: expected a frame, found list"):
        Dataset.from_frames(events, ["x"])
    with pytest.raises(DataError, match=r"items: none of the columns.*\n.*name it with item_id="):
        Dataset.from_frames(events, pl.DataFrame({"code": ["x"], "title": ["tea"]}))
    with pytest.raises(DataError, match="items: none of its items occurs"):
        Dataset.from_frames(events, pl.DataFrame({"item_id": ["q"], "title": ["tea"]}))


def histories_of(dataset):
    return {
        user: [dataset.items["item_id"][int(item) - 1] for item in row]
        for user, row in zip(dataset.user_ids, dataset.histories, strict=True)
    }


EXPECTED = {"a": ["x", "y"], "b": ["x", "y", "z"]}


@pytest.mark.parametrize(
    "frame",
    [
        pl.LazyFrame(EVENTS),
        pl.DataFrame(EVENTS).with_columns(pl.col("user", "item").cast(pl.Categorical)),
        pa.table(EVENTS).to_reader(),
        pa.RecordBatch.from_pydict(EVENTS),
        as_pandas().astype({"user": "category", "item": "category"}),
        as_pandas(time=pd.to_datetime([1, 2, 3, 4, 5], unit="D")),
        as_pandas(time=pd.to_datetime([1, 2, 3, 4, 5], unit="D").tz_localize("Asia/Tokyo")),
        as_pandas().convert_dtypes(),
        as_pandas().set_index("user"),
        as_pandas().set_index(["user", "time"]),
        as_pandas().set_index([[7, 7, 7, 7, 7], "item"]),
        as_pandas().set_index("time", drop=False),
        pd.concat([as_pandas().head(2), as_pandas().tail(3)]).sort_index(kind="stable", ignore_index=False),
        as_pandas().iloc[[4, 0, 1, 2, 3]],
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_any_frame_will_do(frame):
    assert histories_of(Dataset.from_frames(frame)) == EXPECTED


def test_spreadsheets_mix_numbers_with_texts():
    """As pandas reads a column of stock codes from a workbook."""
    codes = pd.Series([85123, "85123A", 10.0, np.int64(85123), None], dtype=object)
    dataset = Dataset.from_frames(as_pandas(item=codes))
    assert histories_of(dataset) == {"a": ["85123", "85123A"], "b": ["10", "85123"]}
    assert not dataset.has_whole_number_ids


def test_ids_are_whole_numbers_only_where_all_are():
    numbers = pl.DataFrame(EVENTS | {"item": [1, 2, 1, 2, 3]})
    assert Dataset.from_frames(numbers).has_whole_number_ids
    assert not Dataset.from_frames(numbers.with_columns(pl.col("item").cast(pl.String))).has_whole_number_ids
    assert Dataset.from_frames(as_pandas(item=[1, 2, None, 2, 3])).has_whole_number_ids
    items = pl.DataFrame({"item_id": ["1", "2", "x"], "title": ["tea", "rose", "bike"]})
    assert Dataset.from_frames(numbers, items).has_whole_number_ids
    assert not Dataset.from_frames(numbers, items, catalogue="all").has_whole_number_ids


def test_data_sets_of_files_know_their_settings_too(tmp_path):
    pl.DataFrame(EVENTS).write_csv(tmp_path / "events.csv")
    asked = DataSettings(interactions=tmp_path / "events.csv")
    dataset = prepare(asked)
    assert dataset.settings == asked
    assert plain(dataset.items) == [{"item_id": "x"}, {"item_id": "y"}, {"item_id": "z"}]
    with pytest.raises(DataError, match="loaded from a folder"):
        _on_disk(replace(dataset, settings=None), tmp_path)

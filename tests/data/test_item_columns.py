"""Columns of the item file that are no text are left out and named; nothing else is."""

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from h2rec.data.items import read_items
from h2rec.data.prepare import prepare
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings, DataSettings
from h2rec.errors import DataError

IDS = {"item_id": ["a", "b"], "title": ["Anvil", "Bell"]}
PICTURE = b"\x89PNG\xff"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())), "extra (map)"),
        (pa.array([PICTURE, None], pa.binary()), "extra (bytes)"),
        (pa.array([b"ok", PICTURE], pa.large_binary()), "extra (bytes)"),
        (
            pa.array(
                [{"bytes": PICTURE, "path": None}, None],
                pa.struct([("bytes", pa.binary()), ("path", pa.null())]),
            ),
            "extra (struct)",
        ),
        (pa.array([[PICTURE], None], pa.list_(pa.binary())), "extra (list)"),
        (pa.array([5, None], pa.duration("us")), "extra (duration)"),
    ],
)
def test_a_column_that_is_no_text(tmp_path, values, told, capfd):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({**IDS, "extra": values}), path)
    report = {}
    items, _ = read_items(open_table(path), ColumnSettings(), report)
    assert items.drop("file_row").rows() == [("a", "Anvil"), ("b", "Bell")]
    assert report["item_columns_left_out"] == [told]
    assert "panicked" not in capfd.readouterr().err


def test_bytes_that_are_text_are_read(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": pa.array([b"a", b"b"]), "title": ["Anvil", "Bell"]}), path)
    items, _ = read_items(open_table(path), ColumnSettings(), {})
    assert items["item_id"].to_list() == ["a", "b"]


def test_a_column_that_was_left_out_is_told_where_it_is_missed(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": pa.array([PICTURE, b"b"]), "title": ["Anvil", "Bell"]}), path)
    with pytest.raises(DataError, match=r"obviously the item id: title; left out: item_id \(bytes\)"):
        read_items(open_table(path), ColumnSettings(), {})


def test_row_numbers_of_pandas_are_no_text(tmp_path, caplog):
    frame = pd.DataFrame({"item_id": [*"axcb"], "title": [*"AXCB"]}).drop(index=1)
    frame.to_parquet(tmp_path / "items.parquet")
    frame.to_csv(tmp_path / "once.csv")
    pd.read_csv(tmp_path / "once.csv").to_csv(tmp_path / "items.csv", index=False)
    (tmp_path / "i.csv").write_text("user,item,time\nu,a,1\nu,c,2\n")
    assert open_table(tmp_path / "items.parquet").columns == ("item_id", "title", "__index_level_0__")
    for name, column in (("items.parquet", "__index_level_0__"), ("items.csv", "Unnamed: 0")):
        caplog.clear()
        data = prepare(DataSettings(interactions=tmp_path / "i.csv", items=tmp_path / name))
        assert data.items.columns == ["item_id", "title"]
        assert f"columns of the item file left out: {column} (row numbers of pandas)" in caplog.text
    data = prepare(DataSettings(interactions=tmp_path / "i.csv", items=tmp_path / "once.csv"))
    assert data.report["warnings"] == ["columns of the item file left out: 1 without a name"]


def test_an_index_that_holds_the_ids_is_read(tmp_path):
    frame = pd.DataFrame({"title": ["Anvil", "Bell"]}, index=pd.Index(["a", "b"], name="item_id"))
    frame.to_parquet(tmp_path / "named.parquet")
    items, _ = read_items(open_table(tmp_path / "named.parquet"), ColumnSettings(), {})
    assert items["item_id"].to_list() == ["a", "b"]
    frame.rename_axis(None).to_parquet(tmp_path / "nameless.parquet")
    items, _ = read_items(
        open_table(tmp_path / "nameless.parquet"), ColumnSettings(item_id="__index_level_0__"), {}
    )
    assert items["item_id"].to_list() == ["a", "b"]


def test_types_of_parquet_as_ids(tmp_path):
    kinds = [pl.Categorical(), pl.Enum(["5", "7"]), pl.Decimal(38, 0), pl.Int8(), pl.Float64(), pl.UInt64()]
    for kind in kinds:
        values = pl.Series(["5", "7"]) if isinstance(kind, pl.Categorical | pl.Enum) else pl.Series([5, 7])
        frame = pl.DataFrame({"item_id": values.cast(kind), "title": ["A", "B"]})
        frame.write_parquet(tmp_path / "a.parquet")
        items, _ = read_items(open_table(tmp_path / "a.parquet"), ColumnSettings(), {})
        assert items["item_id"].to_list() == ["5", "7"], kind

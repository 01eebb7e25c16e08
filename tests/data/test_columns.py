"""Names of columns that are known, and doubt that is told."""

import logging

import pytest

from h2rec.data.interactions import read_interactions
from h2rec.data.prepare import prepare
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings, DataSettings
from h2rec.errors import DataError

TIMES = (
    *("timestamp", "event_time", "event_timestamp", "t_dat", "reviewTime", "review_date", "order_date"),
    *("played_at", "unix_timestamp", "time_ms", "InvoiceDate", "purchased_at", "created_at", "CreatedAt"),
    *("Transaction Date", "date", "ts", "datetime", "eventdate"),
)
ITEMS = ("sku", "StockCode", "article_id", "product_id", "Product ID", "track_id", "movieId", "asin", "SKU")
USERS = ("customer_id", "CustomerID", "visitorid", "Customer Id", "client_id", "session_id", "reviewerID")


def order_of(path, header: str) -> list[str]:
    path.write_text(f"{header}\n" + "".join(f"u,i{n},{1_600_000_000 - n}\n" for n in range(4)))
    rows = read_interactions(open_table(path), ColumnSettings(), {})
    return rows.sort("time")["item"].cast(str).to_list()


@pytest.mark.parametrize("name", TIMES)
def test_times(tmp_path, name):
    assert order_of(tmp_path / "a.csv", f"user_id,item_id,{name}") == ["i3", "i2", "i1", "i0"]


@pytest.mark.parametrize("name", ITEMS)
def test_items(tmp_path, name):
    assert order_of(tmp_path / "a.csv", f"user_id,{name},timestamp") == ["i3", "i2", "i1", "i0"]


@pytest.mark.parametrize("name", USERS)
def test_users(tmp_path, name):
    assert order_of(tmp_path / "a.csv", f"{name},item_id,timestamp") == ["i3", "i2", "i1", "i0"]


@pytest.mark.parametrize(
    ("header", "taken", "other"),
    [
        ("user_id,item_id,created_at,event_time", "event_time", "created_at"),
        ("user_id,sku,product_id,timestamp", "product_id", "sku"),
        ("user_id,customer_id,item_id,timestamp", "user_id", "customer_id"),
    ],
)
def test_of_several_obvious_names_the_choice_is_told(tmp_path, caplog, header, taken, other):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n1,2,3,4\n")
    read_interactions(open_table(path), ColumnSettings(), {})
    assert f"'{taken}' is read as the" in caplog.text
    assert f"not '{other}'" in caplog.text


def test_a_second_best_name_is_no_rival(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="h2rec")
    path = tmp_path / "a.csv"
    path.write_text("user_id,session_id,parent_asin,asin,timestamp\n1,2,3,4,5\n")
    read_interactions(open_table(path), ColumnSettings(), {})
    assert not caplog.text


def test_names_that_differ_in_case_alone_leave_doubt(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,Item_ID,item_id\nu,a,b\n")
    with pytest.raises(
        DataError, match=r"'Item_ID' and 'item_id' are both obviously the item\n.*columns\.item"
    ):
        read_interactions(open_table(path), ColumnSettings(), {})
    assert read_interactions(open_table(path), ColumnSettings(item="item_id"), {})["item"].to_list() == ["b"]


def test_the_order_of_the_file_is_told_and_what_could_be_a_time_is_named(tmp_path, caplog):
    path = tmp_path / "a.csv"
    path.write_text("user,item,zeit,updated,price,n\nu,a,2024-01-01,x,5,1600000000\nu,b,,x,6,1600000001\n")
    report = prepare(DataSettings(interactions=path)).report
    assert report["time_order"] == "order of the file"
    assert report["time_like_columns"] == ["zeit", "updated", "n"]
    order = "no time column was found: the order of the file is the order in time"
    sentence = f"{order}; data.columns.timestamp could name zeit, updated, n"
    assert report["warnings"] == [sentence]
    assert sentence in caplog.text


def test_the_hint_for_an_unknown_column_tells_the_separator(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id;item_id;a,b\nu;i;1,5\n")
    with pytest.raises(
        DataError, match=r"fields are separated by ',', and data\.separator names something else"
    ):
        prepare(DataSettings(interactions=path))
    data = prepare(DataSettings(interactions=path, separator=";"))
    assert data.items["item_id"].to_list() == ["i"]

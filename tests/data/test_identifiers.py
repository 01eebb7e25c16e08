"""Ids as databases, pandas and spreadsheets write them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.interchange import read_codes
from h2rec.text.encoders.precomputed import read_precomputed


def prepared(folder: Path, interactions: str, items: str | None = None):
    (folder / "i.csv").write_text(interactions)
    if items is not None:
        (folder / "items.csv").write_text(items)
    return prepare(
        DataSettings(interactions=folder / "i.csv", items=None if items is None else folder / "items.csv")
    )


def rows(*lines: str) -> str:
    return "\n".join(["user_id,item_id,timestamp", *lines]) + "\n"


def test_blanks_around_ids_are_no_part_of_them(tmp_path):
    interactions = rows("u ,i1,1", "u,i1  ,1", " u,i2,2")
    data = prepared(tmp_path, interactions, "item_id,title\ni1  ,One\n i1,Two\ni2,Three\n")
    assert list(data.user_ids) == ["u"]
    assert data.items.rows() == [("i1", "One"), ("i2", "Three")]
    assert data.report["duplicate_interactions"] == 1
    assert (data.report["duplicate_item_rows"], data.report["conflicting_item_rows"]) == (1, 1)


def test_blanks_in_json_and_parquet(tmp_path):
    frame = pl.DataFrame({"user_id": ["u ", "u"], "item_id": ["i1", " i1"], "timestamp": [1, 2]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")
    for name in ("a.parquet", "a.jsonl"):
        data = prepare(DataSettings(interactions=tmp_path / name))
        assert (data.user_count, data.item_count) == (1, 1)


def test_blanks_in_files_of_codes_and_of_ids_beside_embeddings(tmp_path):
    codes = tmp_path / "a.index.json"
    codes.write_text('{"i1  ": ["<a_1>", "<b_2>"], " i2": ["<a_0>", "<b_0>"]}')
    assert read_codes(codes, ["i1", "i2"]).codes.tolist() == [[1, 2], [0, 0]]
    codes.write_text('{"i1  ": [1, 2], "i1": [1, 2]}')
    assert read_codes(codes, ["i1"]).codes.tolist() == [[1, 2]]
    codes.write_text('{"i1  ": [1, 2], "i1": [1, 3]}')
    with pytest.raises(SemanticIdError, match="item 'i1' occurs twice, with other codes"):
        read_codes(codes, ["i1"])
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    (tmp_path / "v.ids.txt").write_text("i2  \n i1\n")
    vectors, _, _ = read_precomputed(tmp_path / "v.npy", ["i1", "i2"])
    assert vectors.tolist() == [[0, 1], [1, 0]]


def test_ids_that_are_all_whole_floats_meet_the_whole_numbers_of_other_files(tmp_path):
    data = prepared(tmp_path, rows("1.0,17850.0,1", "2.0,3.0,2"), "item_id,title\n17850,A\n3,B\n")
    assert list(data.user_ids) == ["1", "2"]
    assert data.report["items_not_in_item_file"] == 0
    kept = prepared(tmp_path, rows("v1.0,1.0,1", "v1.0,x,2"))
    assert (list(kept.user_ids), kept.items["item_id"].to_list()) == (["v1.0"], ["1.0", "x"])


@pytest.mark.parametrize("word", ["nan", "None", "NULL", "\\N", "<NA>"])
def test_words_for_nothing_are_no_ids(tmp_path, word):
    data = prepared(tmp_path, rows(f"{word},a,1", f"u,{word},2", "u,b,3"), f"item_id,title\n{word},A\nb,B\n")
    assert (list(data.user_ids), data.items["item_id"].to_list()) == (["u"], ["b"])
    assert data.report["rows_without_user_or_item"] == 2
    assert data.report["warnings"] == [
        "2 rows were dropped, as their id is a word for nothing, such as nan or NULL",
        "1 rows of the item file were dropped, as their id is a word for nothing, such as nan or NULL",
    ]


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        (("1.0,a,1", "1,a,2"), "1 users are written both as whole numbers and with .0, and count as two"),
        (
            ("u,1.2E+17,1", "u,b,2"),
            "1 items are written as rounded numbers, such as 1.2E+17, and may be several",
        ),
        (("u,a,0", "u,b,1700000000"), "1 times lie before 1973: are they missing ones?"),
    ],
)
def test_what_looks_like_an_accident_is_told(tmp_path, lines, warning):
    assert prepared(tmp_path, rows(*lines)).report["warnings"] == [warning]


def test_an_item_file_of_mostly_other_items_is_told(tmp_path):
    data = prepared(tmp_path, rows("u,7,1", "u,007,2", "u,08,3"), "item_id,title\n7,A\n8,B\n")
    assert data.report["warnings"] == ["the item file does not have 2 of 3 items: do the ids agree?"]

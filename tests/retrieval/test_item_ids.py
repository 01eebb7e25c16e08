"""Ids as callers have them: whole numbers are their texts, and what is no list of ids is refused."""

import difflib

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from h2rec.errors import DataError
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.item_ids import as_item_id, as_item_ids
from h2rec.retrieval.recommender import Recommender
from made_bundles import made_items, make_bundle


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A catalogue with the ids 0 to 59."""
    items = made_items().with_columns(pl.col("item_id").str.slice(1))
    return Recommender.load(make_bundle(tmp_path_factory.mktemp("numbered") / "bundle", items=items))


def names(answer):
    return [item.item_id for item in answer.items]


@pytest.mark.parametrize(
    "history",
    [
        [3, 17, 4],
        ("3", 17.0, np.int64(4)),
        [" 3", "17  ", "4\t"],
        np.array([3, 17, 4]),
        np.array([3, 17, 4], dtype=np.uint16),
        np.array([3.0, 17.0, 4.0]),
        np.array(["3", "17", "4"]),
        np.array([3, "17", 4], dtype=object),
        pl.Series([3, 17, 4]),
        pa.array([3, 17, 4]),
        pa.chunked_array([["3", "17"], ["4"]]),
        (item for item in (3, 17, 4)),
    ],
    ids=lambda history: f"{type(history).__module__}.{type(history).__name__}",
)
def test_numbers_and_columns_are_answered_as_their_texts(numbered, history):
    answer = numbered.recommend(history, 5)
    assert answer == numbered.recommend(["3", "17", "4"], 5)
    assert (answer.unknown, answer.from_popularity) == ([], False)


def test_pandas_columns_are_answered_as_their_texts(numbered):
    pandas = pytest.importorskip("pandas")
    for history in (
        pandas.Series([3, 17, 4]),
        pandas.Series([3, 17, 4], dtype="Int64"),
        pandas.Index(["3", "17", "4"]),
    ):
        assert names(numbered.recommend(history, 5)) == names(numbered.recommend(["3", "17", "4"], 5))
    with pytest.raises(DataError, match="history, entry 2: expected a text or a whole number, found none"):
        numbered.recommend(pandas.Series([3, None, 4]))  # which pandas holds as 3.0, NaN, 4.0
    with pytest.raises(DataError, match=r"entry 2: .* it is missing"):
        numbered.recommend(pandas.Series([3, None, 4], dtype="Int64"))
    with pytest.raises(DataError, match="expected a list of item ids, found DataFrame"):
        numbered.recommend(pandas.DataFrame({"3": [1]}))


@pytest.mark.parametrize(
    "history", ["12", b"12", 12, None, {"3": 1}, {"3", "4"}, 3.5, pl.DataFrame({"3": [4]})]
)
def test_what_is_no_list_is_refused(numbered, history):
    with pytest.raises(DataError, match="history: expected a list of item ids"):
        numbered.recommend(history)


@pytest.mark.parametrize(
    "entry", [None, float("nan"), 3.5, True, np.bool_(True), ["3"], b"3", float("inf"), 2.0**60]
)
def test_what_is_no_id_is_refused(numbered, entry):
    with pytest.raises(DataError, match="history, entry 2: expected a text or a whole number"):
        numbered.recommend(["3", entry])
    with pytest.raises(DataError, match="item id: expected a text or a whole number"):
        numbered.similar(entry)


def test_the_other_questions_take_numbers_too(numbered):
    assert numbered.similar(10, 3) == numbered.similar("10", 3) == numbered.similar(np.int32(10), 3)
    assert numbered.fields(10) == numbered.fields("10")
    assert names(numbered.recommend_batch([[3, 4], pl.Series([17])], 4)[1]) == names(
        numbered.recommend(["17"], 4)
    )
    deny = [int(item) for item in names(numbered.recommend([3], 2))]
    left = numbered.recommend([3], 5, filter=ItemFilter.make(deny=deny, allow=range(60)))
    assert names(left) == names(numbered.recommend([3], 7))[2:]
    for wrong in ({"deny": "i1"}, {"allow": "i1"}, {"where": {"category": "razor"}}):
        with pytest.raises(DataError, match="expected a list of item ids"):
            ItemFilter.make(**wrong)


@pytest.mark.parametrize("k", [5.0, "5", None, 5.5])
def test_k_that_is_no_whole_number_is_refused(numbered, k):
    for ask in (lambda: numbered.recommend(["3"], k), lambda: numbered.similar("3", k)):
        with pytest.raises(DataError, match="it must be a whole number"):
            ask()
    assert len(numbered.recommend(["3"], np.int64(5)).items) == 5


def test_new_items_have_their_ids_as_texts_without_blanks(numbered, tmp_path, caplog):
    titles = ["gentle shampoo dry"] * 4
    for ids in ([5, 100, 101, 100], [5.0, 100.0, 101.0, 100.0], [" 5", "100 ", "101", "100"]):
        out = tmp_path / str(ids)
        growth = add_items(numbered.bundle, pl.DataFrame({"item_id": ids, "title": titles}), out)
        assert ([item.item_id for item in growth.added], growth.existing) == (["100", "101"], ["5"])
        assert "1 rows are of items that stand above them" in caplog.text
        caplog.clear()
    for ids, told in (
        ([1, None], "row 2: the item id is missing"),
        (["a", " "], "row 2"),
        ([[1], [2]], "not texts"),
    ):
        with pytest.raises(DataError, match=told):
            add_items(numbered.bundle, pl.DataFrame({"item_id": ids, "title": titles[:2]}), tmp_path / "none")
    with pytest.raises(DataError, match="no column 'item_id'"):
        add_items(numbered.bundle, pl.DataFrame({"title": titles}), tmp_path / "none")


def test_an_unknown_item_is_told_without_looking_through_the_catalogue(recommender, monkeypatch):
    monkeypatch.setattr(difflib, "get_close_matches", None)
    with pytest.raises(DataError, match="unknown item 'i999'") as error:
        recommender.similar("i999")
    assert error.value.hint == "ids look like: i0, i1, i2"


def test_a_large_catalogue_is_not_compared_name_by_name(recommender, monkeypatch):
    from h2rec.retrieval import catalogue

    monkeypatch.setattr(catalogue, "_COMPARED", 59)
    assert recommender.nearest_ids("i333") == []


def test_texts_by_hand():
    assert as_item_ids([]) == []
    assert as_item_ids({"b"}, ordered=False) == ["b"]
    assert [as_item_id(value) for value in (7, 7.0, -0.0, "7.0", np.float32(7), pa.scalar(7))] == [
        "7", "7", "0", "7.0", "7", "7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "hint"), [(1042, r"\[1042\]"), ("i1", r"\['i1'\]"), ({"i1"}, r"such as \['42'\]")]
)
def test_a_single_id_is_shown_as_a_list(given, hint):
    with pytest.raises(DataError, match=f"expected a list of item ids(.|\n)*hint: .*{hint}"):
        as_item_ids(given)

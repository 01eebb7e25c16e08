"""Every index lists what the exact scan lists: alone, under filters, beside counts, with items that are new."""

import logging
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.errors import ConfigError, UnavailableError
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.filters import Allowed, ItemFilter
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.index import IndexSettings, ItemIndex
from h2rec.retrieval.indexes import INDEXES, milvus
from h2rec.retrieval.indexes.in_process import Flat
from h2rec.retrieval.indexes.milvus import expression
from h2rec.retrieval.indexes.protocol import IndexedItems, IndexKind, VectorIndex
from h2rec.retrieval.recommender import Recommender
from h2rec.retrieval.scoring import ItemScorer
from made_bundles import made_items, make_bundle

pytest.importorskip("faiss", reason="the extra 'faiss' is not installed")
pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")

ODD = 'a "razor" \\ für %s'
HISTORIES = [["i3"], ["i3", "i10", "i17"], ["i59", "i3", "i0", "i7"], ["i30", "i1"]]
FILTERS = {
    "none": {},
    "values": {"where": {"category": ["shampoo", ODD]}},
    "two fields": {"where": {"category": ["shampoo", "lipstick"], "brand name": ["b1"]}},
    "a quote": {"where": {"category": [ODD]}},
    "only": {"allow": [f"i{row}" for row in range(5, 30)]},
    "never": {"deny": ["i3", "i4", "i44"]},
    "all of it": {
        "where": {"category": ["shampoo", "perfume"]},
        "deny": ["i0"],
        "allow": ["i0", "i2", "i4", "i6"],
    },
    "nothing": {"where": {"category": []}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    items = made_items().with_columns(
        pl.col("category").replace("razor", ODD),
        pl.Series("brand name", [f"b{row % 3}" if row % 5 else None for row in range(60)]),
    )
    return make_bundle(tmp_path_factory.mktemp("indexed") / "bundle", items=items)


@pytest.fixture
def uri(tmp_path):
    return f"milvus:{tmp_path}/lite.db/items"


def settings_of(kind, uri):
    """Settings that ask the index whatever a filter leaves."""
    own = {"uri": uri, "index_type": "FLAT", "timeout": 60} if kind == "milvus" else {}
    return IndexSettings(kind={"name": kind, **own}, exact_up_to=10)


class Near(float):
    """A score: what a product of another shape rounds otherwise is the same."""

    __hash__ = None

    def __eq__(self, other):
        return abs(self - other) < 1e-4


def listed(recommender, values, **more):
    answers = recommender.recommend_batch(HISTORIES, 12, filter=ItemFilter.make(**values), **more)
    return [[(item.item_id, Near(item.score)) for item in answer.items] for answer in answers]


@pytest.mark.parametrize("kind", ["flat", "milvus"])
def test_an_index_lists_what_the_scan_lists(folder, kind, uri):
    exact, other = Recommender.load(folder), Recommender.load(folder, settings_of(kind, uri))
    for values in FILTERS.values():
        assert listed(other, values) == listed(exact, values), values
        balanced = listed(exact, values, tail_share=0.9)
        assert listed(other, values, tail_share=0.9) == balanced, values


def test_a_collection_is_found_by_the_next_start(folder, uri):
    settings = settings_of("milvus", uri)
    script = (
        "import sys; from pathlib import Path; from h2rec.retrieval.index import IndexSettings; "
        "from h2rec.retrieval.recommender import Recommender; "
        "settings = IndexSettings.model_validate_json(sys.argv[2]); "
        "print(len(Recommender.load(Path(sys.argv[1]), settings).recommend(['i3'], 5).items))"
    )
    for _ in range(2):  # Milvus Lite ends with its process
        command = [sys.executable, "-c", script, str(folder), settings.model_dump_json()]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout) == (0, "5\n"), ended.stderr[-2000:]
    exact = Recommender.load(folder)
    assert listed(Recommender.load(folder, settings), {}) == listed(exact, {})


@pytest.mark.parametrize("kind", ["flat", "ivf", "milvus"])
def test_new_items_go_into_the_index_that_is_there(folder, kind, uri, tmp_path, monkeypatch):
    settings = settings_of(kind, uri)
    before = Recommender.load(folder, settings)
    texts = {"title": "gentle shampoo dry", "category": "soap", "brand name": "b1"}
    new = pl.DataFrame([{"item_id": f"new{row}", **texts} for row in range(3)])
    add_items(before.bundle, new, tmp_path / "grown")
    bundle = Bundle.load(tmp_path / "grown")
    held = listed(before, {})
    if kind != "milvus":  # which finds its collection again
        monkeypatch.setattr(INDEXES.get(kind), "build", None)
    after = Recommender(bundle, settings, before=before)
    exact = Recommender(bundle)
    for values in (FILTERS["none"], {"where": {"category": ["soap", "shampoo"]}}, FILTERS["never"]):
        assert listed(after, values) == listed(exact, values), values
    found = [
        item.item_id
        for item in after.recommend(["i3"], 3, filter=ItemFilter.make(where={"category": ["soap"]})).items
    ]
    assert sorted(found) == ["new0", "new1", "new2"]
    assert listed(before, {}) == held  # it goes on as it was, until nobody asks it


def test_the_collection_is_found_again_and_a_broken_filling_is_gone_on_with(folder, uri, monkeypatch, caplog):
    class PulledError(Exception):
        pass

    real = milvus.vector_table

    def broken(catalogue, vectors, *, first):
        table = real(catalogue, vectors, first=first)

        def some():
            yield next(table.batches).head(25)
            raise PulledError

        return type(table)(table.schema, table.shape, some())

    monkeypatch.setattr(milvus, "vector_table", broken)
    with pytest.raises(PulledError):
        Recommender.load(folder, settings_of("milvus", uri))
    written = []

    def watched(catalogue, vectors, *, first):
        written.append(first)
        return real(catalogue, vectors, first=first)

    monkeypatch.setattr(milvus, "vector_table", watched)
    settings, exact = settings_of("milvus", uri), Recommender.load(folder)
    for first in (26, 61):
        recommender = Recommender.load(folder, settings)
        assert written == [first]
        assert listed(recommender, {}) == listed(exact, {})
        written.clear()
    index = recommender.index.vector_index
    assert [name.rsplit("_", 1)[0] for name in index.client.list_collections()] == ["items_60"]
    # Another training: a collection of its own, and the one before stays for who serves it.
    other = Recommender.load(make_bundle(folder.parent / "other", seed=1), settings)
    assert len(index.client.list_collections()) == 2
    assert "older collections, to be dropped when nobody serves them: items_60_" in caplog.text
    assert listed(recommender, {}) == listed(exact, {}) != listed(other, {})


def test_marks_alone_become_the_shorter_list_of_numbers():
    marks = np.array([False, True, False, True, True, False])
    assert expression(Allowed(marks)) == "item_index not in [2, 5]"
    marks[4] = False
    assert (
        expression(Allowed(marks[:5])) == "item_index in [1, 3]"
        or expression(Allowed(marks)) == "item_index in [1, 3]"
    )


def test_who_does_not_answer_is_unavailable(folder, uri, monkeypatch):
    recommender = Recommender.load(folder, settings_of("milvus", uri))
    recommender.index.vector_index.client.drop_collection(recommender.index.vector_index.collection)
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    with pytest.raises(UnavailableError, match=r"lite.db/items: .*\n  hint: is it up"):
        recommender.recommend(["i3"])


def test_an_index_that_is_none_and_settings_that_are_none():
    with pytest.raises(ConfigError, match=r"unknown index 'milvsu'.*\n.*did you mean 'milvus'"):
        IndexSettings.parse({"kind": "milvsu"})
    with pytest.raises(ConfigError, match="uri"):
        IndexSettings.parse({"kind": "milvus"})


def test_an_index_of_ones_own():
    class OwnSettings(IndexKind):
        name: str = "mine"
        turned: bool = False
        """Whether the worst are proposed."""

    @INDEXES.register("mine")
    class Own(VectorIndex):
        settings_class = OwnSettings

        @classmethod
        def build(cls, items, settings, users):
            own = cls()
            own.inner, own.sign = Flat.build(items, None, None), -1 if settings.turned else 1
            return own

        def search(self, users, count, allowed=None, *, spare=0):
            return self.inner.search(self.sign * users, count, allowed, spare=spare)

        def upsert(self, items, first):
            return self

    try:
        vectors = np.arange(20, dtype=np.float32).reshape(10, 2)
        scorer, user = ItemScorer(vectors, (2,)), torch.ones(1, 2)
        assert ItemIndex(scorer, IndexSettings(kind="mine")).search(user, 2)[0].tolist() == [[9, 8]]
        turned = IndexSettings.parse({"kind": {"name": "mine", "turned": True}, "exact_up_to": 1})
        assert ItemIndex(scorer, turned).search(user, 2)[0].tolist() == [[2, 1]]
        assert len(IndexedItems(vectors)) == 9
    finally:
        del INDEXES._parts["mine"]

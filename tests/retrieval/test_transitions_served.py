"""Transitions beside vectors in what is served: the exact list, whatever the index, its explanation, and new items."""

import numpy as np
import polars as pl
import pytest

from h2rec.data.histories import Histories
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.index import IndexSettings
from h2rec.retrieval.recommender import Recommender
from made_bundles import make_bundle

BOTH = {
    "transitions": {"kind": "transitions", "weight": 2.0},
    "code_transitions": {"kind": "code_transitions", "weight": 0.5},
}
HISTORIES = [["i3"], ["i3", "i10", "i17"], ["i59", "i3", "i3", "i0", "i7", "i14", "i21"], ["i30", "i1"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("transitions") / "bundle", branches=BOTH)


def by_model(recommender, history, k, *, allowed=None, seen=False):
    """Best items by the loaded model itself, which scores the whole catalogue."""
    items = [recommender.catalogue.require(item) for item in history]
    scores = CatalogueScorer(recommender.bundle.model).score(Histories.from_lists([items]), np.array([0]))[0]
    scores = scores.double().numpy().copy()
    scores[0] = -np.inf
    if not seen:
        scores[items] = -np.inf
    if allowed is not None:
        scores[~allowed] = -np.inf
    best = np.argsort(-scores, kind="stable")[:k]
    return [(f"i{item - 1}", scores[item]) for item in best if np.isfinite(scores[item])]


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
@pytest.mark.parametrize("history", HISTORIES, ids=len)
def test_the_list_is_that_of_the_whole_score_whatever_the_index(folder, kind, history):
    recommender = Recommender.load(folder, IndexSettings(kind=kind))
    expected = by_model(recommender, history, 8)
    answer = recommender.recommend(history, 8)
    assert [item.item_id for item in answer.items] == [item for item, _ in expected]
    assert [item.score for item in answer.items] == pytest.approx(
        [s for _, s in expected], rel=1e-4, abs=1e-4
    )
    again = recommender.recommend(history, 8, filter=ItemFilter(seen=True))
    assert [item.item_id for item in again.items] == [
        i for i, _ in by_model(recommender, history, 8, seen=True)
    ]


def test_filters_hold_for_successors_too(folder):
    category = [None, *Recommender.load(folder).catalogue.fields["category"].to_list()]
    allowed = np.array([name == "razor" for name in category])
    # The last one does not scan the few items that a filter leaves.
    for values in ({"kind": "exact"}, {"kind": "hnsw"}, {"kind": "hnsw", "exact_up_to": 10}):
        recommender = Recommender.load(folder, IndexSettings(**values))
        for history in HISTORIES:
            answer = recommender.recommend(
                history, 5, filter=ItemFilter(where=(("category", frozenset({"razor"})),))
            )
            expected = by_model(recommender, history, 5, allowed=allowed)
            assert [item.item_id for item in answer.items] == [item for item, _ in expected]


def test_a_batch_is_its_rows_and_an_unknown_user_gets_what_is_popular(folder):
    recommender = Recommender.load(folder)
    together = recommender.recommend_batch([*HISTORIES, [], ["nobody"]], 6)
    alone = [recommender.recommend(history, 6) for history in [*HISTORIES, [], ["nobody"]]]
    for one, other in zip(together, alone, strict=True):
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
    assert [item.item_id for item in alone[-1].items] == ["i0", "i1", "i2", "i3", "i4", "i5"]


def test_an_explanation_tells_what_the_counts_add(folder):
    recommender = Recommender.load(folder)
    answer = recommender.recommend(["i3", "i10"], 10, explain=True)
    for item in answer.items:
        assert sum(item.explanation.branches.values()) == pytest.approx(item.score, abs=1e-3)
    assert any(item.explanation.branches["transitions"] > 0 for item in answer.items)
    assert recommender.similar("i3", 3)[0].item_id != "i3"


def test_a_new_item_follows_what_its_kind_follows(folder, tmp_path):
    before = Recommender.load(folder)
    twin = before.fields("i10")
    add_items(
        before.bundle, pl.DataFrame({"item_id": ["new"], **{k: [v] for k, v in twin.items()}}), tmp_path / "b"
    )
    after = Recommender.load(tmp_path / "b")
    ranked = {item.item_id: item for item in after.recommend(["i3"], 60, explain=True).items}
    known = {item.item_id: item for item in before.recommend(["i3"], 60, explain=True).items}
    assert ranked["new"].explanation.branches["transitions"] == 0
    for item_id, item in known.items():
        assert ranked[item_id].score == pytest.approx(item.score, abs=1e-5)

    def kind(item_id):
        return after.catalogue.codes(after.catalogue.require(item_id))[:2]

    same = {
        round(item.explanation.branches["code_transitions"], 4)
        for item_id, item in known.items()
        if kind(item_id) == kind("new")
    }
    assert same == {round(ranked["new"].explanation.branches["code_transitions"], 4)}

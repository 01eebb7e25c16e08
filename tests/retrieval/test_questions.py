"""Filters, quotas, explanations and similar items, through the recommender."""

import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.errors import DataError
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.answers import Query, as_json
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.recommender import Recommender
from made_bundles import make_bundle

HISTORY = ["i3", "i17", "i4"]
COUNTED = {"followers", "predecessors", "kinds", "similar_text", "similar_vectors"}


def ids(answer):
    return [item.item_id for item in answer.items]


@pytest.fixture(scope="module")
def everything(recommender):
    return ids(recommender.recommend(HISTORY, 60))


def test_allow_and_deny(recommender, everything):
    allow = ItemFilter.make(allow=["i9", "i20", "i33", "nothing", "i3"])
    assert ids(recommender.recommend(HISTORY, 10, filter=allow)) == [
        item for item in everything if item in ("i9", "i20", "i33")
    ]
    deny = ItemFilter.make(deny=[everything[0], everything[2], "nothing"])
    assert ids(recommender.recommend(HISTORY, 5, filter=deny)) == [everything[n] for n in (1, 3, 4, 5, 6)]
    assert ids(recommender.recommend(HISTORY, 5, filter=ItemFilter.make(allow=[]))) == []


def test_by_attribute(recommender, everything):
    where = ItemFilter.make(where={"category": ["razor", "perfume"]})
    answer = recommender.recommend(HISTORY, 60, filter=where)
    assert ids(answer) == [item for item in everything if int(item[1:]) % 4 in (2, 3)]
    both = ItemFilter.make(where={"category": ["razor"]}, deny=ids(answer)[:1], allow=ids(answer)[:9])
    assert set(ids(recommender.recommend(HISTORY, 60, filter=both))) <= set(ids(answer)[1:9])
    with pytest.raises(DataError, match="did you mean 'category'"):
        recommender.recommend(HISTORY, filter=ItemFilter.make(where={"categry": ["razor"]}))


@pytest.mark.parametrize(
    ("values", "hint"), [(["Razr"], "did you mean 'razor'"), (["9"], "there are: lipstick, perfume, razor")]
)
def test_a_value_that_no_item_has_is_told(recommender, values, hint):
    with pytest.raises(DataError, match=f"no item has the category '{values[0]}'\n.*{hint}"):
        recommender.recommend(HISTORY, filter=ItemFilter.make(where={"category": values}))
    # A value of several may have left the catalogue; and none at all is a wish as well.
    some = ItemFilter.make(where={"category": [*values, "razor"]})
    assert recommender.recommend(HISTORY, filter=some).items
    assert not recommender.recommend(HISTORY, filter=ItemFilter.make(where={"category": []})).items


def test_filters_hold_for_popular_items_too(recommender):
    where = ItemFilter.make(where={"category": ["lipstick"]})
    assert ids(recommender.recommend([], 3, filter=where)) == ["i1", "i5", "i9"]
    assert ids(recommender.recommend([], 10, tail_share=0.3)) == [
        f"i{n}" for n in (0, 1, 2, 3, 4, 5, 6, 12, 13, 14)
    ]


def test_seen_items_come_again_where_asked_for(recommender):
    answer = recommender.recommend(HISTORY, 60, filter=ItemFilter.make(seen=True))
    assert len(answer.items) == 60


def test_the_quota_brings_tail_items_in_by_their_score(recommender, everything):
    plain = recommender.recommend(HISTORY, 20)
    tails = [item for item in plain.items if not item.head]
    share = (len(tails) + 1) / 20
    answer = recommender.recommend(HISTORY, 20, tail_share=share)
    assert sum(not item.head for item in answer.items) == len(tails) + 1
    dropped = set(ids(plain)) - set(ids(answer))
    (new,) = set(ids(answer)) - set(ids(plain))
    assert dropped == {[item.item_id for item in plain.items if item.head][-1]}
    assert new == next(item for item in everything if item not in ids(plain) and int(item[1:]) >= 12)
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(recommender, share):
    with pytest.raises(DataError, match="between 0 and 1"):
        recommender.recommend(HISTORY, tail_share=share)


def test_questions_of_different_kinds_are_answered_as_one_by_one(recommender):
    queries = [
        Query(HISTORY, 3),
        Query([], 5, ItemFilter.make(deny=["i0"])),
        Query(["i9"], 60, ItemFilter.make(where={"category": ["razor"]}), 0.5, True),
        Query(HISTORY, 9, tail_share=0.9),
        Query(["i1"], 1, explain=True),
    ]
    for query, answer in zip(queries, recommender.answer(queries), strict=True):
        (alone,) = recommender.answer([query])
        assert ids(answer) == ids(alone)
        assert [i.score for i in answer.items] == pytest.approx([i.score for i in alone.items], rel=1e-4)


@pytest.mark.parametrize("made", ["recommender", "fused"])
def test_an_explanation_adds_up_to_the_score(made, request):
    recommender = request.getfixturevalue(made)
    answer = recommender.recommend(HISTORY, 20, explain=True)
    model = recommender.bundle.model
    items = torch.tensor([[4, 18, 5]])
    with torch.inference_mode():
        states = model(items, torch.tensor([3]), torch.tensor([[False, False, True]]))
        vectors = model.item_vectors(torch.arange(61))
    if made == "fused":
        assert sum(answer.alpha) == pytest.approx(1)
        assert len(answer.alpha) == 3
        assert answer.alpha == pytest.approx(states.alpha[0, 2].tolist(), rel=1e-4)
        assert model.branch_names == ("codes", "ids", "prefixes")
    else:
        assert (answer.alpha, states.alpha) == (None, None)
    whole = CatalogueScorer(model).branch_scores(Histories.from_lists([[4, 18, 5]]), np.arange(1))
    counted = dict(zip(model.branch_names, whole, strict=True))
    assert {
        name for name, user in zip(model.branch_names, states.vectors, strict=True) if not user.numel()
    } == (COUNTED if made == "recommender" else set())
    codes = recommender.bundle.semantic_ids.codes
    for item in answer.items:
        number = int(item.item_id[1:]) + 1
        expected = {
            name: float(user[0] @ of_items[number]) if user.numel() else float(counted[name][0, number])
            for name, user, of_items in zip(model.branch_names, states.vectors, vectors, strict=True)
        }
        assert item.explanation.branches == pytest.approx(expected, abs=1e-3)
        assert sum(item.explanation.branches.values()) == pytest.approx(item.score, abs=1e-3)
        assert item.codes == codes[number - 1].tolist()
        for reason in item.explanation.reasons:
            if reason.kind != "codes":
                assert made == "recommender"
                continue
            other, levels = codes[int(reason.item_id[1:])], int(reason.strength)
            assert (other[:levels] == item.codes[:levels]).all()
            assert levels == 3 or other[levels] != item.codes[levels]
    kinds = {reason.kind for item in answer.items for reason in item.explanation.reasons}
    assert kinds == {"codes"} if made == "fused" else "kind_goes_with" in kinds
    assert "explanation" not in as_json(recommender.recommend(HISTORY, 2))["items"][0]
    assert recommender.recommend([], 2, explain=True).items[0].explanation is None


def test_a_model_without_codes_explains_what_it_has(tmp_path):
    recommender = Recommender.load(make_bundle(tmp_path / "bundle", preset="sasrec"))
    answer = recommender.recommend(HISTORY, 3, explain=True)
    assert answer.alpha is None
    assert answer.items[0].explanation.branches == {"ids": pytest.approx(answer.items[0].score, abs=1e-3)}


@pytest.mark.parametrize(
    ("made", "branch", "columns"),
    [
        ("recommender", None, slice(0, 20)),
        ("recommender", "ids", slice(0, 8)),
        ("fused", None, slice(0, 40)),
        ("fused", "codes", slice(0, 24)),
    ],
)
def test_similar_items_by_cosine(made, branch, columns, request):
    recommender = request.getfixturevalue(made)
    vectors = np.asarray(recommender.bundle.item_vectors)[1:, columns].astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit[8]
    cosines[8] = -2
    found = recommender.similar("i8", 4, branch=branch)
    assert [item.score for item in found] == pytest.approx(sorted(cosines, reverse=True)[:4], rel=1e-4)
    assert "i8" not in [item.item_id for item in found]


def test_similar_tells_mistakes(recommender):
    with pytest.raises(DataError, match="unknown item 'i99'"):
        recommender.similar("i99")
    with pytest.raises(DataError, match="no branch 'text'"):
        recommender.similar("i9", branch="text")
    with pytest.raises(DataError, match="at least 1"):
        recommender.similar("i9", 0)


def test_items_are_found_by_words_of_their_text_most_popular_first(recommender):
    catalogue = recommender.catalogue
    found = [catalogue.item_ids[item - 1] for item in catalogue.find("RAZOR  travel", 10)]
    expected = [n for n in range(60) if n % 4 == 3 and "travel" in catalogue.titles([n + 1])[0]]
    assert found == [f"i{n}" for n in expected]
    assert catalogue.find("i33", 10) == [34]
    assert catalogue.find("no such thing", 10) == []
    assert len(catalogue.find("", 7)) == 7


def test_the_code_tree_holds_every_item_once(recommender):
    catalogue = recommender.catalogue
    codes = recommender.bundle.semantic_ids.codes
    top = catalogue.below([])
    assert sum(branch.items for branch in top) == 60
    assert sum(branch.head for branch in top) == 12
    for branch in top:
        below = catalogue.below([branch.code])
        assert sum(b.items for b in below) == branch.items == int((codes[:, 0] == branch.code).sum())
        members = catalogue.members([branch.code], 100)
        assert sorted(members) == (np.flatnonzero(codes[:, 0] == branch.code) + 1).tolist()
        assert branch.examples == catalogue.titles(members[:3])
    with pytest.raises(DataError, match="whole tuple"):
        catalogue.below(codes[0].tolist())
    assert catalogue.below([77]) == []

"""Similarity of texts: scores by the formula, reasons, equal and missing texts, large catalogues and new items."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_forms import branches

from h2rec.data.histories import Histories
from h2rec.models import likeness
from h2rec.models.branches import similar
from h2rec.models.branches.transitions import RECENT_DECAY
from h2rec.models.build import build_model, grown_model, model_for_weights
from h2rec.models.features import NewItems
from h2rec.models.neighbours import nearest_in_text
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.weights import weights_of
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.testing import check_branch

FORM = branches(alike={"kind": "similar_text", "weight": 0.5})


def test_every_promise_of_a_branch():
    check_branch("similar_text")


def made(build, features, text, **changes):
    return build(replace(features, text=text, **changes), **FORM)


def texts(features, seed=0):
    return np.random.default_rng(seed).normal(size=(features.item_count, 8)).astype(np.float32)


def scores(model, *histories):
    return CatalogueScorer(model).score(Histories.from_lists(histories), np.arange(len(histories)))


def shares_of(text, nearest):
    """Share of every other item in each one's likeness, and its own, `[N, N]`, in double precision."""
    unit = text.astype(np.float64) / np.linalg.norm(text, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    least = np.sort(cosines, axis=1)[:, [-nearest]]
    found = np.where(cosines >= least, np.exp(cosines / likeness.TEMPERATURE), 0.0)
    found /= found.sum(axis=1, keepdims=True)
    np.fill_diagonal(found, found.max(axis=1))
    return found


def test_scores_by_the_formula(build, features, monkeypatch):
    monkeypatch.setattr(similar, "NEAREST", 6)
    text = texts(features)
    model = made(build, features, text)
    shares = shares_of(text, 6)
    sums = sum(RECENT_DECAY**back * shares[item - 1] for back, item in enumerate([7, 6, 5, 4, 3]))
    expected = 0.5 * np.log1p(300 * sums)
    found = scores(model, [1, 2, 3, 4, 5, 6, 7], [3])
    torch.testing.assert_close(found[0, 1:], torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)
    assert int((found[1] > 0).sum()) == 7
    best = torch.nonzero(found[1] == found[1].max()).flatten().tolist()
    assert len(best) == 2  # as much like itself as like the nearest
    assert 3 in best


def test_items_of_a_small_catalogue_are_like_all_others(build, features):
    few = replace(features, text=texts(features), has_text=np.arange(features.item_count) < 4)
    found = scores(build(few, **FORM), [1])[0]
    assert torch.nonzero(found).flatten().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [8, 3])
def test_of_a_large_catalogue_regions_are_compared(size, monkeypatch):
    """Texts of one subject are together; of regions that hold too few more are looked into."""
    random = np.random.default_rng(0)
    subjects = np.repeat(np.eye(12, dtype=np.float32), 10, axis=0)
    text = (subjects + random.normal(size=subjects.shape, scale=0.05)).astype(np.float32)
    items = np.arange(1, 121)
    expected = likeness.alike(text, items, 122, 7)
    monkeypatch.setattr(likeness, "ALL_UP_TO", 100)
    monkeypatch.setattr(likeness, "REGION", size)
    monkeypatch.setattr(likeness, "REGIONS", 24 // size)
    compared = [len(others) for _, others in likeness._compared(torch.from_numpy(text), 7)]
    assert len(compared) > 10
    assert max(compared) < 60
    assert min(compared) > 7
    found = likeness.alike(text, items, 122, 7)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    same = found.successors == expected.successors
    assert same.mean() > 0.95
    np.testing.assert_allclose(found.values[same], expected.values[same], rtol=0.1)
    rows = np.repeat(np.arange(122), np.diff(found.offsets))
    assert ((found.successors - 1) // 10 == (rows - 1) // 10).mean() > 0.95


def test_of_equal_texts_each_is_near_to_others():
    text = np.random.default_rng(0).normal(size=(300, 32)).astype(np.float32)
    twins = np.arange(0, 300, 5)
    text[twins] = text[0]
    found = likeness.alike(text, np.arange(1, 301), 301, 20)
    near = np.bincount(found.successors, minlength=301)[1 + twins]
    assert near.min() >= 8
    assert near.max() <= 50


def test_a_text_that_half_of_a_large_catalogue_has_makes_no_large_region(monkeypatch):
    text = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    text[::2] = text[0]
    monkeypatch.setattr(likeness, "ALL_UP_TO", 100)
    monkeypatch.setattr(likeness, "REGION", 20)
    pairs = list(likeness._compared(torch.from_numpy(text), 20))
    assert torch.cat([rows for rows, _ in pairs]).sort().values.tolist() == list(range(1000))
    for rows, others in pairs:
        assert torch.isin(rows, others).all()
        assert len(others.unique()) == len(others)
        assert 20 < len(others) <= 200
    found = likeness.alike(text, np.arange(1, 1001), 1001, 20)
    assert (np.bincount(found.successors, minlength=1001)[1::2] > 0).all()


def test_an_item_without_text_is_like_nothing(build, features):
    described = np.ones(features.item_count, dtype=np.bool_)
    described[4] = False
    text = texts(features)
    model = made(build, features, text, has_text=described)
    text[4] = 0  # nor is one whose embedding is nothing
    for unread in (model, made(build, features, text)):
        assert not scores(unread, [1, 2])[0, 5]
        assert not scores(unread, [5]).any()
    # What is written in its row says nothing, and does not move the others.
    text[4] = 100
    torch.testing.assert_close(
        scores(made(build, features, text, has_text=described), [1]), scores(model, [1])
    )


@pytest.mark.parametrize("described", [None, 1])
def test_without_texts_all_items_score_nothing_and_it_is_said(build, features, described, caplog):
    has_text = None if described is None else np.arange(features.item_count) < described
    text = None if described is None else texts(features)
    model = made(build, features, text, has_text=has_text)
    assert not scores(model, [1, 2]).any()
    assert "no texts to compare" in caplog.text
    again = model_for_weights(model.settings, features.item_count, features.semantic_ids, weights_of(model))
    assert not scores(again, [1, 2]).any()


def test_reasons_are_the_nearest_of_the_latest_items(build, features):
    text = texts(features)
    text[9] = text[2] + 0.01  # item 10 is a twin of item 3
    branch = made(build, features, text).branch_list()[0]
    (reasons,) = branch.reasons([10], [3, 1, 1, 2])
    assert (reasons[0].item, reasons[0].kind) == (3, "similar_text")
    assert sum(reason.strength for reason in reasons) == pytest.approx(1)
    # Six items later it is no longer looked at.
    (late,) = branch.reasons([10], [3, 1, 2, 4, 5, 6])
    assert 3 not in [reason.item for reason in late]
    assert branch.reasons([10], []) == [[]]
    model = build_model(model_settings(build, features, text, weight=0.0), features, seed=0)
    assert model.branch_list()[0].reasons([10], [3]) == [[]]


def model_settings(build, features, text, weight):
    return made(build, features, text).settings.with_weights({"alike": weight})


def test_a_new_item_is_like_its_neighbours_and_what_they_are_like(build, features):
    text = texts(features)
    model = made(build, features, text)
    fresh = np.stack([text[6], -text[6]])  # a twin of item 7, and its opposite
    new = NewItems(nearest_in_text(text, fresh))
    codes = features.semantic_ids.codes
    ids = SemanticIds(np.concatenate([codes, codes[:2]]), features.semantic_ids.codebook_sizes)
    grown = grown_model(model, model.settings, ids, new)
    of_seven, of_twin, of_opposite, of_others = scores(grown, [7], [41], [42], [1, 2])
    torch.testing.assert_close(of_seven[:41], scores(model, [7])[0])
    assert of_seven[41] == pytest.approx(float(of_seven[:41].max()), rel=0.05)
    assert of_seven[42] == 0
    assert of_twin[7] == pytest.approx(float(of_twin.max()), rel=0.05)
    like = torch.nonzero(of_seven[:41]).flatten()
    torch.testing.assert_close(of_twin[like], of_seven[like], rtol=0.1, atol=0.2)
    # New items are not compared with each other, but each is like itself.
    assert of_twin[41] == of_twin.max()
    assert of_opposite[42] == of_opposite.max() > 0
    assert not of_twin[42]
    assert not of_opposite[41]
    assert of_others[41] == pytest.approx(float(scores(model, [1, 2])[0, 7]), abs=0.3)


def test_likeness_is_not_counted_anew(build, features):
    text = texts(features)
    model = made(build, features, text)
    before = scores(model, [1, 2])
    model.branch_list()[0].recount(replace(features, text=text[::-1].copy()))
    torch.testing.assert_close(scores(model, [1, 2]), before)

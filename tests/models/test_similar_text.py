"""Similarity of texts: scores by the formula, reasons, texts that are missing, and new items by their own text."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_forms import branches

from h2rec.data.histories import Histories
from h2rec.models.branches import similar_text
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


def test_scores_by_the_formula(build, features):
    text = texts(features)
    model = made(build, features, text)
    # As many components as dimensions: lengths and angles are those of the centred texts.
    centred = text.astype(np.float64) - text.mean(axis=0, dtype=np.float64)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    history = [1, 2, 3, 4, 5, 6, 7]
    latest = sum(
        similar_text.RECENT_DECAY**back * unit[item - 1] for back, item in enumerate([7, 6, 5, 4, 3])
    )
    expected = 0.5 * similar_text.SCALE * unit @ (latest / np.linalg.norm(latest))
    found = scores(model, history, [3])
    torch.testing.assert_close(found[0, 1:], torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)
    assert int(found[1, 1:].argmax()) + 1 == 3  # nothing is nearer to a text than itself
    torch.testing.assert_close(found[1, 3], torch.tensor(0.5 * similar_text.SCALE))


def test_an_item_without_text_is_like_nothing(build, features):
    described = np.ones(features.item_count, dtype=np.bool_)
    described[4] = False
    text = texts(features)
    model = made(build, features, text, has_text=described)
    assert not scores(model, [1, 2])[0, 5]
    assert not scores(model, [5]).any()
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


def test_a_new_item_is_compared_by_its_own_text(build, features):
    text = texts(features)
    model = made(build, features, text)
    fresh = np.stack([text[6], -text[6]])
    new = NewItems(nearest_in_text(text, fresh), fresh)
    codes = features.semantic_ids.codes
    ids = SemanticIds(np.concatenate([codes, codes[:2]]), features.semantic_ids.codebook_sizes)
    found = scores(grown_model(model, model.settings, ids, new), [7])[0]
    torch.testing.assert_close(found[:41], scores(model, [7])[0])
    torch.testing.assert_close(found[41], found[7])
    assert found[42] < found[41]

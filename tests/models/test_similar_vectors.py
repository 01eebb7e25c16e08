"""Similarity of learned vectors: the nearest of those that training saw, before and after it, and new items."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_forms import branches

from h2rec.batching.transitions import TransitionTable
from h2rec.data.histories import Histories
from h2rec.models.branches import similar
from h2rec.models.branches.transitions import RECENT_DECAY
from h2rec.models.build import grown_model, model_for_weights
from h2rec.models.features import NewItems
from h2rec.models.likeness import TEMPERATURE
from h2rec.models.neighbours import nearest_in_text
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.weights import weights_of
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.testing import check_branch

FORM = branches(like={"kind": "similar_vectors", "weight": 0.5}, ids={"kind": "ids"})


def of_branch(model, *histories):
    """Scores of the branch alone."""
    place = model.branch_names.index("like")
    rows = np.arange(len(histories))
    return CatalogueScorer(model).branch_scores(Histories.from_lists(histories), rows)[place]


def all_seen(features):
    """The same features; every item was in a training history."""
    counts = np.ones(features.item_count + 1, np.int64)
    return replace(features, train_counts=counts)


def shares_of(vectors, nearest):
    """Share of each item in every one's likeness, `[n, n]`, in double precision."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    least = np.sort(cosines, axis=1)[:, [-nearest]]
    found = np.where(cosines >= least, np.exp(cosines / TEMPERATURE), 0.0)
    found /= found.sum(axis=1, keepdims=True)
    np.fill_diagonal(found, found.max(axis=1))
    return found


def learned_vectors(model):
    return model.branches["ids"].table.vectors.weight.detach()[1 : model.item_count + 1].double().numpy()


def test_every_promise_of_a_branch():
    check_branch("similar_vectors")


def test_scores_by_the_vectors_that_were_learned(make_model, features, monkeypatch):
    monkeypatch.setattr(similar, "NEAREST", 6)
    model = make_model(**FORM)
    model.after_training(all_seen(features))
    shares = shares_of(learned_vectors(model), 6)
    sums = sum(RECENT_DECAY**back * shares[item - 1] for back, item in enumerate([7, 6, 5, 4, 3]))
    found = of_branch(model, [1, 2, 3, 4, 5, 6, 7], [3])
    expected = torch.from_numpy(0.5 * np.log1p(300 * sums)).float()
    torch.testing.assert_close(found[0, 1:], expected, rtol=1e-3, atol=1e-3)
    assert int((found[1] > 0).sum()) == 7
    assert found[1, 3] == found[1].max()
    (reasons,) = model.reasons([1 + int(np.argsort(shares[2])[-3])], [3])
    assert [(reason.item, reason.kind) for reason in reasons] == [(3, "similar_vectors")]


def test_what_training_never_saw_is_like_nothing(make_model, features, monkeypatch):
    monkeypatch.setattr(similar, "NEAREST", 40)
    model = make_model(**FORM)
    model.branches["like"].table = TransitionTable.empty(features.item_count + 1)
    counts = np.ones(features.item_count + 1, np.int64)
    counts[[5, 9]] = 0
    model.after_training(replace(features, train_counts=counts))
    assert not of_branch(model, [5], [9]).any()
    found = of_branch(model, [1, 2, 3])[0]
    assert torch.nonzero(found == 0).flatten().tolist() == [0, 5, 9]


def test_vectors_of_several_branches_stand_side_by_side(make_model, features, monkeypatch):
    monkeypatch.setattr(similar, "NEAREST", 6)
    form = branches("popularity", like={"kind": "similar_vectors"}, ids={"kind": "ids"}, more={"kind": "ids"})
    model = make_model(**form)
    model.after_training(all_seen(features))
    halves = [model.branches[name].table.vectors.weight.detach()[1:41].double() for name in ("ids", "more")]
    both = torch.cat([half / half.norm(dim=1, keepdim=True) for half in halves], dim=1).numpy()
    expected = 0.5 * np.log1p(300 * shares_of(both, 6)[2])
    torch.testing.assert_close(
        of_branch(model, [3])[0, 1:], torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("beside", ["transitions", "generative"])
def test_before_training_and_where_nothing_learns_vectors_all_score_nothing(build, features, beside):
    model = build(**FORM)
    assert not of_branch(model, [1, 2]).any()
    assert model.settings.without() == model.settings
    alone = build(**branches(beside, like={"kind": "similar_vectors"}))
    alone.after_training(features)
    assert not of_branch(alone, [1, 2]).any()
    left = alone.settings.without()
    assert set(left.branches) == set(alone.settings.branches) - {"like"}


def test_texts_are_not_asked_for(build):
    settings = build(**FORM, warm_start=False).settings
    assert not settings.reads_text
    assert settings.without(codes=False, text=True).branches.keys() == {"like", "ids"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_vector_that_says_nothing_is_like_nothing_and_spoils_no_other(make_model, features, value):
    model = make_model(**FORM)
    model.branches["like"].table = TransitionTable.empty(features.item_count + 1)
    with torch.no_grad():
        model.branches["ids"].table.vectors.weight[4] = value
    model.after_training(all_seen(features))
    table = model.branches["like"].table
    assert np.isfinite(table.values).all()
    assert 4 not in table.successors
    assert (np.diff(table.offsets) > 0).tolist() == [item not in (0, 4) for item in range(41)]


def test_stored_weights_bring_the_table_back(make_model, features):
    model = make_model(**FORM)
    model.after_training(all_seen(features))
    again = model_for_weights(model.settings, features.item_count, features.semantic_ids, weights_of(model))
    assert of_branch(model, [3]).any()
    torch.testing.assert_close(of_branch(again, [3]), of_branch(model, [3]))


def test_a_new_item_is_like_its_neighbours_in_text_until_training_sees_it(make_model, features, monkeypatch):
    monkeypatch.setattr(similar, "NEAREST", 42)
    model = make_model(**FORM)
    model.after_training(all_seen(features))
    text = features.text
    new = NewItems(nearest_in_text(text, np.stack([text[6], text[11]])))  # twins of items 7 and 12
    codes = features.semantic_ids.codes
    ids = SemanticIds(np.concatenate([codes, codes[:2]]), features.semantic_ids.codebook_sizes)
    grown = grown_model(model, model.settings, ids, new)
    before = grown.branches["like"].table
    of_seven, of_twin = of_branch(grown, [7], [41])
    torch.testing.assert_close(of_seven[:41], of_branch(model, [7])[0])
    assert of_seven[41] > 0
    assert of_twin[41] == of_twin.max()
    assert of_twin[7] > 0

    counts = np.append(np.ones(42, np.int64), 0)  # the first one was bought since
    grown.after_training(replace(features, item_count=42, train_counts=counts))
    after = grown.branches["like"].table
    assert row(after, 42) == row(before, 42)
    assert row(after, 41) != row(before, 41)
    assert set(row(after, 41)) == set(range(1, 42))
    assert row(after, 7)[42] == row(before, 7).get(42)


def row(table: TransitionTable, item: int) -> dict[int, float]:
    """What an item leads to, and how surely."""
    of = slice(table.offsets[item], table.offsets[item + 1])
    return dict(zip(table.successors[of].tolist(), table.values[of].tolist(), strict=True))


@pytest.mark.parametrize("seen", [0, 1])
def test_of_less_than_two_items_none_is_like_another(make_model, features, seen):
    model = make_model(**FORM)
    counts = np.zeros(features.item_count + 1, np.int64)
    counts[1 : 1 + seen] = 5
    model.branches["like"].table = TransitionTable.empty(features.item_count + 1)
    model.after_training(replace(features, train_counts=counts))
    assert not of_branch(model, [1, 2]).any()

"""The branch that counts interactions."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from model_forms import branches

from h2rec.data.histories import Histories
from h2rec.errors import ConfigError
from h2rec.models.branches.popularity import PopularitySettings, latest_counts
from h2rec.models.build import grown_model
from h2rec.models.features import NewItems
from h2rec.models.neighbours import Neighbours
from h2rec.models.scorer import CatalogueScorer
from h2rec.semantic_ids.codes import SemanticIds

TRAIN = Histories.from_lists([[1, 2, 3, 3], [3, 2]])
ASKED = Histories.from_lists([[5], [], [3, 3]])


@pytest.fixture
def counted(features, build):
    known = dataclasses.replace(features, train=TRAIN, train_counts=TRAIN.counts(40))
    return lambda *beside, **values: build(
        known, **branches(*beside, popularity={"kind": "popularity", "window": None, **values})
    )


def scores(model):
    return CatalogueScorer(model).score(ASKED, np.arange(3))


def test_items_are_ranked_by_the_log_of_their_counts_for_everyone(counted):
    found = scores(counted())
    assert found[0, :5].exp().tolist() == pytest.approx([1, 2, 3, 4, 1])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_latest_share_of_each_history_alone_may_count(counted):
    train = Histories.from_lists([[1, 2, 3, 3], [3], [], [2, 1, 1, 4, 2]])
    assert latest_counts(train, 5, 1.0).tolist() == [0, 3, 3, 3, 1, 0]
    # Half of 4, 1, 0 and 5: the last 2 (3, 3), 1 (3), 0 and 3 (1, 4, 2).
    assert latest_counts(train, 5, 0.5).tolist() == [0, 1, 1, 3, 1, 0]
    assert latest_counts(train, 5, 0.01).tolist() == [0, 0, 1, 2, 0, 0]
    assert scores(counted(window=0.5))[0, 1:5].exp().tolist() == pytest.approx([1, 2, 3, 1])
    with pytest.raises(ConfigError, match="window"):
        PopularitySettings.parse({"kind": "popularity", "window": 1.5})


@pytest.mark.parametrize("weight", [0.5, -2.0])
def test_its_weight_counts_alone_too_and_sends_places_to_the_tail_below_zero(counted, weight):
    assert counted(weight=weight).branch_weights == (weight,)
    torch.testing.assert_close(scores(counted(weight=weight)), weight * scores(counted()))
    joint = scores(counted("ids", weight=weight))
    torch.testing.assert_close(joint, scores(counted("ids", weight=0.0)) + weight * scores(counted()))


def test_it_has_nothing_to_learn(counted):
    assert list(counted().parameters()) == []
    assert all(name.startswith("branches.ids.") for name, _ in counted("ids").named_parameters())


def test_a_new_item_counts_as_popular_as_its_neighbours_are_by_their_shares(counted):
    model = counted()
    ids = SemanticIds(np.zeros((41, 1), np.int32), (1,))
    near = Neighbours(np.array([[2, 0]]), np.array([[0.75, 0.25]], np.float32), 40)  # items 3 and 1: 3 and 1
    grown = grown_model(model, model.settings, ids, NewItems(near))
    found = scores(grown)
    assert torch.equal(found[:, :41], scores(model))
    expected = 0.75 * math.log(4) + 0.25 * math.log(2)
    assert found[0, 41].item() == pytest.approx(expected)

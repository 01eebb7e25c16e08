"""Slices of the cases."""

from itertools import pairwise

import numpy as np
import pytest

from h2rec.evaluation.groups import (
    collision_groups,
    history_length_groups,
    popularity_groups,
    training_groups,
)
from h2rec.semantic_ids.codes import SemanticIds

TARGETS = np.array([1, 4, 2, 4, 3])


def described(groups):
    return {group.name: np.flatnonzero(group.cases).tolist() for group in groups}


def test_popularity_groups_follow_the_target():
    group_of_item = np.array([0, 0, 1, 1, 2, 3])
    groups = popularity_groups(TARGETS, group_of_item)
    assert described(groups) == {"0": [0], "1": [2, 4], "2": [1, 3], "3": []}
    assert {group.kind for group in groups} == {"popularity"}


def test_seen_and_unseen_in_training():
    assert described(training_groups(TARGETS, np.array([0, 3, 0, 1, 0]))) == {
        "seen": [0, 4],
        "unseen": [1, 2, 3],
    }


def test_collision_groups():
    codes = SemanticIds(np.array([[0, 1], [0, 2], [0, 1], [1, 1]], np.int32), (2, 3))
    assert described(collision_groups(TARGETS, codes)) == {"alone": [1, 2, 3], "shared": [0, 4]}


def test_history_lengths_by_hand():
    lengths = np.array([3, 3, 3, 3, 4, 5, 9, 20])
    assert described(history_length_groups(lengths, 4)) == {
        "3-3": [0, 1, 2, 3],
        "4-5": [4, 5],
        "9-20": [6, 7],
    }
    assert described(history_length_groups(lengths, 1)) == {"3-20": list(range(8))}
    assert history_length_groups(np.array([], np.int64), 5) == []


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_history_lengths_part_the_cases(count):
    lengths = np.random.default_rng(count).geometric(0.2, 500)
    groups = history_length_groups(lengths, count)
    assert (sum(group.cases.astype(int) for group in groups) == 1).all()
    assert len(groups) <= count
    for shorter, longer in pairwise(groups):
        assert lengths[shorter.cases].max() < lengths[longer.cases].min()

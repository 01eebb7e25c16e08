"""The shared top-k: order, ties, exclusion, lists that end early."""

import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.evaluation.topk import top_items

INF = float("inf")


def naive(scores: list[float], k: int, excluded: set[int]) -> list[int]:
    listed = [i for i in range(1, len(scores)) if i not in excluded and scores[i] > -INF]  # NaN > x is False
    listed.sort(key=lambda i: (-scores[i], i))
    return (listed + [0] * k)[:k]


def test_best_first_without_padding_or_excluded():
    scores = torch.tensor([[9.0, 1, 4, 3, 2], [9.0, 1, 4, 3, 2]])
    items, values = top_items(scores, 2, Histories.from_lists([[], [2]]))
    assert items.tolist() == [[2, 3], [3, 4]]
    assert values.tolist() == [[4, 3], [3, 2]]


def test_the_scores_are_not_changed():
    scores = torch.tensor([[9.0, 1, float("nan"), 3]])
    top_items(scores, 2, Histories.from_lists([[1]]))
    assert scores[0, 0] == 9
    assert scores[0, 1] == 1
    assert scores[0, 2].isnan()


def test_ties_across_the_end_of_the_list_take_the_lower_index():
    items, _ = top_items(torch.tensor([[0.0, 1, 2, 1, 1, 2, 1]]), 4)
    assert items.tolist() == [[2, 5, 1, 3]]


def test_lists_end_early_where_items_run_out():
    scores = torch.tensor([[0.0, 1, -INF, float("nan"), 2]])
    items, values = top_items(scores, 6, Histories.from_lists([[4, 4]]))
    assert items.tolist() == [[1, 0, 0, 0, 0, 0]]
    assert values.tolist() == [[1.0] + [-INF] * 5]


def test_plus_infinity_comes_first():
    items, _ = top_items(torch.tensor([[0.0, 1, INF, 3]]), 2)
    assert items.tolist() == [[2, 3]]


@pytest.mark.parametrize("k", [1, 3, 10, 29, 30, 31, 40])
@pytest.mark.parametrize("levels", [None, 2, 6])
def test_equals_a_sort_of_everything(random_cases, k, levels):
    scorer, holdout = random_cases(levels=levels)
    table = scorer.table
    table[5, 3] = float("nan")
    table[6, :] = float("nan")
    table[7, 4:9] = -INF
    items, values = top_items(table, k, holdout.histories)
    for row, listed in enumerate(items.tolist()):
        expected = naive(table[row].tolist(), k, set(holdout.histories[row].tolist()))
        assert listed == expected
        full = np.array([table[row, i].item() if i else -INF for i in expected])
        assert np.array_equal(values[row].numpy(), full)

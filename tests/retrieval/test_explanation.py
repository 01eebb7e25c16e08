"""Codes that recommended items share with the history."""

from types import SimpleNamespace

import numpy as np

from h2rec.retrieval.explanation import shared_codes
from h2rec.semantic_ids.codes import SemanticIds


def catalogue(codes):
    ids = SemanticIds(np.array(codes, np.int32), (3, 3, 3))
    return SimpleNamespace(semantic_ids=ids, item_ids=[f"i{row}" for row in range(len(codes))])


def test_what_shares_most_leading_codes_comes_first_and_of_equals_the_latest():
    random = np.random.default_rng(0)
    made = catalogue(random.integers(0, 3, (40, 3)))
    codes = made.semantic_ids.codes.tolist()
    for length in (1, 2, 5, 30):
        history, items = random.integers(1, 41, length).tolist(), random.integers(1, 41, 10).tolist()
        for item, found in zip(items, shared_codes(made, items, history), strict=True):
            latest = list(dict.fromkeys(reversed(history)))
            shared = [
                next((n for n in range(3) if codes[seen - 1][n] != codes[item - 1][n]), 3) for seen in latest
            ]
            order = sorted(range(len(latest)), key=lambda place: (-shared[place], place))
            expected = [(f"i{latest[place] - 1}", shared[place]) for place in order[:3] if shared[place]]
            assert [(entry.item_id, entry.levels) for entry in found] == expected


def test_without_codes_history_or_items_nothing_is_shared():
    made = catalogue([[0, 0, 0]])
    assert shared_codes(made, [1], []) == [[]]
    assert shared_codes(made, [], [1]) == []
    assert shared_codes(SimpleNamespace(semantic_ids=None), [1], [1]) == [[]]

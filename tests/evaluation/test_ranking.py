"""Ranks under both protocols, against hand-computed cases and a double loop."""

import math

import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.errors import DataError, H2RecWarning
from h2rec.evaluation import ranking
from h2rec.evaluation.negatives import draw_negatives
from h2rec.evaluation.ranking import NO_RANK, full_ranks, rank, sampled_ranks
from h2rec.evaluation.repeats import repeated
from h2rec.evaluation.scorer import Restricted
from h2rec.evaluation.settings import EvaluateSettings

NAN, INF = float("nan"), float("inf")
FULL = EvaluateSettings(protocols=["full"], repeats="excluded")


def naive_rank(scores: list[float], target: int, candidates: set[int]) -> int:
    better_or_equal = 0
    for item in candidates - {target}:
        if math.isnan(scores[item]) or math.isnan(scores[target]) or scores[item] >= scores[target]:
            better_or_equal += 1
    return 1 + better_or_equal


@pytest.mark.parametrize(
    ("scores", "target", "history", "expected"),
    [
        ([99, 1, 5, 3, 2], 2, [], 1),
        ([99, 1, 5, 3, 2], 4, [], 3),
        ([99, 1, 5, 3, 2], 4, [2], 2),  # the better item is in the history
        ([99, 1, 5, 3, 2], 4, [1], 3),  # a worse one is
        ([99, 1, 5, 3, 2], 4, [2, 2, 2, 3], 1),  # an item met twice is excluded once
        ([99, 2, 2, 2, 2], 3, [], 4),  # ties count against
        ([99, 2, 2, 2, 2], 3, [1], 3),
        ([99, 1, NAN, 3, 2], 4, [], 3),  # so does NaN
        ([99, 1, NAN, 3, 2], 4, [2], 2),
        ([99, 1, 5, NAN, 2], 3, [], 4),  # a target of NaN is last of the candidates
        ([99, 1, 5, NAN, 2], 3, [1], 3),
        ([99, 1, 5, -INF, 2], 3, [1], 3),
        ([99, 1, -INF, -INF, 2], 3, [2], 3),  # excluded items tie with nothing
        ([99, 1, INF, INF, 2], 3, [2], 1),
    ],
)
def test_full_rank_by_hand(scores, target, history, expected):
    ranks = full_ranks(torch.tensor([scores]), torch.tensor([target]), Histories.from_lists([history]))
    assert ranks.tolist() == [expected]


@pytest.mark.parametrize(
    ("scores", "target", "negatives", "expected"),
    [
        ([99, 1, 5, 3, 2], 2, [1, 3], 1),
        ([99, 1, 5, 3, 2], 1, [2, 3], 3),
        ([99, 1, 5, 2, 2], 3, [4, 1], 2),
        ([99, NAN, 5, 2, 2], 3, [1, 2], 3),
        ([99, 1, 5, NAN, 2], 3, [1, 2], 3),
    ],
)
def test_sampled_rank_by_hand(scores, target, negatives, expected):
    ranks = sampled_ranks(torch.tensor([scores]), torch.tensor([target]), torch.tensor([negatives]))
    assert ranks.tolist() == [expected]


@pytest.mark.parametrize("rule", ["allowed", "excluded"])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_ranks_equal_a_double_loop(random_cases, rule, chunk, monkeypatch):
    monkeypatch.setattr(ranking, "USERS_AT_ONCE", chunk)
    scorer, holdout = random_cases()
    settings = EvaluateSettings(protocols=["full", "sampled10"], repeats=rule)
    ranks = rank(scorer, holdout, settings, seed=3).by_protocol
    cases = [set(h.tolist()) if rule == "excluded" else set() for h in holdout.histories]
    measured = [row for row, excluded in enumerate(cases) if holdout.targets[row] not in excluded]
    assert 0 < len(measured) < 60 or rule == "allowed"
    drawn = dict(
        zip(measured, draw_negatives(holdout.select(np.array(measured)), 30, 10, 3, rule), strict=True)
    )
    for row, scores in enumerate(scorer.table.tolist()):
        target = int(holdout.targets[row])
        if row not in drawn:  # nobody would be shown it
            assert ranks["full"][row] == ranks["sampled10"][row] == NO_RANK
            continue
        assert ranks["full"][row] == naive_rank(scores, target, set(range(1, 31)) - cases[row])
        assert ranks["sampled10"][row] == naive_rank(scores, target, set(drawn[row].tolist()))


def test_a_repeat_competes_with_the_rest_of_its_history_or_with_nobody(table_scorer):
    # The user's own items have the best scores: among them the target is fourth, and no other is between.
    histories = Histories.from_lists([[1, 2, 3, 4]])
    holdout = Holdout(np.arange(1), histories, np.array([4], np.int32))
    scorer = table_scorer(torch.tensor([[0, 9, 8, 7, 6, 1, 2, 3.0]]))
    allowed = EvaluateSettings(protocols=["full", "sampled6"], repeats="allowed")
    assert rank(scorer, holdout, allowed).by_protocol == {"full": [4], "sampled6": [4]}
    excluded = allowed.model_copy(update={"repeats": "excluded", "protocols": ["full", "sampled3"]})
    ranked = rank(scorer, holdout, excluded, top_k=7)
    assert ranked.by_protocol == {"full": [NO_RANK], "sampled3": [NO_RANK]}
    assert ranked.top.tolist() == [[7, 6, 5, 0, 0, 0, 0]]


def test_without_a_rule_nothing_is_ranked(random_cases):
    with pytest.raises(ValueError, match="auto is no rule"):
        rank(*random_cases(), EvaluateSettings())


def test_a_user_who_saw_nearly_all_has_no_sampled_rank_and_changes_nobody_elses(table_scorer):
    lists = [[1, 2], [1, 2, 3, 4, 5, 6, 7], [5]]
    holdout = Holdout(np.arange(3), Histories.from_lists(lists), np.array([3, 8, 9], np.int32))
    scorer = table_scorer(torch.rand(3, 11, generator=torch.Generator().manual_seed(0)))
    settings = EvaluateSettings(protocols=["full", "sampled5"], repeats="excluded")
    ranks = rank(scorer, holdout, settings).by_protocol
    assert (ranks["full"] > 0).all()
    assert (ranks["sampled5"] > 0).tolist() == [True, False, True]
    some = holdout.select(np.array([0, 2]))
    drawn = draw_negatives(some, 10, 5, 0, "excluded")
    assert all(not set(row) & {*h, t} for row, h, t in zip(drawn, some.histories, some.targets, strict=True))


def test_a_target_listed_at_place_r_has_rank_r(random_cases):
    scorer, holdout = random_cases(levels=None)
    ranked = rank(scorer, holdout, FULL, top_k=10)
    fresh = ~repeated(holdout)
    assert sum(fresh) > 20
    for row in np.flatnonzero(fresh):
        places = np.flatnonzero(ranked.top[row] == holdout.targets[row]) + 1
        expected = [ranked.by_protocol["full"][row]] if ranked.by_protocol["full"][row] <= 10 else []
        assert places.tolist() == expected


def test_lists_hold_the_history_only_if_it_is_not_excluded(random_cases):
    scorer, holdout = random_cases()
    shown = rank(scorer, holdout, FULL, top_k=8).top
    assert not any(np.isin(h, shown[row]).any() for row, h in enumerate(holdout.histories))
    settings = EvaluateSettings(protocols=["full"], repeats="allowed")
    shown = rank(scorer, holdout, settings, top_k=30).top
    assert (np.sort(shown, axis=1) == np.arange(1, 31)).all()


def test_nan_targets_are_told(table_scorer):
    holdout = Holdout(np.arange(2), Histories.from_lists([[1], [2]]), np.array([3, 3], np.int32))
    scorer = table_scorer(torch.tensor([[0, 1, 2, NAN], [0, 1, 2, 3.0]]))
    with pytest.warns(H2RecWarning, match="1 of 2 targets"):
        ranks = rank(scorer, holdout, FULL).by_protocol
    assert ranks["full"].tolist() == [2, 1]


def test_items_beyond_the_model_are_an_error(table_scorer):
    scorer = table_scorer(torch.zeros(1, 4))
    outside = Holdout(np.arange(1), Histories.from_lists([[1]]), np.array([4], np.int32))
    with pytest.raises(DataError, match="targets run from 4 to 4, and the model knows the items 1 to 3"):
        rank(scorer, outside, FULL)
    outside = Holdout(np.arange(1), Histories.from_lists([[7]]), np.array([1], np.int32))
    with pytest.raises(DataError, match="history items run from 7 to 7"):
        rank(scorer, outside, FULL)


def test_no_cases(table_scorer):
    holdout = Holdout(np.arange(0), Histories.from_lists([]), np.array([], np.int32))
    settings = EvaluateSettings(repeats="excluded")
    ranked = rank(table_scorer(torch.zeros(0, 201)), holdout, settings, top_k=5)
    assert {name: len(ranks) for name, ranks in ranked.by_protocol.items()} == {"full": 0, "sampled100": 0}
    assert ranked.top.shape == (0, 5)


def test_a_scorer_of_the_wrong_shape_is_caught(random_cases, table_scorer):
    scorer, holdout = random_cases()

    class Short(table_scorer):
        def score(self, histories, rows):
            return super().score(histories, rows)[:, 1:]

    with pytest.raises(ValueError, match="the scorer returned"):
        rank(Short(scorer.table), holdout, FULL)


def test_ranks_among_some_candidates(random_cases):
    scorer, holdout = random_cases()
    candidates = np.arange(31) % 3 == 0
    rows = np.flatnonzero(candidates[holdout.targets] & ~repeated(holdout))
    some = holdout.select(rows)
    restricted = Restricted(type(scorer)(scorer.table[rows]), candidates)
    ranked = rank(restricted, some, FULL, top_k=30)
    for case, scores in enumerate(scorer.table[rows].tolist()):
        allowed = set(range(3, 31, 3)) - set(some.histories[case].tolist())
        assert ranked.by_protocol["full"][case] == naive_rank(scores, int(some.targets[case]), allowed)
        assert set(ranked.top[case].tolist()) - {0} == allowed


def test_a_chunk_holds_fewer_users_where_the_catalogue_is_large(random_cases, monkeypatch):
    scorer, holdout = random_cases()
    expected = rank(scorer, holdout, FULL).by_protocol["full"]
    asked, score = [], scorer.score
    monkeypatch.setattr(scorer, "score", lambda h, rows: asked.append(len(rows)) or score(h, rows))
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 4 * (scorer.item_count + 1))
    assert (rank(scorer, holdout, FULL).by_protocol["full"] == expected).all()
    assert asked == [4] * 15
    # However large the catalogue, one user is scored at a time.
    monkeypatch.setattr(ranking, "SCORES_AT_ONCE", 1)
    rank(scorer, holdout, FULL)
    assert asked[15:] == [1] * 60

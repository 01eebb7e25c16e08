"""Transitions: counts by hand, from training histories alone; scores of items and of prefixes by the formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_forms import branches

from h2rec.batching import transitions as counting
from h2rec.batching.pair_counts import PairCounts
from h2rec.batching.transitions import TransitionTable
from h2rec.batching.transitions import transition_table as table_of_pairs
from h2rec.data.histories import Histories
from h2rec.errors import ConfigError
from h2rec.models import sparse_scores
from h2rec.models.branches import transitions
from h2rec.models.reasons import Reason, in_turns
from h2rec.models.scorer import CatalogueScorer, counted
from h2rec.models.sparse_scores import Groups, GroupScores, ItemScores, listed_above, together
from h2rec.testing import check_branch

TRAIN = Histories.from_lists([[1, 2, 3], [1, 2], [4], [], [2, 2]])


def transition_table(train, groups, direction, *, popularity_power) -> TransitionTable:
    counted = PairCounts.of(train), train.counts(len(groups) - 1)
    return table_of_pairs(*counted, groups, direction, popularity_power=popularity_power)


def as_dict(table):
    return {
        (group, int(table.successors[entry])): float(table.values[entry])
        for group in range(len(table.offsets) - 1)
        for entry in range(table.offsets[group], table.offsets[group + 1])
    }


def test_counts_by_hand():
    forward = as_dict(transition_table(TRAIN, np.arange(5), "forward", popularity_power=0.0))
    # 1 2 twice, 1 3 two steps apart, 2 3 once, 2 2 once.
    assert forward == pytest.approx({(1, 2): 2 / 2.6, (1, 3): 0.6 / 2.6, (2, 3): 1 / 2, (2, 2): 1 / 2})
    # 2 is met four times in training, 1 twice.
    backward = as_dict(transition_table(TRAIN, np.arange(5), "backward", popularity_power=1.0))
    assert backward == pytest.approx(
        {(2, 1): 2 / 3 / 2, (2, 2): 1 / 3 / 4, (3, 1): 0.6 / 1.6 / 2, (3, 2): 1 / 1.6 / 4}
    )
    both = as_dict(transition_table(TRAIN, np.arange(5), "both", popularity_power=1.0))
    assert both[2, 1] == pytest.approx(2 / (2 + 2 + 1) / 2)
    assert both[2, 2] == pytest.approx(2 / 5 / 4)


def test_groups_are_counted_together_and_no_group_is_counted():
    groups = np.array([0, 1, 2, 1, 0])
    table = as_dict(transition_table(TRAIN, groups, "forward", popularity_power=0.0))
    assert table == pytest.approx({(1, 2): 2 / 2.6, (1, 1): 0.6 / 2.6, (2, 1): 1 / 2, (2, 2): 1 / 2})


def test_only_the_strongest_successors_are_kept(monkeypatch):
    monkeypatch.setattr(counting, "MOST_SUCCESSORS", 1)
    table = as_dict(transition_table(TRAIN, np.arange(5), "forward", popularity_power=0.0))
    assert set(table) == {(1, 2), (2, 2)}  # of equals the first


def test_nothing_is_counted_of_histories_without_pairs():
    table = transition_table(Histories.from_lists([[1], []]), np.arange(3), "both", popularity_power=0.5)
    assert (table.offsets.tolist(), len(table.values)) == ([0, 0, 0, 0], 0)


@pytest.mark.parametrize("kind", ["transitions", "code_transitions"])
def test_every_promise_of_a_branch(kind):
    check_branch(kind)


def by_hand(table, recent, weight):
    """``weight * log(1 + s * sum_m q^m t(i_m -> j))``, as a mapping of groups."""
    sums = {}
    for place, group in enumerate(recent):
        for (first, second), value in table.items():
            if first == group:
                sums[second] = sums.get(second, 0.0) + transitions.RECENT_DECAY**place * value
    return {group: weight * math.log1p(transitions.SCALE * value) for group, value in sums.items()}


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_scores_of_items_by_the_formula(direction, build, features):
    model = build(**branches(own={"kind": "transitions", "weight": 0.8, "direction": direction}))
    table = as_dict(transition_table(features.train, np.arange(41), direction, popularity_power=0.5))
    for history in ([7], features.train[0].tolist(), [40, 1, 40, 2, 3, 5, 9]):
        expected = np.zeros(41)
        for item, value in by_hand(table, history[::-1][:5], 0.8).items():
            expected[item] = value
        scores = CatalogueScorer(model).score(Histories.from_lists([history]), np.array([0]))[0]
        assert scores.numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("levels", [1, 2, 9])
def test_scores_of_prefixes_are_those_of_their_items(levels, build, features):
    model = build(**branches(own={"kind": "code_transitions", "levels": levels}))
    _, groups = np.unique(features.semantic_ids.codes[:, :levels], axis=0, return_inverse=True)
    groups = np.concatenate([[0], groups.reshape(-1) + 1])
    table = as_dict(transition_table(features.train, groups, "both", popularity_power=0.5))
    history = features.train[0].tolist()
    expected = np.zeros(41)
    for group, value in by_hand(table, [groups[item] for item in history[::-1][:5]], 1.0).items():
        expected[groups == group] = value
    scores = CatalogueScorer(model).score(Histories.from_lists([history]), np.array([0]))[0]
    assert scores.numpy() == pytest.approx(expected, abs=1e-4)
    assert (scores > 0).sum() > 0


def test_an_empty_history_scores_nothing(build):
    model = build(**branches("transitions"))
    sparse = counted(model, Histories.from_lists([[], [3]]))["transitions"]
    assert (sparse.rows == 1).all()


def test_codes_are_needed_for_prefixes_alone(build, features):
    bare = replace(features, semantic_ids=None)
    assert build(bare, **branches("transitions")).recent_items == 5
    with pytest.raises(ConfigError, match="needs semantic IDs"):
        build(bare, **branches("code_transitions"))


@pytest.mark.parametrize("kind", ["transitions", "code_transitions"])
def test_reasons_are_the_latest_items_by_their_shares_of_the_sum(build, features, kind):
    codes = features.semantic_ids.codes[:, 0]
    groups = np.arange(41) if kind == "transitions" else np.concatenate([[0], codes + 1])
    direction = "forward" if kind == "transitions" else "both"
    table = as_dict(transition_table(features.train, groups, direction, popularity_power=0.5))
    branch = build(**branches(own={"kind": kind})).branch_list()[0]
    history = [
        3,
        *features.train[0].tolist()[:3],
        *features.train[2].tolist()[:2],
        features.train[0][0].item(),
    ]
    found = branch.reasons(list(range(1, 41)), history)
    assert max(map(len, found)) == 3
    for item, reasons in zip(range(1, 41), found, strict=True):
        parts = {}  # in order of time, the latest first; what came twice counts twice
        for place, latest in enumerate(history[::-1][:5]):
            part = 0.7**place * table.get((groups[latest], groups[item]), 0.0)
            parts[latest] = parts.get(latest, 0.0) + part
        expected = sorted((latest for latest in parts if parts[latest]), key=lambda latest: -parts[latest])[
            :3
        ]
        assert [reason.item for reason in reasons] == expected
        shares = [parts[latest] / sum(parts.values()) for latest in expected]
        assert [reason.strength for reason in reasons] == pytest.approx(shares)
        assert all(reason.kind == branch.reason_kind for reason in reasons)
    weightless = build(**branches(own={"kind": kind, "weight": 0.0})).branch_list()[0]
    assert weightless.reasons([1, 2], history) == [[], []]


def test_a_reason_says_in_which_order_items_were_met(build):
    for direction, said in (("forward", "follows"), ("backward", "precedes"), ("both", "goes_with")):
        (branch,) = build(**branches(own={"kind": "transitions", "direction": direction})).branch_list()
        assert branch.reason_kind == said


def test_reasons_of_several_kinds_come_in_turns_each_item_once():
    follows = [Reason(7, "follows", 0.6), Reason(8, "follows", 0.4)]
    by_kind, codes = (
        [Reason(7, "kind_goes_with", 0.9), Reason(5, "kind_goes_with", 0.1)],
        [Reason(9, "codes", 2)],
    )
    assert in_turns(1, [codes, by_kind, follows]) == [follows[0], codes[0], follows[1]]
    assert in_turns(1, [codes, [Reason(4, "codes", 3)], []]) == [Reason(4, "codes", 3), codes[0]]
    assert in_turns(1, [[], []]) == []
    # That an item is like itself says nothing; that it often follows itself does.
    alike = Reason(4, "similar_text", 1.0)
    assert in_turns(4, [[alike], codes[:1], [Reason(4, "codes", 4)]]) == codes[:1]
    assert in_turns(4, [[alike], [Reason(4, "follows", 0.5)]]) == [Reason(4, "follows", 0.5)]
    assert in_turns(4, [[Reason(4, "similar_vectors", 1.0)]]) == []
    assert in_turns(3, [[alike]]) == [alike]


def test_a_negative_weight_is_refused(build):
    """Lists are exact because no count lowers a score."""
    with pytest.raises(ConfigError, match="weight"):
        build(**branches(own={"kind": "transitions", "weight": -0.1}))


def both_kinds():
    """The same scores as pairs and as groups: items 1 and 3 are one group, 2 another."""
    dense = torch.tensor([[0, 2.0, 1, 2], [0, 0, 0, 0], [0, 0, 5, 0]])
    rows, items = dense.nonzero().T
    groups = Groups(torch.tensor([0, 1, 2, 1]), torch.tensor([1, 3, 2]), torch.tensor([0, 0, 2, 3]))
    return dense, [ItemScores(rows, items, dense[rows, items]), GroupScores(dense[:, :3], groups)]


@pytest.mark.parametrize("kind", [0, 1])
def test_counted_scores_are_selected_looked_up_and_added(kind):
    dense, kinds = both_kinds()
    sparse = kinds[kind]
    assert torch.equal(sparse.add_to(torch.zeros(3, 4)), dense)
    assert torch.equal(sparse.add_to(torch.zeros(4, 3).T), dense)
    assert torch.equal(sparse.add_to(torch.zeros(3, 2), 1), dense[:, 1:3])
    assert torch.equal(sparse.at(torch.arange(3)[:, None], torch.arange(4)), dense)
    for chosen in ([0, 2], [1], [2], []):
        few = sparse.select(torch.tensor(chosen, dtype=torch.int64))
        assert torch.equal(few.add_to(torch.zeros(len(chosen), 4)), dense[chosen])


def test_all_items_that_counts_may_lift_above_a_floor_are_listed():
    random = torch.Generator().manual_seed(0)
    for _ in range(50):
        dense = [torch.rand(2, 9, generator=random).mul_(3).sub_(2).clamp_(min=0) for _ in range(3)]
        dense[0][:, 0] = 0
        rows, items = dense[0].nonzero().T
        branches = [ItemScores(rows, items, dense[0][rows, items])]
        for values in dense[1:]:
            of_item = torch.cat(
                [torch.zeros(1, dtype=torch.int64), torch.randint(1, 5, (8,), generator=random)]
            )
            values[:, 0] = 0
            order = of_item[1:].argsort(stable=True)
            offsets = torch.searchsorted(of_item[1:][order], torch.arange(10))
            branches.append(GroupScores(values, Groups(of_item, order + 1, offsets)))
        total = sum(branch.add_to(torch.zeros(2, 9)) for branch in branches)
        for floor in ([0.0, 0.5], [-torch.inf, 1.2]):
            listed = listed_above(branches, torch.tensor(floor))
            for row, least in enumerate(floor):
                wanted = set((total[row] > max(least, 0)).nonzero().flatten().tolist())
                assert wanted <= set(listed[row].tolist())
    alone = listed_above(branches[1:2], torch.tensor([1e9, 1e9]))
    assert alone.numel() == 0


def test_together_single_items_are_one_table_and_nothing_else_changes():
    random = torch.Generator().manual_seed(0)
    dense = [torch.randn(3, 7, generator=random).clamp_(min=0) for _ in range(3)]
    single = [ItemScores(*values.nonzero().T, values[values > 0]) for values in dense]
    none = torch.zeros(0, dtype=torch.int64)
    empty = ItemScores(none, none, torch.zeros(0))
    groups = GroupScores(
        torch.tensor([[0.0, 1], [0, 2], [0, 3]]),
        Groups(torch.tensor([0, 1, 1, 0, 0, 0, 0]), torch.tensor([1, 2]), torch.tensor([0, 0, 2])),
    )
    one, others = together([single[0], groups, *single[1:], empty])
    assert others is groups
    assert torch.equal(one.add_to(torch.zeros(3, 7)), dense[0] + dense[1] + dense[2])
    assert torch.equal(one.select(torch.tensor([0, 2])).add_to(torch.zeros(2, 7)), sum(dense)[[0, 2]])
    assert together([groups, single[0]]) == [groups, single[0]]
    assert together([empty, empty])[0].add_to(torch.zeros(3, 7)).any() == 0
    assert together([]) == []


def test_of_groups_the_strongest_are_listed_and_large_ones_never(monkeypatch):
    monkeypatch.setattr(sparse_scores, "MOST_LISTED", 3)
    # Groups of two items, one, three and four.
    of_item = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 4, 4, 4])
    groups = Groups(of_item, torch.arange(1, 11), torch.tensor([0, 0, 2, 3, 6, 10]))
    scores = GroupScores(
        torch.tensor([[0, 1.0, 3, 2, 9], [0, 2.0, 1, 0, 9], [0, 0, 0, 9.0, 9], [0, 0, 0, 0, 9.0]]), groups
    )
    rows, items = scores.above(torch.zeros(4), [])
    listed = [set(items[rows == row].tolist()) for row in range(4)]
    assert listed == [{3}, {1, 2, 3}, {4, 5, 6}, set()]


def test_known_groups_are_followed_by_so_many_added_ones_at_most(monkeypatch):
    """However they are added, at once or one after the other."""
    monkeypatch.setattr(counting, "MOST_SUCCESSORS", 3)
    table = transition_table(TRAIN, np.arange(5), "both", popularity_power=0.0)
    shares = np.array([[0.9], [0.3], [0.8], [0.7], [0.7], [0.2]], np.float32)
    near = np.full((6, 1), 2)
    at_once = table.joined(near, shares, 4)
    after = table
    for one in range(6):
        after = after.joined(near[[one]], shares[[one]], 4)
    assert as_dict(after) == as_dict(at_once)
    before, found = as_dict(table), as_dict(at_once)
    assert found.items() >= before.items()
    added = [b for a, b in found if a == 1 and (a, b) not in before]
    assert added == [5, 7, 8]  # the strongest; of equals the first
    assert len([b for a, b in found if a == 10]) == 3


def test_a_group_leads_to_itself_as_to_its_strongest():
    table = TransitionTable(
        np.array([0, 0, 2, 3, 4, 4]), np.array([2, 3, 1, 1]), np.array([0.7, 0.3, 1.0, 1.0], np.float32)
    )
    found = table.with_themselves()
    assert as_dict(found) == pytest.approx(as_dict(table) | {(1, 1): 0.7, (2, 2): 1.0, (3, 3): 1.0})
    assert found.checked(5) is found
    assert as_dict(found.with_themselves()) == as_dict(found)
    assert as_dict(TransitionTable.empty(3).with_themselves()) == {}
    grown = as_dict(found.joined(np.array([[1, 2]]), np.array([[0.75, 0.25]], np.float32), 4))
    assert grown == pytest.approx(
        as_dict(found)
        | {(1, 5): 0.75 * 0.7 + 0.25 * 0.7, (2, 5): 0.75 * 1 + 0.25 * 1, (3, 5): 0.75 * 1}
        | {(5, 1): 0.75 * 0.7 + 0.25 * 1, (5, 2): 0.75 * 0.7 + 0.25 * 1, (5, 3): 0.75 * 0.3}
    )

"""Drafting two lists into one: each item once, a fair coin, and the share of tail items."""

from random import Random

import numpy as np
import pytest
from scipy.stats import binomtest

from h2rec.retrieval.answers import RecommendedItem
from h2rec.serving.experiment.interleaving import team_draft


def items(ids, head=""):
    return [RecommendedItem(item, 1.0, item in head, {}) for item in ids]


def ids(drafted):
    return [item.item_id for item, _ in drafted]


def drafts(first, second, k, times=2000, **values):
    return [
        team_draft([items(first), items(second)], k, Random(f"r{seed}"), **values) for seed in range(times)
    ]


def test_each_item_stands_once_and_teams_are_even():
    for drafted in drafts("abcdefgh", "badcxyzw", 8, 200):
        assert len(set(ids(drafted))) == 8
        assert {ids(drafted)[0], ids(drafted)[1]} == {"a", "b"}
        teams = [team for _, team in drafted]
        # After every two picks both have named as many.
        assert all(sum(teams[:place]) == place // 2 for place in range(0, 9, 2))


def test_each_names_its_best_that_is_not_there():
    for drafted in drafts("abcd", "cdab", 4, 50):
        lists, there = ["abcd", "cdab"], []
        for item, team in drafted:
            assert item.item_id == next(other for other in lists[team] if other not in there)
            there.append(item.item_id)


def test_the_coin_is_fair_at_every_place():
    """Also where the lists agree: an item that both want is credited to either as often."""
    for second in ("uvwxyz", "abcdef"):
        teams = np.array([[team for _, team in drafted] for drafted in drafts("abcdef", second, 6)])
        for place in range(6):
            assert binomtest(int(teams[:, place].sum()), len(teams)).pvalue > 0.001
        # Coins of one list are independent: the first says nothing of the third.
        assert binomtest(int((teams[:, 0] == teams[:, 2]).sum()), len(teams)).pvalue > 0.001


def test_a_short_list_leaves_the_rest_to_the_other():
    for drafted in drafts("ab", "acdef", 5, 50):
        assert sorted(ids(drafted)) in (list("abcde"), list("acdef"), list("abcdf"))
        assert len(drafted) == 5
    assert team_draft([[], []], 5, Random(0)) == []
    assert ids(team_draft([items("ab"), []], 5, Random(0))) == ["a", "b"]


@pytest.mark.parametrize(("heads", "most"), [(0, 0), (2, 2), (4, 4), (None, 6)])
def test_a_share_of_tail_items_holds_in_the_drafted_list(heads, most):
    for seed in range(100):
        lists = [items("abctuvw", head="abcde"), items("deaxyuz", head="abcde")]
        drafted = team_draft(lists, 6, Random(seed), heads=heads)
        assert len(set(ids(drafted))) == 6
        assert sum(item.head for item, _ in drafted) <= most
    few = team_draft([items("abt", head="abc"), items("cat", head="abc")], 3, Random(0), heads=0)
    assert ids(few)[0] == "t"
    assert len(set(ids(few))) == 3

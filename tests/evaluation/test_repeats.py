"""Repeats in a split, and the rule that the data call for."""

import numpy as np
import pytest

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout, Split
from h2rec.evaluation.repeats import Repeats, measured_cases, repeated


def cases_of(histories, targets):
    return Holdout(
        np.arange(len(targets)), Histories.from_lists(histories), np.array(targets, dtype=np.int32)
    )


def split_of(valid_repeats, test_repeats, cases=100):
    def holdout(repeats):
        return cases_of([[1, 2]] * cases, [2] * repeats + [3] * (cases - repeats))

    return Split(Histories.from_lists([[1]] * cases), holdout(valid_repeats), holdout(test_repeats), 3)


def test_a_repeat_is_a_target_in_its_own_history():
    cases = cases_of([[1, 2], [], [3, 3], [2]], [2, 2, 3, 3])
    assert repeated(cases).tolist() == [True, False, True, False]
    assert measured_cases(cases, "allowed") is cases
    kept = measured_cases(cases, "excluded")
    assert (kept.users.tolist(), kept.targets.tolist()) == ([1, 3], [2, 3])
    assert [h.tolist() for h in kept.histories] == [[], [2]]
    assert repeated(cases_of([], [])).tolist() == []


@pytest.mark.parametrize(
    ("valid", "test", "rule"),
    [(0, 0, "excluded"), (1, 90, "excluded"), (2, 0, "allowed"), (99, 99, "allowed")],
)
def test_the_validation_targets_decide_and_never_the_test_ones(valid, test, rule):
    found = Repeats.of(split_of(valid, test))
    assert (found.rule, found.data_rule, found.any) == (rule, rule, valid + test > 0)


@pytest.mark.parametrize("asked", ["allowed", "excluded"])
def test_what_is_asked_for_wins_and_the_data_still_select(asked):
    assert [Repeats.of(split_of(n, n), asked).rule for n in (0, 99)] == [asked, asked]
    assert [Repeats.of(split_of(n, n), asked).data_rule for n in (0, 99)] == ["excluded", "allowed"]


def test_it_says_what_there_is_what_is_done_and_how_to_change_it():
    told = Repeats.of(split_of(20, 30)).describe()
    assert "20 of 100 validation targets (20.0%) and 30 of 100 test targets" in told
    assert "recommended as any other, as the validation targets say (2% or more)" in told
    assert "evaluate.repeats: excluded" in told
    told = Repeats.of(split_of(20, 30), "excluded").describe()
    assert "never recommended, and these cases are set apart, in no figure, as evaluate.repeats says" in told
    assert "evaluate.repeats: allowed" in told
    assert "none among the targets" in Repeats.of(split_of(0, 0)).describe()


def test_plain_values():
    found = Repeats.of(split_of(1, 3)).as_json()
    assert (found["rule"], found["setting"]) == ("excluded", "auto")
    assert found["valid"] == {"cases": 100, "repeats": 1}
    assert found["test"] == {"cases": 100, "repeats": 3}

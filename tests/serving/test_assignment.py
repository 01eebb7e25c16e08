"""Users to arms: uniform, sticky, independent of other experiments, and stable where shares and traffic change."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare, kstest

from h2rec.errors import ConfigError
from h2rec.serving.experiment.assignment import OUTSIDE, Placement, choose, place, unit
from h2rec.serving.experiment.settings import ExperimentSettings

USERS = [f"u{number}" for number in range(20_000)]
HALVES = {"control": {"share": 0.5}, "treatment": {"share": 0.5}}


def settings(**values):
    return ExperimentSettings.parse({"name": "tail", "arms": HALVES, "log": {"folder": "logs"}} | values)


def arms(found, users=USERS):
    return [place(found, user).arm for user in users]


def test_hashes_are_uniform_finer_than_a_ten_thousandth():
    numbers = np.array([unit("s", "traffic", user) for user in USERS])
    assert kstest(numbers, "uniform").pvalue > 0.001
    assert len(np.unique(numbers)) == len(USERS)
    # Inside one ten-thousandth of the range they are spread as well.
    assert kstest((numbers * 10_000) % 1, "uniform").pvalue > 0.001
    assert 0 < numbers.min() < numbers.max() < 1


@pytest.mark.parametrize(
    "shares", [(0.5, 0.5), (0.9, 0.1), (0.5, 0.3, 0.2), (1 / 3, 1 / 3, 1 / 3, 0)], ids=str
)
def test_arms_get_their_shares_whatever_the_ids_look_like(shares):
    names = {f"arm{place}": share for place, share in enumerate(shares)}
    for users in (
        USERS,
        [f"{number:08d}" for number in range(20_000)],
        [f"a@{number}.org" for number in range(20_000)],
    ):
        counts = Counter(choose(names, "s", user) for user in users)
        assert counts["arm3"] == 0
        expected = np.array([share for share in shares if share])
        found = [counts[f"arm{place}"] for place in range(len(expected))]
        assert chisquare(found, expected / expected.sum() * len(users)).pvalue > 0.001


def test_a_user_keeps_an_arm_on_any_server():
    assert arms(settings()) == arms(settings())
    # Written down once: another version of this software must say the same.
    assert arms(settings(), ["u0", "u1", "u2", "u3", "ü\udcff", "1042"]) == FIRST


FIRST = ["control", "treatment", "control", "control", "control", "control"]


def test_two_experiments_are_independent_and_one_salt_splits_alike():
    one, other = arms(settings()), arms(settings(name="other"))
    table = np.array(
        [[sum(pair == (a, b) for pair in zip(one, other, strict=True)) for a in HALVES] for b in HALVES]
    )
    assert chi2_contingency(table).pvalue > 0.001
    assert arms(settings(name="other", salt="tail")) == one
    # Who takes part says nothing about the arm.
    part = Counter(arms(settings(traffic=0.1)))
    assert chisquare([part["control"], part["treatment"]]).pvalue > 0.001
    assert abs(part[None] / len(USERS) - 0.9) < 0.01


def test_growing_traffic_brings_users_in_and_moves_none():
    before = arms(settings(traffic=0.1))
    for traffic in (0.2, 0.7, 1.0):
        after = arms(settings(traffic=traffic))
        assert all(now == old for old, now in zip(before, after, strict=True) if old is not None)
        before = after
    assert None not in before


def test_changed_shares_move_as_few_as_can_and_only_to_where_more_belong():
    before = arms(settings(arms={"a": {"share": 0.4}, "control": {"share": 0.4}, "c": {"share": 0.2}}))
    after = arms(settings(arms={"c": {"share": 0.4}, "control": {"share": 0.3}, "a": {"share": 0.3}}))
    moved = Counter((old, now) for old, now in zip(before, after, strict=True) if old != now)
    assert set(moved) == {("a", "c"), ("control", "c")}
    assert abs(sum(moved.values()) / len(USERS) - 0.2) < 0.02


def test_who_is_outside():
    found = settings(traffic=0.5, testers={17: "treatment", "off": "control"})
    assert place(found, None) == OUTSIDE
    assert place(found, "17") == Placement("treatment", False)
    assert place(settings(traffic=0), "u0") == OUTSIDE
    assert place(settings(enabled=False, testers={"17": "treatment"}), "17") == OUTSIDE


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"arms": {"control": {"share": 0.5}, "b": {"share": 0.3}}}, r"add up to 0\.8"),
        ({"arms": {"control": {"share": 0.5}, "b": {}}}, "all arms a share, or none"),
        ({"arms": {"a": {}, "b": {}}}, "there is no arm 'control'; there are: a, b"),
        ({"testers": {"u1": "blue"}}, "there is no arm 'blue'"),
        ({"arms": {"control": {}, "m": {"interleave": ["control", "m"]}}}, "'m' is no arm with a bundle"),
        ({"arms": {"control": {}, "m": {"interleave": ["control", "control"]}}}, "two different arms"),
        (
            {"arms": {"control": {}, "b": {}, "m": {"interleave": ["control", "b"], "explore": 0.1}}},
            "explores nothing",
        ),
        ({"arms": {"control": {"interleave": ["a", "b"]}, "a": {}, "b": {}}}, "interleaves others"),
        ({"trafic": 0.5}, "did you mean 'traffic'"),
        ({"traffic": 14}, "traffic"),
        ({"log": {"folder": "logs", "fsnc": True}}, r"did you mean 'log\.fsync'"),
    ],
    ids=str,
)
def test_a_file_that_makes_no_sense_is_refused(values, told):
    with pytest.raises(ConfigError, match=told):
        settings(**values)


def test_paths_of_the_file_are_relative_to_it(tmp_path):
    (tmp_path / "e.yaml").write_text(
        "name: tail\narms: {control: {}, new: {bundle: runs/new}}\nlog: {folder: logs}\n"
    )
    found = ExperimentSettings.load(tmp_path / "e.yaml")
    assert (found.arms["new"].bundle, found.log.folder) == (tmp_path / "runs" / "new", tmp_path / "logs")
    assert found.shares == {"control": 0.5, "new": 0.5}

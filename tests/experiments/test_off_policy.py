"""Estimates for a policy that did not run, on draws whose truth is known; and interleaved lists."""

import numpy as np
import pytest

from h2rec.errors import DataError
from h2rec.experiments.interleaving import interleaved
from h2rec.experiments.log import read_log
from h2rec.experiments.off_policy import off_policy
from made_experiments import DAY, START, write_rows

CLICKS = np.array([0.02, 0.05, 0.1, 0.2])
DRAWN = np.array([0.4, 0.3, 0.2, 0.1])
WANTED = np.array([0.1, 0.2, 0.3, 0.4])
TRUE = float(WANTED @ CLICKS)


def draws(rows, seed=0, clicks=CLICKS):
    random = np.random.default_rng(seed)
    shown = random.choice(4, rows, p=DRAWN)
    return shown, (random.random(rows) < clicks[shown]).astype(float)


def test_intervals_cover_what_the_policy_would_have_earned():
    covered = np.zeros(3)
    for seed in range(200):
        shown, reward = draws(2000, seed)
        rough = np.full(4, 0.1)  # a poor prediction; it costs precision, not truth
        predicted = (rough[shown], np.full(2000, WANTED @ rough))
        found = off_policy(reward, DRAWN[shown], WANTED[shown], predicted=predicted)
        values = (found.ips, found.snips, found.doubly_robust)
        covered += [value.low <= TRUE <= value.high for value in values]
        assert found.warnings == []
    assert covered / 200 == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 200))


def test_a_good_prediction_makes_it_surer():
    shown, reward = draws(5000)
    found = off_policy(reward, DRAWN[shown], WANTED[shown], predicted=(CLICKS[shown], np.full(5000, TRUE)))
    assert found.doubly_robust.high - found.doubly_robust.low < 0.97 * (found.ips.high - found.ips.low)
    same = off_policy(reward, DRAWN[shown], DRAWN[shown])
    assert (same.ips.value, same.snips.value, same.effective_rows) == pytest.approx(
        (reward.mean(), reward.mean(), 5000)
    )


def test_rows_of_one_user_are_not_independent():
    shown, reward = draws(1000)
    often = {
        "rewards": np.repeat(reward, 4),
        "logged": np.repeat(DRAWN[shown], 4),
        "target": np.repeat(WANTED[shown], 4),
    }
    alone, together = off_policy(**often), off_policy(**often, users=np.repeat(np.arange(1000), 4))
    assert together.ips.high - together.ips.low == pytest.approx(
        2 * (alone.ips.high - alone.ips.low), rel=0.01
    )


def test_what_does_not_hold_is_told():
    shown, reward = draws(2000)
    never = np.array([0.1, 0.1, 0.1, 0.7])
    unseen = off_policy(reward[shown < 3], DRAWN[shown[shown < 3]], never[shown[shown < 3]])
    assert any("what was never shown" in warning for warning in unseen.warnings)
    wrong = off_policy(reward, np.full(2000, 0.25), WANTED[shown])
    assert any("The mean weight is" in warning for warning in wrong.warnings)
    rare = np.full(2000, 1.0)
    rare[0] = 0.001
    heavy = off_policy(reward, rare, np.full(2000, 0.5))
    assert any("tell as much as" in warning for warning in heavy.warnings)
    assert any("of all weight" in warning for warning in heavy.warnings)


@pytest.mark.parametrize(
    "values", [([], [], []), ([1], [0.5], [0.5, 0.5]), ([1], [0], [0.5]), ([1], [0.5], [2])]
)
def test_probabilities_that_are_none_are_refused(values):
    with pytest.raises(DataError):
        off_policy(*values)


def lists(tmp_path, rates, users=120):
    random = np.random.default_rng(0)
    rows = []
    for user in range(users):
        request = {"user_id": f"u{user}", "request_id": f"r{user}", "time": START}
        teams = ["old", "new"] * 3
        items = [f"i{number}" for number in range(6)]
        rows.append(
            {
                "event": "impressions",
                **request,
                "experiment": "x",
                "arm": "both",
                "items": items,
                "teams": teams,
            }
        )
        for item, team in zip(items, teams, strict=True):
            if random.random() < rates[team]:
                rows.append(
                    {**request, "event": "click", "event_id": request["request_id"] + item, "item_id": item}
                )
    rows.append(
        {**rows[-1], "event_id": "before", "time": START - DAY}
    )  # before its impression: it does not count
    log = read_log(write_rows(tmp_path / "a.jsonl", rows))
    return log.answers, log.events


def test_interleaved_lists_show_which_arm_is_preferred(tmp_path):
    found = interleaved(*lists(tmp_path / "b", {"old": 0.1, "new": 0.3}), ["old", "new"])
    assert found["p"] < 0.01
    assert found["difference_p"] < 0.01
    assert found["low"] > 0.5
    assert found["share"] == found["preferring"]["new"] / sum(found["preferring"].values())
    even = interleaved(*lists(tmp_path / "c", {"old": 0.2, "new": 0.2}), ["old", "new"])
    assert even["low"] < 0.5 < even["high"]
    assert interleaved(*lists(tmp_path / "d", {"old": 0, "new": 0}, users=2), ["old", "new"]) is None

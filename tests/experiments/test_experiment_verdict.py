"""Ship, don't, or not yet, and why; and that made experiments without an effect are seldom shipped."""

import numpy as np
import pytest

from h2rec.errors import ConfigError
from h2rec.experiments.estimates import Estimate, bootstrap, estimate, two_sided
from h2rec.experiments.looks import Look, look_days, looks_of
from h2rec.experiments.metrics import Metric
from h2rec.experiments.plan import Plan
from h2rec.experiments.verdict import Evidence, verdict_on

ADVV = Metric("advv", "advv", None, "ADVV a user")
CTR = Metric("ctr", "clicks", "impressions", "click-through rate")


def look(lift, error=0.002, day=8):
    return [Look(day, Estimate(1.0, 1 + lift, lift, error), 2.0)]


def judged(plan, primary=0.0, guard=0.0, *, guard_error=0.002, **more):
    looks = look(primary, day=more.get("days", 8))
    evidence = {"alpha": 0.05, "flaws": [], "users": 5000, "days": 8} | more
    guards = {CTR: (0.01, look(guard, guard_error))}
    found = verdict_on(Evidence({ADVV: looks}, guards, **evidence), plan)
    return found["verdict"], " ".join(found["reasons"])


@pytest.mark.parametrize(
    ("plan", "figures", "word", "reason"),
    [
        (Plan(), {"primary": 0.01}, "ship", "ADVV a user +1.00% (+0.60% to +1.40%): that is a gain."),
        (Plan(), {"primary": 0.01, "guard": -0.008}, "not yet", "a fall by more than that can't be excluded"),
        (
            Plan(days=8),
            {"primary": 0.01, "guard": -0.008},
            "don't",
            "a fall by more than that can't be excluded",
        ),
        (Plan(), {"primary": 0.01, "guard": -0.03}, "don't", "it fell by more than it may"),
        (Plan(), {"primary": -0.01}, "don't", "that is a loss"),
        (Plan(days=14), {"primary": 0.001}, "not yet", "may be chance"),
        (Plan(days=8), {"primary": 0.001}, "don't", "The 8 days that were planned are over."),
        (Plan(), {"primary": 0.01, "days": 3}, "not yet", "Only 3 of 7 days are over"),
        (Plan(least_days=0), {"primary": 0.01, "days": 3}, "ship", "that is a gain"),
        (Plan(), {"primary": 0.01, "users": 40}, "not yet", "An arm has 40 users"),
        (Plan(), {"primary": 0.01, "flaws": ["The split is broken."]}, "not yet", "The split is broken."),
        (Plan(), {"primary": 0.01, "guard": float("nan")}, "not yet", "can't be compared"),
    ],
)
def test_a_verdict_and_its_reason(plan, figures, word, reason):
    verdict, reasons = judged(plan, **figures)
    assert verdict == word
    assert reason in reasons


def test_what_is_missing_is_told_in_days():
    """The error is 0.002 after 8 days; a lift of 0.5% needs 0.00178, and so a quarter more days."""
    _, reasons = judged(Plan(days=28, looks=[28], lift=0.005, power=0.8), primary=0.001)
    assert (
        "A lift of 0.5% needs about 3 more days at this traffic to be found in 80% of such experiments."
        in reasons
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"looks": [7]}, "looks need days"),
        ({"days": 14, "looks": [7, 3, 14]}, "days in their order"),
        ({"days": 14, "looks": [7]}, "the last one 14"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "end must come after start"),
        ({"primary": []}, "primary must name a metric"),
        ({"guardrail": {"ctr": 0.01}}, "did you mean 'guardrails'"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(values, told):
    with pytest.raises(ConfigError, match=told):
        Plan.parse(values)


def test_looks_that_are_not_due_are_not_taken():
    assert look_days(Plan(days=14, looks=[7, 14]), 10) == [7]
    assert looks_of([], [], ADVV, Plan(days=14, looks=[7, 14]), alpha=0.05, cuped=False) == []
    assert look_days(Plan(days=14), 3) == [1, 2, 3]


def made(random, users, days, lift=0.0):
    taste = random.gamma(3, 0.05, users)
    impressions = random.poisson(6, (users, days)).cumsum(1).astype(float)
    clicks = random.poisson(6 * taste[:, None] * (1 + lift), (users, days)).cumsum(1).astype(float)
    before = random.poisson(30 * taste).astype(float)
    fixed = {"before_impressions": np.full(users, 30.0), "before_clicks": before}
    return [{"impressions": impressions[:, d], "clicks": clicks[:, d], **fixed} for d in range(days)]


@pytest.mark.parametrize("lift", [0.0, 0.2])
def test_methods_are_wrong_as_often_as_they_say(lift):
    """150 experiments; the rates of 1,000 are in `benchmarks/experiments/results`."""
    random, experiments, days = np.random.default_rng(1), 150, 7
    found = dict.fromkeys(("delta", "cuped", "bootstrap", "covered", "daily", "covered daily", "careless"), 0)
    plan = Plan(days=days)
    for number in range(experiments):
        control, new = made(random, 250, days), made(random, 250, days, lift)
        simple, adjusted = (estimate(CTR, control[-1], new[-1], cuped=cuped) for cuped in (False, True))
        low, high = adjusted.interval(two_sided(0.05))
        after = [(day, a, b) for day, (a, b) in enumerate(zip(control, new, strict=True), start=1)]
        looks = looks_of(after, range(1, days + 1), CTR, plan, alpha=0.05, cuped=True)
        found["delta"] += simple.p < 0.05
        found["cuped"] += adjusted.p < 0.05
        found["bootstrap"] += bootstrap([CTR], control[-1], new[-1], resamples=200, seed=number)[0].p < 0.05
        found["covered"] += low <= lift <= high
        found["daily"] += any(abs(look.estimate.z) > look.bound for look in looks)
        found["covered daily"] += all(low <= lift <= high for low, high in (look.interval for look in looks))
        found["careless"] += any(abs(look.estimate.z) > 1.96 for look in looks)
    rates = {name: count / experiments for name, count in found.items()}
    # Three standard errors of a rate of 0.05 over 150 experiments are 0.053.
    assert rates["covered"] == pytest.approx(0.95, abs=0.053)
    assert rates["covered daily"] > 0.95 - 0.053
    if lift:
        assert rates["cuped"] > 0.9 > rates["delta"] > 0.5
        assert rates["daily"] > rates["cuped"] - 0.06
    else:
        assert max(rates[name] for name in ("delta", "cuped", "bootstrap", "daily")) < 0.05 + 0.053
        assert min(rates[name] for name in ("delta", "cuped", "bootstrap")) > 0
        assert rates["careless"] > 0.05 + 0.053

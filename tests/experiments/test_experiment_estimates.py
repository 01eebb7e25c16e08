"""Lifts against scipy and statsmodels on the same data, and against what is known of made data."""

import math

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportions_chisquare
from tea_tasting.metrics import RatioOfMeans

from h2rec.evaluation.paired_tests import holm
from h2rec.experiments.estimates import Estimate, bootstrap, estimate, two_sided
from h2rec.experiments.looks import Look
from h2rec.experiments.metrics import Metric
from h2rec.experiments.power import days_needed, detectable, needed_error, power_of
from h2rec.experiments.sample_ratio import sample_ratio
from h2rec.experiments.sequential import bounds, spent

MEAN = Metric("advv", "advv", None, "ADVV")
RATIO = Metric("ctr", "clicks", "impressions", "CTR")


def arm(users, seed, lift=0.0):
    """Sums of users whose taste lasts: clicks and ADVV, and the same of the time before."""
    random = np.random.default_rng(seed)
    taste, activity = random.gamma(2, 0.05, users), random.poisson(20, users) + 1.0
    before = random.poisson(15, users).astype(float)
    clicks = random.poisson(activity * taste * (1 + lift)).astype(float)
    return {
        "impressions": activity,
        "clicks": clicks,
        "advv": clicks * random.exponential(2, users),
        "before_impressions": before,
        "before_clicks": random.poisson(before * taste).astype(float),
        "before_advv": before * taste,
    }


@pytest.fixture(scope="module")
def arms():
    return arm(3000, 1), arm(2500, 2, lift=0.1)


@pytest.mark.parametrize("metric", [MEAN, RATIO], ids=["mean", "ratio"])
@pytest.mark.parametrize("cuped", [False, True], ids=["plain", "cuped"])
def test_figures_are_those_of_tea_tasting(arms, metric, cuped):
    names = [*metric.columns, *(f"before_{name}" for name in metric.columns if cuped)]
    columns = [names[0], None if metric.denominator is None else names[1]]
    columns += [f"before_{name}" if name and cuped else None for name in columns]
    peer = RatioOfMeans(*columns, use_t=False, confidence_level=0.95)
    halves = [{"arm": np.full(len(one["clicks"]), n), **one} for n, one in enumerate(arms)]
    table = pa.table({name: np.concatenate([half[name] for half in halves]) for name in ("arm", *names)})
    known = peer.analyze(table, control=0, treatment=1, variant="arm")
    found = estimate(metric, *arms, cuped=cuped)
    # Its coefficient is of both arms thrown together, ours of what users differ in within arms.
    near = 3e-3 if cuped else 1e-9
    assert (found.control, found.treatment) == pytest.approx((known.control, known.treatment), rel=near)
    low, high = found.interval(two_sided(0.05))
    expected = (known.rel_effect_size, known.rel_effect_size_ci_lower, known.rel_effect_size_ci_upper)
    assert (found.lift, low, high) == pytest.approx(expected, abs=(high - low) * near)
    assert found.p == pytest.approx(known.pvalue, rel=0.2)  # that of the difference, not of the logarithm


def test_a_mean_is_that_of_welch(arms):
    control, treatment = (one["advv"] for one in arms)
    found = estimate(MEAN, *arms)
    assert (found.control, found.treatment) == pytest.approx((control.mean(), treatment.mean()))
    welch = stats.ttest_ind(treatment, control, equal_var=False)
    deviation = (found.treatment - found.control) / welch.statistic
    by_parts = math.hypot(
        *(one.std(ddof=1) / math.sqrt(len(one)) / one.mean() for one in (control, treatment))
    )
    assert found.error == pytest.approx(by_parts)
    assert found.error * control.mean() == pytest.approx(deviation, rel=0.1)
    assert found.p == pytest.approx(welch.pvalue, rel=0.2)


def test_the_delta_method_is_the_regression_with_errors_by_user(arms):
    """A ratio of sums is a weighted regression on the arm; its robust errors are those of the delta method."""
    clicks, impressions = (np.concatenate([one[name] for one in arms]) for name in ("clicks", "impressions"))
    new = np.repeat([0.0, 1.0], [len(one["clicks"]) for one in arms])
    fitted = sm.WLS(clicks / impressions, np.column_stack([1 - new, new]), weights=impressions).fit(
        cov_type="HC0"
    )
    found = estimate(RATIO, *arms)
    assert (found.control, found.treatment) == pytest.approx(tuple(fitted.params))
    assert found.error == pytest.approx(math.hypot(*(fitted.bse / fitted.params)), rel=1e-3)


def test_cuped_is_the_regression_on_the_time_before(arms):
    values, before = (np.concatenate([one[name] for one in arms]) for name in ("advv", "before_advv"))
    new = np.repeat([0.0, 1.0], [len(one["advv"]) for one in arms])
    fitted = sm.OLS(values, np.column_stack([1 - new, new, before - before.mean()])).fit(cov_type="HC0")
    found = estimate(MEAN, *arms, cuped=True)
    assert (found.control, found.treatment) == pytest.approx(tuple(fitted.params[:2]), rel=1e-6)
    assert found.error == pytest.approx(math.hypot(*(fitted.bse[:2] / fitted.params[:2])), rel=0.03)
    assert found.error < 0.95 * estimate(MEAN, *arms).error


def test_the_bootstrap_agrees_with_scipy_and_with_the_delta_method(arms):
    control, treatment = arms

    def lift(a, b, c, d, axis=-1):
        return (c.sum(axis) / d.sum(axis)) / (a.sum(axis) / b.sum(axis)) - 1

    data = [one[name] for one in arms for name in ("clicks", "impressions")]
    halves = [np.stack(data[:2]), np.stack(data[2:])]
    drawn = stats.bootstrap(
        [np.arange(half.shape[1]) for half in halves],
        lambda i, j, axis: lift(*halves[0][:, i], *halves[1][:, j], axis=axis),
        n_resamples=1000, method="percentile", vectorized=True, rng=np.random.default_rng(0),
    )  # fmt: skip
    (found,) = bootstrap([RATIO], control, treatment, resamples=1000)
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx(tuple(drawn.confidence_interval), abs=0.1 * width)
    assert (found.low, found.high) == pytest.approx(
        estimate(RATIO, control, treatment).interval(1.96), abs=0.1 * width
    )


def test_many_users_are_drawn_in_groups_with_the_same_spread():
    control, treatment = arm(20_000, 3), arm(20_000, 4)
    both = bootstrap([MEAN, RATIO], control, treatment, resamples=1000)
    for metric, found in zip((MEAN, RATIO), both, strict=True):
        low, high = estimate(metric, control, treatment).interval(1.96)
        assert found.high - found.low == pytest.approx(high - low, rel=0.1)


def test_what_an_arm_has_nothing_of_has_no_lift(arms):
    control, treatment = arms
    nothing = treatment | {
        "clicks": np.zeros(len(treatment["clicks"])),
        "advv": np.zeros(len(treatment["clicks"])),
    }
    for metric in (MEAN, RATIO):
        for pair in ((control, nothing), (nothing, control), (nothing, nothing)):
            found = estimate(metric, *pair)
            assert not found.known
            assert found.to_json(0.05)["low"] is None
    assert math.isnan(bootstrap([RATIO], nothing, control, resamples=100)[0].p)


def test_holms_correction_is_that_of_statsmodels():
    p = [0.001, 0.04, 0.03, 0.2, 0.011]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_the_split_is_tested_as_statsmodels_does():
    found = sample_ratio({"control": 5100, "new": 4900}, None)
    chi_square, p, _ = proportions_chisquare([5100], [10_000], value=0.5)
    assert (found["statistic"], found["p"]) == pytest.approx((chi_square, p))
    assert not found["mismatch"]
    assert sample_ratio({"control": 5300, "new": 4700}, None)["mismatch"]
    assert sample_ratio({"a": 900, "b": 100}, {"a": 9, "b": 1})["p"] == pytest.approx(1.0)


def test_power_is_that_of_statsmodels():
    solver, users, deviation = NormalIndPower(), 5000, 1.7
    error = math.sqrt(2 / users) * deviation  # of the log of the ratio, for a mean of one
    effect = math.log1p(0.05) / deviation
    assert power_of(0.05, error, 1.959964) == pytest.approx(solver.power(effect, users, 0.05), abs=1e-4)
    smallest = detectable(error, 1.959964, 0.8)
    assert math.log1p(smallest) / deviation == pytest.approx(
        solver.solve_power(None, users, 0.05, 0.8), rel=1e-3
    )
    needed = (error / needed_error(0.05, 1.959964, 0.8)) ** 2 * users
    assert needed == pytest.approx(solver.solve_power(effect, None, 0.05, 0.8), rel=1e-3)


def looks(errors):
    return [Look(day, Estimate(1, 1, 0.0, error), 2.0) for day, error in enumerate(errors, start=1)]


def test_days_follow_how_the_error_has_fallen():
    wanted = needed_error(0.01, 1.96, 0.8)
    falling = looks([2 * wanted * math.sqrt(8 / day) for day in range(1, 9)])
    assert days_needed(falling, 0.01, 1.96, 0.8) == pytest.approx(32)
    slower = looks([2 * wanted * (8 / day) ** 0.25 for day in range(1, 9)])
    assert days_needed(slower, 0.01, 1.96, 0.8) == pytest.approx(128)
    assert days_needed(looks([2 * wanted] * 8), 0.01, 1.96, 0.8) is None
    assert days_needed([], 0.01, 1.96, 0.8) is None


def test_bounds_are_those_of_gsdesign():
    """sfLDOF of R's gsDesign, five looks, one-sided 0.025."""
    published = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
    assert bounds([0.2, 0.4, 0.6, 0.8, 1.0], [1, 2, 3, 4, 5], 0.05) == pytest.approx(published, abs=2e-3)
    assert bounds([1.0], [7], 0.05) == pytest.approx([1.959964], abs=1e-4)
    assert spent(1.0, 0.03) == spent(2.0, 0.03) == pytest.approx(0.03)


def test_bounds_hold_where_time_and_data_do_not_grow_alike():
    information = np.array([1, 4, 9, 10, 18, 30.0])
    reached = bounds([0.1, 0.3, 0.4, 0.6, 0.9, 1.0], information, 0.1)
    random = np.random.default_rng(0)
    steps = np.sqrt(np.diff(information, prepend=0)) * random.standard_normal((200_000, 6))
    z = steps.cumsum(axis=1) / np.sqrt(information)
    assert (np.abs(z) > reached).any(axis=1).mean() == pytest.approx(0.1, abs=0.003)

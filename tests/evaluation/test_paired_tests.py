"""Bootstrap, t test and Holm's correction, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from h2rec.evaluation.paired_tests import bootstrap_means, holm, paired_tests


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(4)
    a = rng.exponential(size=(400, 3))
    return a + rng.normal([0.0, 0.05, 0.2], 0.5, size=(400, 3)), a


def test_t_and_effect_size_equal_scipy(pairs):
    a, b = pairs
    made = paired_tests(a - b, resamples=10)
    expected = stats.ttest_rel(a, b)
    assert made.p_t == pytest.approx(expected.pvalue, rel=1e-6)
    assert made.effect_size == pytest.approx(expected.statistic / 20, rel=1e-6)


def test_bootstrap_equals_scipy(pairs):
    a, b = pairs
    made = paired_tests(a - b, resamples=20_000, confidence=0.9)
    for column in range(3):
        theirs = stats.bootstrap(
            ((a - b)[:, column],),
            np.mean,
            n_resamples=20_000,
            confidence_level=0.9,
            method="percentile",
            random_state=1,
        )
        # Two independent samples of 20,000: their quantiles differ by about a hundredth of a deviation.
        close = 0.05 * theirs.standard_error
        assert made.low[column] == pytest.approx(theirs.confidence_interval.low, abs=close)
        assert made.high[column] == pytest.approx(theirs.confidence_interval.high, abs=close)
        drawn = theirs.bootstrap_distribution
        expected = 2 * min((drawn <= 0).mean(), (drawn >= 0).mean())
        assert made.p_bootstrap[column] == pytest.approx(expected, abs=0.02)


def test_means_are_of_rows_drawn_with_replacement():
    means = bootstrap_means(np.array([[0.0, 0], [1, 10], [2, 20]]), 9000, 0)
    assert means[:, 1] == pytest.approx(10 * means[:, 0])  # columns share their rows
    values, counts = np.unique(np.round(means[:, 0] * 3), return_counts=True)
    assert values.tolist() == [0, 1, 2, 3, 4, 5, 6]
    # Sums of three draws from 0, 1, 2: 1, 3, 6, 7, 6, 3, 1 of 27 ways.
    assert counts / 9000 == pytest.approx(np.array([1, 3, 6, 7, 6, 3, 1]) / 27, abs=0.015)


def test_batches_do_not_repeat_themselves(monkeypatch):
    monkeypatch.setattr("h2rec.evaluation.paired_tests._COUNTS_AT_ONCE", 100)
    means = bootstrap_means(np.random.default_rng(0).normal(size=(40, 1)), 101, 0)
    assert len(np.unique(means)) == 101


def test_the_seed_decides(pairs):
    differences = pairs[0] - pairs[1]
    first, again, other = (paired_tests(differences, resamples=500, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.low, again.low)
    assert not np.array_equal(first.low, other.low)


def test_no_difference_and_no_variation():
    made = paired_tests(np.array([[0.0, 0.5, 1e-17], [0.0, 0.5, -3e-17]]), resamples=99)
    assert made.p_t.tolist() == [1.0, 0.0, 1.0]
    assert made.p_bootstrap.tolist() == [1.0, 0.02, 1.0]
    assert made.effect_size.tolist() == [0.0, np.inf, 0.0]


def test_false_alarms_are_as_rare_as_promised():
    # 400 experiments without any effect: about one in twenty is below 0.05 (binomial: 9 to 33 in 99.9%).
    differences = np.random.default_rng(8).normal(size=(200, 400))
    made = paired_tests(differences, resamples=2000)
    assert 9 <= (made.p_t < 0.05).sum() <= 33
    assert 9 <= (made.p_bootstrap < 0.05).sum() <= 33


def test_holm_by_hand():
    # Sorted: .005*4=.02, .01*3=.03, .03*2=.06, .04*1 -> raised to .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])
    assert len(holm([])) == 0

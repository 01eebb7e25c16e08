"""Who gets shown, by hand and against definitions."""

import numpy as np
import pytest

from h2rec.evaluation.exposure import exposure, gini

HEAD = np.array([False, True, False, False, False])
COUNTS = np.array([0, 10, 4, 1, 0])


def test_by_hand():
    top = np.array([[1, 2], [1, 3], [1, 0]], np.int32)  # the last list ends early
    figures = exposure(top, [1, 2], HEAD, COUNTS)
    assert figures == {
        "coverage@1": 0.25,
        "tail_share@1": 0.0,
        "gini@1": 0.75,
        "popularity@1": 10.0,
        "coverage@2": 0.75,
        "tail_share@2": pytest.approx(2 / 5),
        # Places 0, 1, 1, 3: differences sum to 1+1+3+0+2+2 = 9 over pairs; 9 / (4 * 5).
        "gini@2": pytest.approx(9 / 20),
        "popularity@2": pytest.approx((3 * 10 + 4 + 1) / 5),
    }


def test_nothing_listed():
    figures = exposure(np.zeros((2, 3), np.int32), [3], HEAD, COUNTS)
    assert set(figures.values()) == {0.0}


def test_gini_is_half_the_relative_mean_difference():
    amounts = np.random.default_rng(0).gamma(0.5, size=200)
    differences = np.abs(amounts[:, None] - amounts[None, :]).mean()
    assert gini(amounts) == pytest.approx(differences / (2 * amounts.mean()))
    assert gini(np.full(7, 3.0)) == pytest.approx(0)
    assert gini(np.eye(1, 100)[0]) == pytest.approx(0.99)

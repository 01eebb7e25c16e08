"""Paired tests of differences: bootstrap over cases, t test, Holm's correction."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.evaluation.metrics import Floats
from h2rec.runtime import random_stream

_COUNTS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class PairedTests:
    """Tests of M differences against zero, each field float64 `[M]`."""

    low: Floats
    high: Floats
    """Percentile interval of the mean."""
    p_bootstrap: Floats
    p_t: Floats
    """Two-sided p-values."""
    effect_size: Floats
    """Cohen's d_z: the mean over the standard deviation of the differences."""


def paired_tests(
    differences: Floats, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> PairedTests:
    """Test the columns of differences `[n, M]`, n at least 2; all columns share their bootstrap samples.

    A bootstrap p-value is at least ``2 / (resamples + 1)``.
    """
    from scipy import stats  # imported late: a second, and a training needs it at its end

    # The last bits of a mean over seeds depend on their order, and are no effect.
    differences = np.round(differences, 12)
    count = len(differences)
    sampled = bootstrap_means(differences, resamples, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(sampled, [tail, 1 - tail], axis=0)
    extreme = np.minimum((sampled <= 0).sum(axis=0), (sampled >= 0).sum(axis=0))
    mean, deviation = differences.mean(axis=0), differences.std(axis=0, ddof=1)
    # Without any variation the effect is zero or infinite.
    constant = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))
    effect = np.divide(mean, deviation, out=constant, where=deviation > 0)
    return PairedTests(
        low=low,
        high=high,
        p_bootstrap=np.minimum(2 * (extreme + 1) / (resamples + 1), 1.0),
        p_t=2 * stats.t.sf(np.abs(effect) * np.sqrt(count), count - 1),
        effect_size=effect,
    )


def bootstrap_means(values: Floats, resamples: int, seed: int) -> Floats:
    """Means of resampled rows of values `[n, M]`, float64 `[resamples, M]`; columns share their rows."""
    count = len(values)
    stream = random_stream(seed, "bootstrap")
    batch = max(1, _COUNTS_AT_ONCE // count)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        # Counts of the drawn rows make the means of all columns one matrix product.
        drawn = stream.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means[start : start + size] = times.astype(np.float64) @ values / count
    return means


def holm(p_values: npt.ArrayLike) -> Floats:
    """Holm's step-down correction (1979): adjusted p-values `[m]`, in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted

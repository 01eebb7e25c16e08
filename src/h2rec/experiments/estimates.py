"""Relative lifts with intervals, the user as the unit: delta method, CUPED, bootstrap.

A metric is a ratio of two means over users, or a mean. Its variance is that of the delta method (Deng et al. 2018). Its
interval and p-value are those of log(1 + lift), so that they never disagree. CUPED (Deng et al. 2013) takes out what
the same metric of the same users said before the start; one coefficient holds for both arms.

Tests hold the figures against tea-tasting, statsmodels and scipy. Of these, tea-tasting has all of it, but takes
milliseconds for a figure: a thousand experiments with a look every day, which show how often all this is wrong, need
it faster.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from h2rec.evaluation.paired_tests import bootstrap_means
from h2rec.experiments.metrics import Metric

Floats = npt.NDArray[np.float64]
Sums = Mapping[str, Floats]
"""Sums of an arm's users by name, each `[users]`; ``before_NAME`` is that of the time before the start."""

_BUCKETS = 4096
"""Groups of users that the bootstrap draws from where there are more users."""


@dataclass(frozen=True)
class Estimate:
    """A metric in two arms. Lift and error are NaN where an arm has nothing of it."""

    control: float
    treatment: float
    lift: float
    """Relative: 0.01 is 1% more."""
    error: float
    """Standard error of log(1 + lift)."""

    @property
    def z(self) -> float:
        """log(1 + lift) in standard errors."""
        return math.log1p(self.lift) / self.error if self.known else math.nan

    @property
    def p(self) -> float:
        """Two-sided, of there being no lift."""
        return float(2 * special.ndtr(-abs(self.z)))

    @property
    def known(self) -> bool:
        """Whether a lift can be told."""
        return math.isfinite(self.lift) and self.lift > -1 and self.error > 0

    def interval(self, bound: float) -> tuple[float, float]:
        """The lifts that lie within so many standard errors."""
        if not self.known:
            return math.nan, math.nan
        return tuple(math.expm1(math.log1p(self.lift) + sign * bound * self.error) for sign in (-1, 1))  # type: ignore[return-value]

    def to_json(self, alpha: float) -> dict[str, Any]:
        """Plain values, the interval at level ``1 - alpha``; what can't be told is None."""
        low, high = self.interval(two_sided(alpha))
        values = {
            "control": self.control,
            "treatment": self.treatment,
            "lift": self.lift,
            "low": low,
            "high": high,
            "p": self.p,
        }
        return {name: plain(value) for name, value in values.items()}


def two_sided(alpha: float) -> float:
    """Standard errors that a two-sided interval of level ``1 - alpha`` reaches."""
    return float(-special.ndtri(alpha / 2))


def plain(value: float) -> float | None:
    """A number of JSON, which has none for infinity."""
    return float(value) if math.isfinite(value) else None


def estimate(metric: Metric, control: Sums, treatment: Sums, *, cuped: bool = False) -> Estimate:
    """Compare two arms by the delta method, with `cuped` after adjusting for the time before the start."""
    arms = [_Ratio.of(sums, metric.columns) for sums in (control, treatment)]
    values, variances = [arm.value for arm in arms], [arm.covariance(arm) for arm in arms]
    if cuped:
        columns = [f"before_{name}" for name in metric.columns]
        before = [_Ratio.of(sums, columns) for sums in (control, treatment)]
        size = [len(arm.deviations) for arm in arms]
        # Variances of users within arms: what an arm has gained does not enter the coefficient.
        spread = sum(n * n * own.covariance(own) for n, own in zip(size, before, strict=True))
        shared = sum(n * n * arm.covariance(own) for n, arm, own in zip(size, arms, before, strict=True))
        slope = shared / spread if spread > 0 else 0.0
        both = {name: np.concatenate([control[name], treatment[name]]) for name in columns}
        middle = _Ratio.of(both, columns).value if spread > 0 else 0.0
        for n, (arm, own) in enumerate(zip(arms, before, strict=True)):
            values[n] -= slope * (own.value - middle) if slope else 0.0
            variances[n] += slope**2 * own.covariance(own) - 2 * slope * arm.covariance(own)
    if not all(value > 0 for value in values):
        return Estimate(values[0], values[1], math.nan, math.nan)
    error = math.sqrt(sum(max(v, 0.0) / x**2 for v, x in zip(variances, values, strict=True)))
    return Estimate(values[0], values[1], values[1] / values[0] - 1, error)


@dataclass(frozen=True, eq=False)
class _Ratio:
    """A ratio of two means over users, or a mean, and how far each user moves it."""

    value: float
    deviations: Floats

    @classmethod
    def of(cls, sums: Sums, columns: Sequence[str]) -> "_Ratio":
        above = sums[columns[0]]
        below = sums[columns[1]] if len(columns) > 1 else np.ones(len(above))
        whole = float(below.sum())
        if not whole:
            return cls(math.nan, np.zeros(len(above)))
        value = float(above.sum() / whole)
        return cls(value, (above - value * below) * (len(above) / whole))

    def covariance(self, other: "_Ratio") -> float:
        """Covariance of two ratios over the same users."""
        n = len(self.deviations)
        return float(self.deviations @ other.deviations / max(n - 1, 1) / max(n, 1))


@dataclass(frozen=True)
class Bootstrap:
    """Percentile interval of the lift and its two-sided p-value; NaN where there is no lift."""

    low: float
    high: float
    p: float


def bootstrap(
    metrics: Sequence[Metric],
    control: Sums,
    treatment: Sums,
    *,
    alpha: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Bootstrap]:
    """Draw users with replacement, each arm by itself, the same ones for all metrics.

    A p-value is at least ``2 / (resamples + 1)``. Of many users, groups of users are drawn, into which they fall at
    random: their sums are independent, too.
    """
    ratios = []
    for number, sums in enumerate((control, treatment)):
        ones = np.ones(len(sums[metrics[0].numerator]))
        parts = [(sums[m.numerator], ones if m.denominator is None else sums[m.denominator]) for m in metrics]
        values = np.stack([column for pair in parts for column in pair], axis=1)
        if len(values) > _BUCKETS:
            bucket = np.random.default_rng([seed, number]).permutation(len(values)) % _BUCKETS
            values = np.stack([np.bincount(bucket, column, _BUCKETS) for column in values.T], axis=1)
        means = bootstrap_means(values, resamples, 2 * seed + number)
        with np.errstate(all="ignore"):
            ratios.append(means[:, ::2] / means[:, 1::2])
    with np.errstate(all="ignore"):
        lifts = ratios[1] / ratios[0] - 1
    return [_percentiles(own, alpha) for own in lifts.T]


def _percentiles(lifts: Floats, alpha: float) -> Bootstrap:
    if not np.isfinite(lifts).all():
        return Bootstrap(math.nan, math.nan, math.nan)
    low, high = np.quantile(lifts, [alpha / 2, 1 - alpha / 2])
    extreme = min((lifts <= 0).sum(), (lifts >= 0).sum())
    return Bootstrap(float(low), float(high), float(min(2 * (extreme + 1) / (len(lifts) + 1), 1.0)))

"""Relative lifts with intervals, the user as the unit: delta method, CUPED, bootstrap.

A metric is a ratio of two means over users, or a mean. Its variance is that of the delta method (Deng et al. 2018), its
interval is symmetric on the scale of log(1 + lift). CUPED (Deng et al. 2013) takes out what the same metric of the same
users said before the start; one coefficient holds for both arms.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from h2rec.errors import MissingExtraError
from h2rec.evaluation.paired_tests import bootstrap_means
from h2rec.experiments.metrics import Metric

if TYPE_CHECKING:
    from tea_tasting.aggr import Aggregates

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
    p: float
    """Two-sided, of the difference being zero."""

    @property
    def z(self) -> float:
        """log(1 + lift) in standard errors."""
        return math.log1p(self.lift) / self.error if self.known else math.nan

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
    return float(stats.norm.isf(alpha / 2))


def plain(value: float) -> float | None:
    """A number of JSON, which has none for infinity."""
    return float(value) if math.isfinite(value) else None


def estimate(metric: Metric, control: Sums, treatment: Sums, *, cuped: bool = False) -> Estimate:
    """Compare two arms by the delta method, with `cuped` after adjusting for the time before the start.

    Raises `MissingExtraError` without the extra `experiments`.
    """
    try:
        from tea_tasting.metrics import RatioOfMeans
    except ImportError:
        raise MissingExtraError("the analysis of an experiment", "experiments") from None
    before = [f"before_{name}" for name in metric.columns] if cuped else []
    level = 0.95
    measured = RatioOfMeans(
        metric.numerator,
        metric.denominator,
        *before,
        confidence_level=level,
        use_t=False,
        equal_var=False,
        alternative="two-sided",
    )
    names = [*metric.columns, *before]
    with np.errstate(all="ignore"):
        try:
            found = measured.analyze_aggregates(_aggregates(control, names), _aggregates(treatment, names))
        except (ValueError, OverflowError):  # the logarithm of nothing
            return Estimate(_mean(metric, control), _mean(metric, treatment), math.nan, math.nan, math.nan)
    lift, high = float(found.rel_effect_size), float(found.rel_effect_size_ci_upper)
    known = math.isfinite(lift) and math.isfinite(high) and found.control > 0 and found.treatment > 0
    error = math.log((1 + high) / (1 + lift)) / two_sided(1 - level) if known else math.nan
    return Estimate(
        float(found.control), float(found.treatment), lift if known else math.nan, error, float(found.pvalue)
    )


def _mean(metric: Metric, sums: Sums) -> float:
    below = len(sums[metric.numerator]) if metric.denominator is None else sums[metric.denominator].sum()
    return float(sums[metric.numerator].sum() / below) if below else math.nan


def _aggregates(sums: Sums, names: list[str]) -> "Aggregates":
    from tea_tasting.aggr import Aggregates

    values = np.stack([sums[name] for name in names])
    means, covariances = values.mean(axis=1), np.atleast_2d(np.cov(values))
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    return Aggregates(
        count_=values.shape[1],
        mean_=dict(zip(names, map(float, means), strict=True)),
        var_={name: float(covariances[i, i]) for i, name in enumerate(names)},
        cov_={(names[i], names[j]): float(covariances[i, j]) for i, j in pairs},
    )


@dataclass(frozen=True)
class Bootstrap:
    """Percentile interval of the lift and its two-sided p-value; NaN where there is no lift."""

    low: float
    high: float
    p: float


def bootstrap(
    metric: Metric, control: Sums, treatment: Sums, *, alpha: float = 0.05, resamples: int = 2000, seed: int = 0
) -> Bootstrap:  # fmt: skip
    """Draw users with replacement, each arm by itself; a p-value is at least ``2 / (resamples + 1)``.

    Of many users, groups of users are drawn, into which they fall at random: their sums are independent, too.
    """
    ratios = []
    for number, sums in enumerate((control, treatment)):
        above = sums[metric.numerator]
        below = np.ones_like(above) if metric.denominator is None else sums[metric.denominator]
        values = np.stack([above, below], axis=1)
        if len(values) > _BUCKETS:
            bucket = np.random.default_rng([seed, number]).permutation(len(values)) % _BUCKETS
            values = np.stack([np.bincount(bucket, column, _BUCKETS) for column in values.T], axis=1)
        means = bootstrap_means(values, resamples, 2 * seed + number)
        ratios.append(
            np.divide(means[:, 0], means[:, 1], out=np.full(resamples, np.nan), where=means[:, 1] > 0)
        )
    with np.errstate(all="ignore"):
        lifts = ratios[1] / ratios[0] - 1
    if not np.isfinite(lifts).all():
        return Bootstrap(math.nan, math.nan, math.nan)
    low, high = np.quantile(lifts, [alpha / 2, 1 - alpha / 2])
    extreme = min((lifts <= 0).sum(), (lifts >= 0).sum())
    return Bootstrap(float(low), float(high), float(min(2 * (extreme + 1) / (resamples + 1), 1.0)))

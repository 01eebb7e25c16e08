"""What another policy would have earned, from a log that knows how likely each item was to be shown.

Inverse-propensity, self-normalised and doubly robust estimates (Dudík et al. 2014; Swaminathan and Joachims 2015). They
hold where items were drawn at random with the propensities that the log states, and where everything that the other
policy shows was shown now and then. `warnings` says where that is in doubt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.errors import DataError
from h2rec.experiments.estimates import Floats, two_sided

_FEW = 0.1
"""Share of the rows below which the effective sample is told to be small."""
_HEAVY = 0.05
"""Share of all weight that one row may have."""
_FAR = 4.0
"""Standard errors by which the mean weight may miss 1."""


@dataclass(frozen=True)
class Value:
    """Mean reward of a policy and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OffPolicy:
    """Estimates of a policy's mean reward a row."""

    ips: Value
    """Inverse propensities: unbiased, and the least sure."""
    snips: Value
    """Weights divided by their mean: hardly biased, surer."""
    doubly_robust: Value | None
    """With predicted rewards; None without them."""
    effective_rows: float
    """How many rows of the policy itself would tell as much: ``(sum w)^2 / sum w^2``."""
    mean_weight: float
    """1 where propensities are right and all that the policy shows was shown."""
    warnings: list[str]


def off_policy(
    rewards: npt.ArrayLike,
    logged: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    predicted: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    users: Sequence[object] | None = None,
    alpha: float = 0.05,
) -> OffPolicy:
    """Estimate the mean reward of a policy from rows that another one has drawn.

    Parameters
    ----------
    rewards
        What came of each row, `[n]`: 1 for a click, or an amount.
    logged, target
        Probabilities of the item that was shown, of the policy that drew it and of the one that is asked for, `[n]`.
    predicted
        Rewards as a model predicts them: of the item that was shown, and the mean over the items as the policy that is
        asked for draws them, each `[n]`. They must not have been fitted on these rows.
    users
        Whose rows they are: rows of one user are not independent. By default each row stands for itself.
    alpha
        Intervals are of level ``1 - alpha``.

    Raises `DataError` if lengths differ, or a probability is none.
    """
    reward, draws, wanted = (np.asarray(values, np.float64) for values in (rewards, logged, target))
    if not len(reward) or not reward.shape == draws.shape == wanted.shape:
        raise DataError("rewards, logged and target must be of one length above zero")
    if not ((draws > 0) & (draws <= 1)).all() or not ((wanted >= 0) & (wanted <= 1)).all():
        raise DataError("probabilities must lie between 0 and 1, those of what was logged above 0")
    weights = wanted / draws
    _, of_user = np.unique(
        np.arange(len(reward)) if users is None else np.asarray(users), return_inverse=True
    )
    ones, bound = np.ones_like(reward), two_sided(alpha)

    def value(above: Floats, below: Floats) -> Value:
        mean, error = _ratio(above, below, of_user)
        return Value(mean, mean - bound * error, mean + bound * error)

    robust = None
    if predicted is not None:
        shown, expected = (np.asarray(values, np.float64) for values in predicted)
        if not shown.shape == expected.shape == reward.shape:
            raise DataError("predicted rewards must be as many as rewards")
        robust = value(expected + weights * (reward - shown), ones)
    whole = float(weights.sum())
    effective = whole**2 / float(weights @ weights) if whole else 0.0
    return OffPolicy(
        ips=value(weights * reward, ones),
        snips=value(weights * reward, weights),
        doubly_robust=robust,
        effective_rows=effective,
        mean_weight=whole / len(weights),
        warnings=list(_warnings(weights, effective, of_user)),
    )


def _ratio(above: Floats, below: Floats, of_user: npt.NDArray[np.int64]) -> tuple[float, float]:
    """A ratio of two sums, and its standard error with the user as the unit (delta method)."""
    whole = below.sum()
    if not whole:
        return math.nan, math.nan
    mean = float(above.sum() / whole)
    moved = np.bincount(of_user, above - mean * below) / whole
    count = len(moved)
    return mean, float(np.sqrt(count / max(count - 1, 1) * (moved @ moved)))


def _warnings(weights: Floats, effective: float, of_user: npt.NDArray[np.int64]) -> Sequence[str]:
    found = []
    if effective < _FEW * len(weights):
        found.append(
            f"The policies differ much: {len(weights):,} rows tell as much as {effective:,.0f} of the policy itself."
        )
    if weights.max() > _HEAVY * weights.sum():
        found.append(
            f"One row has {weights.max() / max(weights.sum(), 1e-300):.0%} of all weight: a few rows decide."
        )
    mean, error = _ratio(weights, np.ones_like(weights), of_user)
    if abs(mean - 1) > _FAR * max(error, 1e-12):
        found.append(
            f"The mean weight is {mean:.3f}, not 1: the propensities are wrong, or the policy shows "
            "what was never shown."
        )
    return found

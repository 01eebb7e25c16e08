"""What an experiment could find so far, and how long it has to go on."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from h2rec.experiments.looks import Look

_SLOWEST = 0.15
"""Where the error falls more slowly than days to this power, days alone will not do."""


def power_of(lift: float, error: float, bound: float) -> float:
    """Chance to find a relative lift, given the standard error of log(1 + lift) and the bound in standard errors."""
    shift = math.log1p(lift) / error
    return float(stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift))


def detectable(error: float, bound: float, power: float) -> float:
    """The smallest relative lift that is found with a chance of `power`."""
    return math.expm1((bound + stats.norm.ppf(power)) * error)


def needed_error(lift: float, bound: float, power: float) -> float:
    """Standard error of log(1 + lift) at which a lift is found with a chance of `power`."""
    return float(math.log1p(lift) / (bound + stats.norm.ppf(power)))


def days_needed(looks: Sequence[Look], lift: float, bound: float, power: float) -> float | None:
    """Days from the start after which a lift is found with a chance of `power`.

    The squared error falls as a power of the days, as it did so far: users who come again tell less than new ones.
    None where it hardly falls, or nothing is known yet.
    """
    known = [look for look in looks if look.estimate.known]
    if not known:
        return None
    last = known[-1]
    recent = [look for look in known if 2 * look.day >= last.day]
    rate = 1.0
    if len(recent) >= 3:
        days = np.log([look.day for look in recent])
        rate = -2 * float(np.polyfit(days, np.log([look.estimate.error for look in recent]), 1)[0])
    if rate < _SLOWEST:
        return None
    ratio = (last.estimate.error / needed_error(lift, bound, power)) ** 2
    return float(last.day * ratio ** (1 / min(rate, 1.0)))

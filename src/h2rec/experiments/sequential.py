"""Looks at an experiment while it runs that keep its rate of false alarms: group-sequential bounds.

Alpha is spent over the planned time as Lan and DeMets (1983) do, by the function that is like O'Brien and Fleming's:
hardly any at first, nearly all at the end. So a look every day costs little power, and the last bound lies close to
that of a single look. What is spent by a look depends on the calendar, what two looks have in common on their data (Lan
and DeMets 1989). Values of users who come again are more alike than this takes for granted, which makes the bounds
wider than they need to be, never narrower.

Always-valid confidence sequences need no plan. They take about twice the users for the same power
(`benchmarks/experiments`), and a plan has to be made anyway to know whether the users suffice.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

_GRID = 201
_WIDEST = 8.5
"""Standard errors; nothing that is farther out is ever seen."""


def spent(fraction: float, alpha: float) -> float:
    """Alpha that may be spent by a fraction of the planned time, half of it on either side."""
    if fraction >= 1:
        return alpha
    if fraction <= 0:
        return 0.0
    return float(4 * special.ndtr(special.ndtri(alpha / 4) / math.sqrt(fraction)))


def bounds(fractions: Sequence[float], information: Sequence[float], alpha: float) -> list[float]:
    """Standard errors that an effect must exceed at each look, either way.

    Parameters
    ----------
    fractions
        Share of the planned time that has passed at each look, rising.
    information
        How much data each look has, in any unit, rising: squares of correlations between looks are its ratios.
    alpha
        Two-sided rate of false alarms over all looks.

    Returns the bounds; with one look at fraction 1 that is the normal quantile.
    """
    whole = max(information, default=1.0)
    return list(_bounds(tuple(fractions), tuple(float(known) / whole for known in information), alpha))


@lru_cache(maxsize=256)
def _bounds(fractions: tuple[float, ...], information: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    found: list[float] = []
    before = 0.0
    grid: npt.NDArray[np.float64] = np.zeros(1)
    mass: npt.NDArray[np.float64] = np.ones(
        1
    )  # of the sum of what is known, where no bound was crossed so far
    for number, (fraction, known) in enumerate(zip(fractions, information, strict=True)):
        step = math.sqrt(max(known - (information[number - 1] if number else 0.0), 1e-6))
        level = spent(fraction, alpha) - before
        before = spent(fraction, alpha)
        scale = math.sqrt(known)

        def crossing(bound: float, grid=grid, mass=mass, step=step, scale=scale) -> float:  # type: ignore[no-untyped-def]
            outside = special.ndtr((grid - bound * scale) / step) + special.ndtr(
                -(grid + bound * scale) / step
            )
            return float(mass @ outside)

        if crossing(_WIDEST) >= level:
            bound = _WIDEST
        else:
            bound = float(optimize.brentq(lambda b: crossing(b) - level, 0.0, _WIDEST, xtol=1e-6))  # noqa: B023
        found.append(bound)
        # Simpson's rule on what did not cross.
        after = np.linspace(-bound * scale, bound * scale, _GRID)
        weights = np.full(_GRID, 2.0)
        weights[1::2] = 4.0
        weights[[0, -1]] = 1.0
        weights *= (after[1] - after[0]) / 3
        density = (
            np.exp(-0.5 * ((after[:, None] - grid) / step) ** 2) @ mass / (step * math.sqrt(2 * math.pi))
        )
        grid, mass = after, density * weights
    return tuple(found)

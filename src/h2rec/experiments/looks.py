"""How a lift stood after each day, and how far it had to be from nothing by then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from h2rec.experiments.estimates import Estimate, Sums, estimate, plain, two_sided
from h2rec.experiments.metrics import Metric
from h2rec.experiments.plan import Plan
from h2rec.experiments.sequential import bounds


@dataclass(frozen=True)
class Look:
    """A metric as it stood when so many days were over."""

    day: int
    estimate: Estimate
    bound: float
    """Standard errors that the interval reaches."""

    @property
    def interval(self) -> tuple[float, float]:
        """With a plan it holds at all looks together."""
        return self.estimate.interval(self.bound)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        low, high = self.interval
        figures = {"lift": plain(self.estimate.lift), "low": plain(low), "high": plain(high)}
        return {"day": self.day, **figures, "bound": self.bound}


def sums_of(users: pl.DataFrame, arm: str) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Sums of an arm's users as arrays."""
    own = users.filter(pl.col("arm") == arm)
    return {name: own[name].to_numpy() for name in own.columns if name not in ("user_id", "arm")}


def look_days(plan: Plan, days: int) -> list[int]:
    """Days after which somebody looked until now; without a plan, those that a picture shows."""
    if plan.looks is None:
        return list(range(1, days + 1))
    return [day for day in plan.looks if day <= days]


class Accumulated:
    """Two arms' users as they stood after each day."""

    def __init__(
        self, users: pl.DataFrame, days: pl.DataFrame, arms: tuple[str, str], metrics: Sequence[Metric]
    ):
        self._users = users.filter(pl.col("arm").is_in(arms)).select(
            "user_id", "arm", *(f"before_{name}" for name in _names(metrics))
        )
        own = days.filter(pl.col("arm").is_in(arms)).join(
            self._users.select("user_id").with_row_index("row"), on="user_id"
        )
        self._by_day = dict(own.partition_by("day", as_dict=True))
        self._names = _names(metrics)
        self._is_control = (self._users["arm"] == arms[0]).to_numpy()

    def after(self, looked: Sequence[int]) -> "list[tuple[int, Sums, Sums]]":
        """For each look, how many user-days there were, and the sums of both arms' users."""
        count = self._users.height
        sums = {name: np.zeros(count) for name in self._names}
        seen = np.zeros(count, np.int64)
        before = {f"before_{name}": self._users[f"before_{name}"].to_numpy() for name in self._names}
        found: list[tuple[int, Sums, Sums]] = []
        last = 0
        for day in looked:
            for one in range(last, day):
                rows = self._by_day.get((one,))
                if rows is None:
                    continue
                at = rows["row"].to_numpy()
                seen[at] += 1
                for name in self._names:
                    sums[name][at] += rows[name].to_numpy()
            last = day
            halves = [
                {name: values[(seen > 0) & of_arm] for name, values in (sums | before).items()}
                for of_arm in (self._is_control, ~self._is_control)
            ]
            found.append((int(seen.sum()), halves[0], halves[1]))
        return found


def looks_of(
    accumulated: Sequence[tuple[int, Sums, Sums]],
    looked: Sequence[int],
    metric: Metric,
    plan: Plan,
    *,
    alpha: float,
    cuped: bool,
) -> list[Look]:
    """How a metric stood at each look.

    With a plan the bounds keep the error at `alpha` over all of them. Without one each interval holds by itself.
    """
    if plan.days is None:
        reached = [two_sided(alpha)] * len(looked)
    else:
        information = [max(known, 1) for known, _, _ in accumulated]
        reached = bounds([day / plan.days for day in looked], information, alpha)
    return [
        Look(day, estimate(metric, control, treatment, cuped=cuped), bound)
        for day, (_, control, treatment), bound in zip(looked, accumulated, reached, strict=True)
    ]


def _names(metrics: Sequence[Metric]) -> list[str]:
    return list(dict.fromkeys(name for metric in metrics for name in metric.columns))

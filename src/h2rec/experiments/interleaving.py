"""Interleaved lists, where arms proposed items by turns: whose users click (Radlinski et al. 2008)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from h2rec.experiments.estimates import two_sided
from h2rec.experiments.log import Log


def interleaved(log: Log, arms: Sequence[str], *, alpha: float = 0.05) -> dict[str, Any] | None:
    """Compare two arms by the clicks on what each proposed in interleaved lists; None where there are none.

    A user counts once, by the difference of clicks on the second arm's items and on the first's. Returns `users` (with
    a click), `preferring` (users by arm; others are even), `share` of the second arm among users who prefer one
    with its exact interval `low` to `high` and sign test `p`, and the mean `difference` with its interval and p-value.
    """
    first, second = arms
    drafted = log.answers.filter(pl.col("teams").is_not_null() & (pl.col("items").list.len() > 0))
    items = drafted.select("request_id", "items", "teams").explode("items", "teams")
    clicks = log.events.filter((pl.col("event") == "click") & pl.col("fate").is_null()).join(
        items.rename({"items": "item_id", "teams": "team"}), on=["request_id", "item_id"]
    )
    if clicks.is_empty():
        return None
    of_user = clicks.group_by("user_id").agg(
        (
            (pl.col("team") == second).sum().cast(pl.Int64) - (pl.col("team") == first).sum().cast(pl.Int64)
        ).alias("more")
    )
    more = of_user["more"].to_numpy()
    prefer = {first: int((more < 0).sum()), second: int((more > 0).sum())}
    decided = sum(prefer.values())
    tested = stats.binomtest(prefer[second], decided) if decided else None
    interval = None if tested is None else tested.proportion_ci(1 - alpha)
    error = float(np.std(more, ddof=1) / np.sqrt(len(more))) if len(more) > 1 else 0.0
    z = float(more.mean()) / error if error else 0.0
    return {
        "users": len(more),
        "preferring": prefer,
        "share": prefer[second] / decided if decided else None,
        "low": None if interval is None else float(interval.low),
        "high": None if interval is None else float(interval.high),
        "p": 1.0 if tested is None else float(tested.pvalue),
        "difference": float(more.mean()),
        "difference_low": float(more.mean()) - two_sided(alpha) * error,
        "difference_high": float(more.mean()) + two_sided(alpha) * error,
        "difference_p": float(2 * stats.norm.sf(abs(z))),
    }

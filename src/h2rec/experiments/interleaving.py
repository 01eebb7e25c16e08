"""Interleaved lists, where arms proposed items by turns: whose users click (Radlinski et al. 2008)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from h2rec.experiments.estimates import two_sided
from h2rec.experiments.plan import Plan
from h2rec.experiments.window import Window


def interleaving(window: Window, plan: Plan, flaws: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compare the two arms of each arm of interleaved lists.

    Returns by arm `teams`, `users`, `answers`, `clicks` (what `interleaved` returns, or None) and `verdict`, in plain
    words. Arms share the plan's `alpha`. `flaws`: what forbids to trust any figure.
    """
    found = {}
    for arm, teams in window.interleaved.items():
        alpha = plan.alpha / len(window.interleaved)
        answers = window.other_answers.filter(arm=arm)
        clicks = interleaved(answers, window.other_events.filter(arm=arm), teams, alpha=alpha)
        found[arm] = {
            "teams": teams,
            "users": answers["user_id"].n_unique(),
            "answers": answers.height,
            "clicks": clicks,
            "verdict": f"Not yet. {' '.join(flaws)}"
            if flaws
            else _verdict(clicks, teams, window, plan, alpha),
        }
    return found


def _verdict(
    clicks: dict[str, Any] | None, teams: Sequence[str], window: Window, plan: Plan, alpha: float
) -> str:
    due = plan.least_days if plan.days is None else max(plan.days, plan.least_days)
    if window.days_over < due:
        return f"Not yet. Only {window.days_over} of {due} days are over, and this test holds for one look."
    if clicks is None or clicks["share"] is None:
        return "Not yet. No user has clicked more on one model's items than on the other's."
    decided = sum(clicks["preferring"].values())
    second = clicks["share"] > 1 / 2
    share, low, high = (
        value if second else 1 - value
        for value in (
            clicks["share"],
            clicks["low" if second else "high"],
            clicks["high" if second else "low"],
        )
    )
    told = (
        f"Of {decided:,} users who prefer one, {share:.1%} prefer {teams[second]} "
        f"({low:.1%} to {high:.1%}, p = {clicks['p']:.2g})."
    )
    if clicks["p"] >= alpha:
        return f"No preference is shown. {told} That may be chance."
    return (
        f"Users prefer {teams[second]} to {teams[not second]}. {told} "
        "These are clicks: they say nothing of bids, spend or dwell."
    )


def interleaved(
    answers: pl.DataFrame, events: pl.DataFrame, arms: Sequence[str], *, alpha: float = 0.05
) -> dict[str, Any] | None:
    """Compare two arms by the clicks on what each proposed in interleaved lists; None where there are none.

    `answers` and `events` are as in `Log`; those with a fate do not count. A user counts once, by the difference of
    clicks on the second arm's items and on the first's. Returns `users` (with a click), `preferring` (users by arm;
    others are even), `share` of the second arm among users who prefer one with its exact interval `low` to `high` and
    sign test `p`, and the mean `difference` with its interval and p-value.
    """
    first, second = arms
    drafted = answers.filter(pl.col("teams").is_not_null() & (pl.col("items").list.len() > 0))
    items = drafted.select("request_id", "items", "teams").explode("items", "teams")
    clicks = events.filter((pl.col("event") == "click") & pl.col("fate").is_null()).join(
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

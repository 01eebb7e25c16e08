"""What an operator asks about head and tail: who is shown, and whether it is worth it."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from h2rec.experiments.metrics import Slices, items_shown
from h2rec.experiments.plan import Plan
from h2rec.experiments.window import Window


def exposure(window: Window, slices: Slices, users: pl.DataFrame, plan: Plan) -> dict[str, Any]:
    """Return, by arm: `slices`, a row for each, and `items`, how many different ones were shown.

    A row has `share` of the places, `ctr`, `conversion_rate`, `advv` (sum), `items` and, for the tail, `offline_share`.
    """
    shown = {row["arm"]: row for row in items_shown(window.answers, slices).iter_rows(named=True)}
    totals = users.group_by("arm").agg(pl.col(slices.sums).sum())
    sums = {row["arm"]: row for row in totals.iter_rows(named=True)}
    found: dict[str, Any] = {}
    for arm in window.arms:
        row, items = sums.get(arm, {}), shown.get(arm, {})
        found[arm] = {
            "items": items.get("items", 0),
            "slices": {
                part: {
                    "share": _ratio(row.get(f"impressions@{part}"), row.get("impressions")),
                    "ctr": _ratio(row.get(f"clicks@{part}"), row.get(f"impressions@{part}")),
                    "conversion_rate": _ratio(row.get(f"conversions@{part}"), row.get(f"clicks@{part}")),
                    "advv": row.get(f"advv@{part}"),
                    "items": items.get(f"items@{part}", 0),
                    "offline_share": (plan.offline_tail or {}).get(arm) if part == "tail" else None,
                }
                for part in slices.conditions
            },
        }  # fmt: skip
    return found


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def answers_to_operators(results: dict[str, Any], arm: str) -> Iterator[tuple[str, str]]:
    """The operator's four questions, each with what the log says about an arm."""
    rows = results["metrics"][arm]
    if "exposure@tail" not in rows:
        return
    share, clicks, sold = rows["exposure@tail"], rows["ctr@tail"], rows["advv@tail"]
    yield (
        "Is the tail usefully exposed?",
        f"Its share of places: {_change(share)}. Its click-through rate: {_change(clicks)}. "
        f"ADVV from it: {_change(sold)}.",
    )
    yield (
        "Does the head lose precision?",
        f"Click-through rate of the head: {_change(rows['ctr@head'])}. "
        f"Conversions a click: {_change(rows['conversion_rate@head'])}.",
    )
    if "ctr@shared codes" in rows:
        noisy = (
            f"Click-through rate of items that share their codes: {_change(rows['ctr@shared codes'])}; "
            f"of items with codes of their own: {_change(rows['ctr@codes of its own'])}."
        )
    else:
        noisy = "Items that share codes are told apart where the plan names the bundle (bundle)."
    yield "Does sharing get noisy?", noisy
    yield "Does the offline balance survive?", _balance(results, arm)


def _change(row: dict[str, Any]) -> str:
    if row["lift"] is None:
        return "can't be compared"
    sure = "" if row["p_holm"] is not None and row["p_holm"] < 0.05 else ", may be chance"
    return f"{row['lift']:+.1%} ({row['low']:+.1%} to {row['high']:+.1%}{sure})"


def _balance(results: dict[str, Any], arm: str) -> str:
    told = []
    for name in (results["control"], arm):
        tail = results["exposure"][name]["slices"]["tail"]
        online = "no share" if tail["share"] is None else f"{tail['share']:.1%}"
        offline = "" if tail["offline_share"] is None else f" (offline {tail['offline_share']:.1%})"
        told.append(f"{name} gives the tail {online} of its places{offline}")
    return "; ".join(told) + "."

"""Ship, don't, or not yet: each with its reasons in plain words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from h2rec.experiments.looks import Look
from h2rec.experiments.metrics import Metric
from h2rec.experiments.plan import Plan
from h2rec.experiments.power import days_needed, detectable
from h2rec.experiments.sequential import bounds

Word = Literal["ship", "don't", "not yet"]


@dataclass(frozen=True)
class Evidence:
    """All that a verdict on an arm rests on."""

    primaries: Mapping[Metric, Sequence[Look]]
    guardrails: Mapping[Metric, tuple[float, Sequence[Look]]]
    """With the share by which each may fall."""
    alpha: float
    """Of each primary metric."""
    flaws: Sequence[str]
    """What forbids to trust any figure."""
    users: int
    """Of the smaller arm."""
    days: int


def verdict_on(evidence: Evidence, plan: Plan) -> dict[str, Any]:
    """Return `verdict`, `reasons`, and what power tells: `detectable_lift`, `days_needed` in all."""
    reached = {metric: _last(looks) for metric, looks in evidence.primaries.items()}
    guarded = {metric: (margin, _last(looks)) for metric, (margin, looks) in evidence.guardrails.items()}
    leading = next(iter(evidence.primaries))
    final = _final_bound(evidence, plan)
    at, looks = reached[leading], evidence.primaries[leading]
    known = at is not None and at.estimate.known
    needed = days_needed(looks, plan.lift, final, plan.power) if known else None
    word, reasons = _decide(reached, guarded, evidence, plan, needed)
    return {
        "verdict": word,
        "reasons": reasons,
        "detectable_lift": detectable(at.estimate.error, at.bound, plan.power) if at is not None and known else None,
        "days_needed": needed if needed is None else math.ceil(needed),
    }  # fmt: skip


def _last(looks: Sequence[Look]) -> Look | None:
    return looks[-1] if looks else None


def _final_bound(evidence: Evidence, plan: Plan) -> float:
    if plan.days is None:
        return bounds([1.0], [1.0], evidence.alpha)[0]
    looked = plan.looks or list(range(1, plan.days + 1))
    return bounds([day / plan.days for day in looked], looked, evidence.alpha)[-1]


def _decide(
    primaries: Mapping[Metric, Look | None],
    guardrails: Mapping[Metric, tuple[float, Look | None]],
    evidence: Evidence,
    plan: Plan,
    needed: float | None,
) -> tuple[Word, list[str]]:
    blocked = [*evidence.flaws, *_too_early(evidence, plan)]
    if blocked:
        return "not yet", blocked
    up = [_told(m, look) for m, look in primaries.items() if look is not None and look.interval[0] > 0]
    down = [_told(m, look) for m, look in primaries.items() if look is not None and look.interval[1] < 0]
    harmed, unsure, held = _guarded(guardrails)
    over = plan.days is not None and evidence.days >= plan.days
    if down or harmed:
        return "don't", [
            *(f"{told}: that is a loss." for told in down),
            *(f"{told}: it fell by more than it may." for told in harmed),
        ]
    if up and not unsure:
        return "ship", [*(f"{told}: that is a gain." for told in up), *held]
    unclear = [f"{told}: a fall by more than that can't be excluded." for told in unsure]
    if up:
        return ("don't" if over else "not yet"), [*(f"{told}: that is a gain." for told in up), *unclear]
    told = [
        f"{_told(m, look)}: that may be chance." for m, look in primaries.items() if look is not None
    ] or ["Nothing has been measured yet."]
    rest = (
        [f"The {plan.days} days that were planned are over."]
        if over
        else [*unclear, _to_go(evidence, plan, needed)]
    )
    return ("don't" if over else "not yet"), [*told, *rest]


def _too_early(evidence: Evidence, plan: Plan) -> list[str]:
    reasons = []
    if evidence.days < plan.least_days:
        reasons.append(
            f"Only {evidence.days} of {plan.least_days} days are over (least_days): "
            "weekdays differ, so a whole week is the least."
        )
    if evidence.users < plan.fewest_users:
        reasons.append(
            f"An arm has {evidence.users:,} users, and intervals need {plan.fewest_users:,} (fewest_users)."
        )
    return reasons


def _guarded(
    guardrails: Mapping[Metric, tuple[float, Look | None]],
) -> tuple[list[str], list[str], list[str]]:
    harmed, unsure, held = [], [], []
    for metric, (margin, look) in guardrails.items():
        if look is None or not look.estimate.known:
            unsure.append(f"{metric.title} can't be compared")
            continue
        low, high = look.interval
        told = f"{_told(metric, look)}, margin {margin:.1%}"
        if high < -margin:
            harmed.append(told)
        elif low > -margin:
            held.append(f"{told}: unharmed.")
        else:
            unsure.append(told)
    return harmed, unsure, held


def _told(metric: Metric, look: Look) -> str:
    if not look.estimate.known:
        return f"{metric.title} can't be compared: an arm has none of it"
    low, high = look.interval
    title = metric.title[0].upper() + metric.title[1:]
    return f"{title} {look.estimate.lift:+.2%} ({low:+.2%} to {high:+.2%})"


def _to_go(evidence: Evidence, plan: Plan, needed: float | None) -> str:
    if needed is None:
        return (
            f"More days alone will not show a lift of {plan.lift:.1%}: "
            "the same users come again. More of the traffic would."
        )
    left = math.ceil(needed) - evidence.days
    if left <= 0:
        return (
            f"A lift of {plan.lift:.1%} would have been found by now in {plan.power:.0%} of such experiments, "
            "so the true one is probably smaller."
        )
    return (
        f"A lift of {plan.lift:.1%} needs about {left:,} more days at this traffic "
        f"to be found in {plan.power:.0%} of such experiments."
    )

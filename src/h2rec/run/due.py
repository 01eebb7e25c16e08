"""When a bundle that is kept up to date should be fully trained again, and why."""

from h2rec.retrieval.manifest import Lineage

POORLY = 0.95
"""Outlyingness from which the codebooks describe an item poorly: worse than they do nineteen of twenty known ones."""
MOST_POORLY = 0.3
"""Share of the new items that they may describe poorly; one in twenty is chance."""
MOST_DRIFT = 0.1
"""How far vectors may have turned, as 1 less the mean cosine."""
MOST_GROWTH = 0.5
"""Interactions since the full training, for every one that it knew: the weights of the branches are still of then."""
LEAST_QUALITY = 0.8
"""Share of what new interactions were ranked with at first that is left."""
_FEWEST_ITEMS, _FEWEST_CASES = 20, 500
_FEWEST_KNOWN = 1000
"""In a small catalogue the codebooks know every item by heart, and any new one fits worse."""


def reasons_due(lineage: Lineage) -> list[str]:
    """Why a full training is due, each with what was measured; nothing where none is."""
    updates = lineage.updates
    reasons = []
    events = sum(update.events for update in updates)
    if events > MOST_GROWTH * lineage.events:
        reasons.append(f"{events:,} interactions came since the full training, which knew {lineage.events:,}")
    items, poorly = (
        sum(update.new_items for update in updates),
        sum(update.poorly_coded for update in updates),
    )
    if lineage.items >= _FEWEST_KNOWN and items >= _FEWEST_ITEMS and poorly > MOST_POORLY * items:
        reasons.append(f"the codes say little of {poorly:,} of {items:,} new items")
    if updates and updates[-1].drift > MOST_DRIFT:
        reasons.append(
            f"the vectors of items have drifted by {updates[-1].drift:.2f} (1 less the mean cosine)"
        )
    measured = [(u.cases, u.ndcg_before) for u in updates if u.ndcg_before is not None]
    if len(measured) > 1:
        (first_cases, first), (last_cases, last) = measured[0], measured[-1]
        if min(first_cases, last_cases) >= _FEWEST_CASES and last < LEAST_QUALITY * first:
            reasons.append(
                f"new interactions are ranked worse than at first: NDCG@100 {last:.3f}, once {first:.3f}"
            )
    return reasons

"""Why an item is recommended: items of the history that speak for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, get_args

MOST_REASONS = 3
"""Reasons for one item."""

ReasonKind = Literal[
    "follows",
    "precedes",
    "goes_with",
    "like_goes_with",
    "kind_goes_with",
    "codes",
    "similar_text",
    "similar_vectors",
]
"""In training histories it often follows the item, precedes it, or either; one of the two is new, and items like it in
text go with the other; its kind (leading codes) often goes with the item's kind; both share leading codes; their texts
are alike; the vectors that training gave them, or their neighbours in text, are."""

SEEN_TOGETHER: tuple[ReasonKind, ...] = ("follows", "precedes", "goes_with")
"""Kinds that speak of the two items themselves in training histories."""

LIKE_ITSELF: tuple[ReasonKind, ...] = ("codes", "similar_text", "similar_vectors")
"""Kinds that hold between any item and itself, and so say nothing where a user may get it again."""


@dataclass(frozen=True)
class Reason:
    """An item of the history that speaks for a recommended one."""

    item: int
    """Index of the item in the history."""
    kind: ReasonKind
    """What it says."""
    strength: float
    """codes: how many both share; else the item's share, 0 to 1, in the sum of the counts of all latest items."""


def in_turns(item: int, by_branch: Iterable[Sequence[Reason]]) -> list[Reason]:
    """The reasons of several branches for one item as one list, at most `MOST_REASONS`.

    The strongest of each kind in turn, kinds in the order of `ReasonKind`, then the second ones. An item of the history
    is named once, by the first that names it.
    """
    given = [r for reasons in by_branch for r in reasons if r.item != item or r.kind not in LIKE_ITSELF]
    kinds = [
        sorted((reason for reason in given if reason.kind == kind), key=lambda reason: -reason.strength)
        for kind in get_args(ReasonKind)
    ]
    chosen: dict[int, Reason] = {}
    for turn in zip_longest(*kinds):
        for reason in turn:
            if reason is not None:
                chosen.setdefault(reason.item, reason)
    return list(chosen.values())[:MOST_REASONS]

"""Slices of the cases: by the target's popularity, codes, novelty and day, and by the length of the history."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.codes import SemanticIds

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Group:
    """Some of the cases."""

    kind: str
    name: str
    """What the cases are sliced by, and the name of this slice."""
    cases: Bools
    """Which cases belong to it, bool `[cases]`."""
    apart: int = 0
    """Further cases of the group that are in no figure."""


def popularity_groups(targets: Ints, popularity_group: Ints) -> list[Group]:
    """Slice by the popularity group of the target, named by the group's number.

    `targets`: item indices, `[cases]`.
    `popularity_group`: group of each item, `[N + 1]`, padding first (its value is ignored).
    """
    groups = popularity_group[targets]
    return [Group("popularity", str(group), groups == group) for group in np.unique(popularity_group[1:])]


def training_groups(targets: Ints, train_counts: Ints) -> list[Group]:
    """Slice by whether the target occurs in training at all: ``seen`` and ``unseen``."""
    seen = train_counts[targets] > 0
    return [Group("training", "seen", seen), Group("training", "unseen", ~seen)]


def repeat_groups(repeat: Bools, apart: int = 0) -> list[Group]:
    """Slice by whether the target is in its user's own history: ``repeat`` and ``first time``.

    `apart` counts the repeats that the rule excludes.
    """
    return [Group("target", "repeat", repeat, apart), Group("target", "first time", ~repeat)]


def day_groups(same_day: Bools) -> list[Group]:
    """Slice by whether the target came on the day of the last item of its history: ``same day`` and ``later day``.

    Within a day many files have an order of their own, which a model can learn.
    """
    return [Group("target_time", "same day", same_day), Group("target_time", "later day", ~same_day)]


def history_length_groups(lengths: Ints, count: int) -> list[Group]:
    """Slice by history length at its quantiles, into at most `count` groups such as ``4-5`` and ``12-88``.

    Users of equal length stay together, so sizes are about, not exactly, equal.
    """
    if len(lengths) == 0:
        return []
    inner = np.quantile(lengths, np.arange(1, count) / count, method="inverted_cdf")
    # A group's upper bound belongs to it; the longest history closes the last one.
    bounds = np.unique(np.append(inner, lengths.max()))
    number = np.searchsorted(bounds, lengths)
    members = [number == index for index in range(len(bounds))]
    ranges = [f"{lengths[cases].min()}-{lengths[cases].max()}" for cases in members]
    return [Group("history_length", name, cases) for name, cases in zip(ranges, members, strict=True)]


def collision_groups(targets: Ints, semantic_ids: SemanticIds) -> list[Group]:
    """Slice by whether the target has its code tuple to itself: ``alone`` and ``shared``."""
    _, size = semantic_ids.tuple_groups()
    alone = size[targets - 1] == 1
    return [Group("code_collision", "alone", alone), Group("code_collision", "shared", ~alone)]

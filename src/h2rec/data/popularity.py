"""Head and tail, by training counts alone."""

import math

import numpy as np
import numpy.typing as npt

from h2rec.data.histories import IntArray


def head_items(train_counts: IntArray, share: float = 0.2) -> npt.NDArray[np.bool_]:
    """Mark the items with the most training interactions; of equal items the lower index comes first.

    `train_counts`: training interactions of each item, `[N + 1]`, padding first. `share`: share of the `N` items
    that are head, rounded up. Returns bool `[N + 1]`; padding is not head.
    """
    ranks = _ranks(train_counts)
    # A share such as 0.2 is not exact in binary: 0.2 * 15 must be 3, not 3.0000000000000004.
    head = np.zeros(len(train_counts), dtype=np.bool_)
    head[1:] = ranks < math.ceil(round(share * len(ranks), 9))
    return head


def popularity_groups(train_counts: IntArray, groups: int = 5) -> npt.NDArray[np.int64]:
    """Cut the items into equal-sized groups, from least (0) to most popular (`groups - 1`).

    Of equal items the lower index counts as more popular, as in `head_items`, so that the top one of five
    groups is the head of a share of 0.2.

    `train_counts`: training interactions of each item, `[N + 1]`, padding first. Returns int64 `[N + 1]`; padding
    is in group -1.
    """
    ranks = _ranks(train_counts)
    numbers = np.full(len(train_counts), -1, dtype=np.int64)
    numbers[1:] = groups - 1 - ranks * groups // max(len(ranks), 1)
    return numbers


def _ranks(train_counts: IntArray) -> IntArray:
    """Rank of each item without padding, `[N]`, 0 for the most popular."""
    order = np.argsort(-train_counts[1:], kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks

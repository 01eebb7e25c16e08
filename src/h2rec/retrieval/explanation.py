"""Why an item was recommended: each branch's part of its score, and the codes it shares with the history."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from h2rec.retrieval.catalogue import Catalogue

_MOST_SHARED = 3


@dataclass(frozen=True)
class SharedCodes:
    """An item of the history and how many leading codes the recommended item has in common with it."""

    item_id: str
    levels: int


@dataclass(frozen=True)
class Explanation:
    """Why an item was recommended.

    Parameters
    ----------
    branches
        What each branch adds to the score, by its name; the parts add up to the score.
    shared
        Items of the history that share most leading codes, latest first among equals; at most three.
    """

    branches: dict[str, float]
    shared: list[SharedCodes]


def shared_codes(catalogue: Catalogue, item: int, history: Sequence[int]) -> list[SharedCodes]:
    """Items of a history that share leading codes with an item; all by index."""
    if catalogue.semantic_ids is None or not history:
        return []
    distinct = list(dict.fromkeys(reversed(history)))
    codes = catalogue.semantic_ids.codes
    equal = codes[np.array(distinct) - 1] == codes[item - 1]
    lengths = np.cumprod(equal, axis=1).sum(axis=1)
    order = np.argsort(-lengths, kind="stable")[:_MOST_SHARED]
    return [
        SharedCodes(catalogue.item_ids[distinct[row] - 1], int(lengths[row]))
        for row in order
        if lengths[row] > 0
    ]

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


def shared_codes(
    catalogue: Catalogue, items: Sequence[int], history: Sequence[int]
) -> list[list[SharedCodes]]:
    """For each item, the items of a history that share leading codes with it; all by index."""
    found: list[list[SharedCodes]] = [[] for _ in items]
    if catalogue.semantic_ids is None or not history or not items:
        return found
    distinct = list(dict.fromkeys(reversed(history)))
    codes = catalogue.semantic_ids.codes
    listed, known = codes[np.array(items) - 1], codes[np.array(distinct) - 1]
    lengths = np.zeros((len(items), len(distinct)), np.int32)
    equal = np.ones(lengths.shape, np.bool_)
    for level in range(codes.shape[1]):
        equal &= listed[:, level, None] == known[None, :, level]
        lengths += equal
    rows = np.arange(len(items))
    for _ in range(min(_MOST_SHARED, len(distinct))):
        best = lengths.argmax(axis=1)  # the first of equals, which is the latest
        for shared, place, length in zip(found, best.tolist(), lengths[rows, best].tolist(), strict=True):
            if length > 0:
                shared.append(SharedCodes(catalogue.item_ids[distinct[place] - 1], length))
        lengths[rows, best] = 0
    return found

"""Do items that share codes have closer text than random ones? Checked on sampled pairs, by depth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.runtime import random_stream
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.collisions import rank_in_group
from h2rec.semantic_ids.embeddings import Embeddings

PAIRS = 20_000

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NeighbourCheck:
    """Pairs of items that share their first `depth` codes; 0 is the random baseline."""

    depth: int
    """Levels shared, at least."""
    pairs: int
    """Pairs looked at, no item paired with itself."""
    similarity: float
    """Mean cosine of their texts."""
    closer_than_random: float
    """How often such a pair is closer than a random one, 0.5 by chance (ties count half)."""


def check_neighbours(semantic_ids: SemanticIds, embeddings: Embeddings) -> list[NeighbourCheck]:
    """Compare pairs that share their first codes with random pairs; depths without such pairs are left out."""
    stream = random_stream(0, "neighbours")
    count = len(semantic_ids)
    if count < 2:
        return []
    first = stream.integers(count, size=PAIRS)
    second = (first + stream.integers(1, count, size=PAIRS)) % count
    random_cosines = np.sort(_cosines(embeddings, first, second))
    checks = [NeighbourCheck(0, PAIRS, float(random_cosines.mean()), 0.5)]
    for depth, group in enumerate(semantic_ids.prefix_groups(), start=1):
        pairs = _pairs_within(group, stream)
        if pairs is None:
            break
        cosines = _cosines(embeddings, *pairs)
        below, up_to = (np.searchsorted(random_cosines, cosines, side) for side in ("left", "right"))
        closer = float((below + up_to).mean()) / (2 * PAIRS)
        checks.append(NeighbourCheck(depth, len(cosines), float(cosines.mean()), closer))
    return checks


def _cosines(embeddings: Embeddings, first: Rows, second: Rows) -> npt.NDArray[np.float64]:
    """Cosines of pairs of rows, `[n]`."""
    left, right = np.asarray(embeddings[first]), np.asarray(embeddings[second])
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products: npt.NDArray[np.float64] = (left * right).sum(axis=1, dtype=np.float64)
    products /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return products


def _pairs_within(group: Rows, stream: np.random.Generator) -> tuple[Rows, Rows] | None:
    """Random pairs of different rows of a group; every row of a group of two or more is equally likely to be first."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    in_company = np.flatnonzero(sizes[group] > 1)
    if len(in_company) == 0:
        return None
    first = stream.choice(in_company, size=PAIRS)
    size = sizes[group[first]]
    step = 1 + (stream.random(PAIRS) * (size - 1)).astype(np.int64)
    second = order[starts[group[first]] + (rank_in_group(group)[first] + step) % size]
    return first, second

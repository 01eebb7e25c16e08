"""How much of the embeddings the codes hold, by depth."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import Embeddings, chunks, variance
from h2rec.semantic_ids.quantizers.protocol import Quantizer


@dataclass(frozen=True)
class DepthError:
    """What the first `depth` levels leave over, as shares of the embeddings' variance.

    Parameters
    ----------
    depth
        Levels read.
    reconstruction
        Mean squared error of the quantizer's reconstruction; None without a quantizer.
    spread
        Mean squared distance of the items to the mean of those with the same first codes: what the best
        possible decoder of these codes would leave over in this catalogue.
    """

    depth: int
    reconstruction: float | None
    spread: float


def error_by_depth(
    semantic_ids: SemanticIds, embeddings: Embeddings, quantizer: Quantizer | None
) -> list[DepthError]:
    """Measure every depth; a suffix level, which the quantizer doesn't know, is left out."""
    total = max(variance(embeddings), float(np.finfo(np.float32).tiny))
    levels = semantic_ids.levels if quantizer is None else len(quantizer.codebook_sizes)
    squares = sum(float(np.square(chunk, dtype=np.float64).sum()) for chunk in chunks(embeddings))
    prefix = np.zeros(len(semantic_ids), dtype=np.int64)
    found = []
    for depth in range(1, levels + 1):
        codes = semantic_ids.codes[:, :depth]
        prefix = np.unique(
            prefix * semantic_ids.codebook_sizes[depth - 1] + codes[:, -1], return_inverse=True
        )[1]
        error = None
        if quantizer is not None:
            error = float(quantizer.squared_errors(embeddings, codes).mean(dtype=np.float64)) / total
        spread = max(0.0, (squares - _squares_of_means(embeddings, prefix.reshape(-1))) / len(codes)) / total
        found.append(DepthError(depth, error, spread))
    return found


def stable_share(semantic_ids: SemanticIds, quantizer: Quantizer) -> float:
    """Share of the items whose codes come back when their reconstruction is encoded again."""
    codes = semantic_ids.codes[:, : len(quantizer.codebook_sizes)]
    return float((quantizer.encode(quantizer.decode(codes)) == codes).all(axis=1).mean())


def _squares_of_means(embeddings: Embeddings, group: npt.NDArray[np.int64]) -> float:
    """Sum over the items of the squared length of their group's mean."""
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    total = 0.0
    for begin, end in pairwise(bounds):
        summed = embeddings[order[begin:end]].sum(axis=0, dtype=np.float64)
        total += float(np.square(summed).sum()) / (end - begin)
    return total

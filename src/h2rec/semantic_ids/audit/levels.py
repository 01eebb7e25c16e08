"""How well each level's codes are used, and how much of the embeddings the levels hold, by depth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import Embeddings, chunks, variance
from h2rec.semantic_ids.quantizers.protocol import Quantizer

SHOWN_CODES = 5


@dataclass(frozen=True)
class LevelUse:
    """Use of one level's codes."""

    level: int
    """1 is the coarse one."""
    codebook_size: int
    used: int
    """Codes that there are, and that at least one item has."""
    entropy: float
    """Of the codes over the items, in bits."""
    perplexity: float
    """``2 ** entropy``: the number of evenly used codes that would carry as much."""
    prefixes: int
    """Distinct tuples of the first `level` codes."""
    fullest: tuple[tuple[int, int], ...]
    """The codes with most items: (code, items), fullest first."""
    loads: tuple[int, ...]
    """Items of every code, `[K]`."""

    @property
    def utilisation(self) -> float:
        """Share of the codes that at least one item has."""
        return self.used / self.codebook_size


def level_use(semantic_ids: SemanticIds) -> list[LevelUse]:
    """Measure every level, coarse first."""
    levels = []
    for index, group in enumerate(semantic_ids.prefix_groups()):
        size = semantic_ids.codebook_sizes[index]
        loads = np.bincount(semantic_ids.codes[:, index], minlength=size)
        shares = loads[loads > 0] / max(1, len(semantic_ids))
        entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
        fullest = np.argsort(-loads, kind="stable")[:SHOWN_CODES]
        levels.append(
            LevelUse(
                level=index + 1,
                codebook_size=size,
                used=int((loads > 0).sum()),
                entropy=entropy,
                perplexity=2**entropy,
                prefixes=int(group.max(initial=-1)) + 1,
                fullest=tuple((int(code), int(loads[code])) for code in fullest),
                loads=tuple(loads.tolist()),
            )
        )
    return levels


@dataclass(frozen=True)
class DepthError:
    """Errors after the first `depth` levels, as shares of the embeddings' variance."""

    depth: int
    """Levels read."""
    reconstruction: float | None
    """Mean squared error of the quantizer's reconstruction; None without a quantizer."""
    spread: float
    """Mean squared distance of the items to the mean of those with the same first codes: the error of the best possible
    decoder of these codes."""


def error_by_depth(
    semantic_ids: SemanticIds, embeddings: Embeddings, quantizer: Quantizer | None
) -> list[DepthError]:
    """Measure every depth; a suffix level, which the quantizer doesn't know, is left out."""
    total = max(variance(embeddings), float(np.finfo(np.float32).tiny))
    levels = semantic_ids.levels if quantizer is None else len(quantizer.codebook_sizes)
    squares = sum(float(np.square(chunk, dtype=np.float64).sum()) for chunk in chunks(embeddings))
    by_depth = []
    for depth, group in zip(range(1, levels + 1), semantic_ids.prefix_groups(), strict=False):
        error = None
        if quantizer is not None:
            errors = quantizer.squared_errors(embeddings, semantic_ids.codes[:, :depth])
            error = float(errors.mean(dtype=np.float64)) / total
        left_over = (squares - _squares_of_means(embeddings, group)) / len(embeddings)
        by_depth.append(DepthError(depth, error, max(0.0, left_over) / total))
    return by_depth


def stable_share(semantic_ids: SemanticIds, quantizer: Quantizer) -> float:
    """Share of the items whose codes come back when their reconstruction is encoded again."""
    codes = semantic_ids.codes[:, : len(quantizer.codebook_sizes)]
    return float((quantizer.encode(quantizer.decode(codes)) == codes).all(axis=1).mean())


def _squares_of_means(embeddings: Embeddings, group: npt.NDArray[np.int64]) -> float:
    """Sum over the items of the squared length of their group's mean."""
    total = 0.0
    for rows in np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1]):
        summed = embeddings[rows].sum(axis=0, dtype=np.float64)
        total += float(np.square(summed).sum()) / len(rows)
    return total

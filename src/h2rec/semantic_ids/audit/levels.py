"""How well each level's codes are used."""

from dataclasses import dataclass

import numpy as np

from h2rec.semantic_ids.codes import SemanticIds

SHOWN_CODES = 5


@dataclass(frozen=True)
class LevelUse:
    """Use of one level's codes.

    Parameters
    ----------
    level
        1 is the coarse one.
    codebook_size, used
        Codes that there are, and that at least one item has.
    entropy
        Of the codes over the items, in bits.
    perplexity
        ``2 ** entropy``: the number of evenly used codes that would carry as much.
    prefixes
        Distinct tuples of the first `level` codes.
    fullest
        The codes with most items: (code, items), fullest first.
    loads
        Items of every code, `[K]`.
    """

    level: int
    codebook_size: int
    used: int
    entropy: float
    perplexity: float
    prefixes: int
    fullest: tuple[tuple[int, int], ...]
    loads: tuple[int, ...]

    @property
    def utilisation(self) -> float:
        """Share of the codes that at least one item has."""
        return self.used / self.codebook_size


def level_use(semantic_ids: SemanticIds) -> list[LevelUse]:
    """Measure every level, coarse first."""
    prefix = np.zeros(len(semantic_ids), dtype=np.int64)
    found = []
    for index, size in enumerate(semantic_ids.codebook_sizes):
        codes = semantic_ids.codes[:, index].astype(np.int64)
        loads = np.bincount(codes, minlength=size)
        shares = loads[loads > 0] / max(1, len(codes))
        entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
        # Renumbered at every level, so that the number stays below items x codes.
        prefix = np.unique(prefix * size + codes, return_inverse=True)[1].reshape(-1)
        fullest = np.argsort(-loads, kind="stable")[:SHOWN_CODES]
        found.append(
            LevelUse(
                level=index + 1,
                codebook_size=size,
                used=int((loads > 0).sum()),
                entropy=entropy,
                perplexity=2**entropy,
                prefixes=int(prefix.max(initial=-1)) + 1,
                fullest=tuple((int(code), int(loads[code])) for code in fullest),
                loads=tuple(loads.tolist()),
            )
        )
    return found

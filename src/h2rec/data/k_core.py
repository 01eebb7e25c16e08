"""The k-core: what is left when rare users and items go, repeatedly."""

import numpy as np
import numpy.typing as npt

from h2rec.data.histories import IntArray


def k_core(users: IntArray, items: IntArray, k: int) -> npt.NDArray[np.bool_]:
    """Find the interactions that stay when users and items with fewer than `k` go, until none is left.

    `users`, `items`: non-negative codes of every interaction, `[n]`. Returns bool `[n]`.
    """
    kept = np.ones(len(users), dtype=np.bool_)
    while True:
        before = np.count_nonzero(kept)
        for codes in (users, items):
            counts = np.bincount(codes[kept], minlength=int(codes.max(initial=0)) + 1)
            kept &= counts[codes] >= k
        if np.count_nonzero(kept) == before:
            return kept

"""A least share of tail items in every answer."""

import math

import numpy as np
import numpy.typing as npt

Ranked = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def with_tail_quota(best: Ranked, best_tail: Ranked, head: npt.NDArray[np.bool_], share: float) -> Ranked:
    """Exchange the last head items of a list for the best tail items left out, until the quota is met.

    `best`, `best_tail`: items and scores `[k]` of the best items and of the best tail items, best first, 0 where
    there are none. `head`: bool `[N + 1]`. `share`: least share of tail items, 0 to 1; fewer only where there are
    no more tail items. Returns `items, values`: `[k]`, ordered by score.
    """
    items, values = best
    is_head = (items > 0) & head[items]
    tails = int(np.count_nonzero((items > 0) & ~is_head))
    new = np.flatnonzero((best_tail[0] > 0) & ~np.isin(best_tail[0], items))
    places = np.flatnonzero(is_head)[::-1]
    missing = min(math.ceil(share * len(items)) - tails, len(new), len(places))
    if missing <= 0:
        return best
    items, values = items.copy(), values.copy()
    items[places[:missing]], values[places[:missing]] = (
        best_tail[0][new[:missing]],
        best_tail[1][new[:missing]],
    )
    order = np.lexsort((items, -values))
    return items[order], values[order]

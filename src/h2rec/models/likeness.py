"""Which items' vectors are nearest to each one's: a table, exact up to a size and by regions of larger catalogues."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from h2rec.batching.transitions import TransitionTable
from h2rec.data.histories import IntArray
from h2rec.models.neighbours import Vectors

TEMPERATURE = 0.1
"""Of the shares: a cosine lower by this much counts e times less."""
ALL_UP_TO = 32_768
"""Items that are compared with all others. Of more, each is compared with those of its own region and of the nearest
ones, which misses some, or the time would grow with the square of the catalogue."""
REGION, REGIONS = 4_096, 4
"""Items of a region, about, twice as many at most, and how many regions are looked into."""
TIES = 1e-5
"""Up to so much chance is added to a cosine: of many equal ones each is near to others, not all to the same few."""
_AT_ONCE = 1_024


def alike(vectors: Vectors, items: IntArray, size: int, nearest: int) -> TransitionTable:
    """So many nearest of each item and their shares, a softmax of the cosines; each leads to itself, too.

    `vectors`: `[n, m]`, of the items `[n]` of a catalogue of `size`, padding included.
    """
    directions = F.normalize(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)), dim=1)
    count = min(nearest, len(items) - 1)
    found = torch.empty(len(items), count, dtype=torch.int64)
    shares = torch.empty(len(items), count)
    chance = TIES * torch.rand(2 * len(items), generator=torch.Generator().manual_seed(0))
    for rows, others in _compared(directions, count):
        ties = chance.unfold(0, len(others), 1)  # other ones for each row
        for some in rows.split(_AT_ONCE):
            cosines = (directions[some] @ directions[others].T).add_(ties[some])
            cosines[some[:, None] == others] = -torch.inf
            best = cosines.topk(count)
            found[some] = others[best.indices]
            shares[some] = (best.values / TEMPERATURE).softmax(dim=1)
    order = found.argsort(dim=1)
    offsets = np.zeros(size + 1, np.int64)
    offsets[items + 1] = count
    successors = items[found.gather(1, order).numpy()].ravel()
    return TransitionTable(
        offsets.cumsum(), successors, shares.gather(1, order).numpy().ravel()
    ).with_themselves()


def _compared(directions: torch.Tensor, nearest: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows, and those that they are compared with."""
    every = torch.arange(len(directions))
    if len(directions) <= ALL_UP_TO:
        yield every, every
        return
    from sklearn.cluster import MiniBatchKMeans  # imported late: a second, and serving never needs it

    found = MiniBatchKMeans(len(directions) // REGION, random_state=0, n_init=1).fit(directions.numpy())
    order = torch.from_numpy(np.argsort(found.labels_, kind="stable"))
    sizes = torch.from_numpy(found.labels_).long().bincount(minlength=len(found.cluster_centers_)).tolist()
    # What half the catalogue has in common makes a region of half the catalogue: it is cut.
    pieces = [part.split(2 * REGION) for part in order.split(sizes) if len(part)]
    centres = torch.from_numpy(found.cluster_centers_).float()[[i for i, size in enumerate(sizes) if size]]
    of_piece = torch.repeat_interleave(torch.tensor([len(cut) for cut in pieces]))
    regions = [part for cut in pieces for part in cut]
    distances = torch.cdist(centres, centres)[of_piece][:, of_piece].fill_diagonal_(-1)  # its own comes first
    counts = torch.tensor([len(part) for part in regions])
    for rows, near in zip(regions, distances.argsort(dim=1, stable=True), strict=True):
        # More regions where these hold too few.
        enough = int((counts[near].cumsum(0) <= nearest).sum()) + 1
        yield rows, torch.cat([regions[i] for i in near[: max(REGIONS, enough)].tolist()])

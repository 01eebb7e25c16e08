"""The one top-k: evaluation, index and server list items in the same order."""

import numpy as np
import torch

from h2rec.data.histories import Histories


def top_items(
    scores: torch.Tensor, k: int, exclude: Histories | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """List the best items of every row, best first; equal scores are ordered by item index.

    `scores` are `[n, N + 1]`; column 0 (padding) is ignored. `exclude` has the items of each row that are not listed.

    Returns items, int64 `[n, k]`, and their scores, `[n, k]`. Items that score NaN or minus infinity are never listed;
    where a row runs out of items, the rest is item 0 with score minus infinity.
    """
    allowed = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    allowed[:, 0] = -torch.inf
    if exclude is not None:
        rows, items = row_item_pairs(exclude, scores.device)
        allowed[rows, items] = -torch.inf
    # One more than `k` shows whether a tie crosses the end of the list.
    values, items = allowed.topk(min(k + 1, allowed.shape[1]), dim=1)
    items = items[:, :k].sort(dim=1).values
    if values.shape[1] > k:
        cut = (values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)
        if cut.any():
            items[cut] = _lowest_indices(allowed[cut], values[cut, k - 1 : k], k)
    return in_order(items, allowed.gather(1, items), k)


def in_order(items: torch.Tensor, scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """List the best `k` of some items of every row by their scores, equal ones as they come; both are `[n, c]`.

    Returns what `top_items` returns.
    """
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    scores = scores[:, :k]
    items = items.gather(1, order[:, :k]).masked_fill(scores == -torch.inf, 0)
    missing = 0, max(0, k - items.shape[1])
    pad = torch.nn.functional.pad
    return pad(items, missing), pad(scores, missing, value=-torch.inf)


def _lowest_indices(allowed: torch.Tensor, threshold: torch.Tensor, k: int) -> torch.Tensor:
    """Items above the threshold, filled up to `k` with the first that equal it, `[n, k]`, by index."""
    above = allowed > threshold
    equal = allowed == threshold
    room = k - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return chosen.nonzero()[:, 1].view(-1, k)


def row_item_pairs(
    histories: Histories, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row number and item of every entry, two int64 `[interactions]`."""
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    items = np.asarray(histories.items, dtype=np.int64)
    return torch.from_numpy(rows).to(device), torch.from_numpy(items).to(device)

"""The exact scan: every item is scored, counts and all."""

from collections.abc import Sequence

import torch

from h2rec.data.histories import Histories
from h2rec.evaluation.topk import row_item_pairs, top_items
from h2rec.models.sparse_scores import CountedScores
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.scoring import ItemScorer

USERS_AT_ONCE = 64

TopItems = tuple[torch.Tensor, torch.Tensor]


class Scan:
    """Scores all items of a scorer."""

    def __init__(self, scorer: ItemScorer) -> None:
        self.scorer = scorer

    def search(
        self,
        users: torch.Tensor,
        k: int,
        exclude: Histories | None,
        allowed: Allowed | None,
        counted: Sequence[CountedScores],
    ) -> TopItems:
        """List the best items of up to `USERS_AT_ONCE` users; see `ItemIndex.search`."""
        closed = None if allowed is None else torch.from_numpy(~allowed.marks)
        banned = None if exclude is None else row_item_pairs(exclude)
        best = []
        for first, scores in self.scorer.score_chunks(users):
            real, stop = scores[:, 1:], first + scores.shape[1] - 1
            if first == 0:
                real[:, 0] = -torch.inf  # the padding item
            for branch in counted:
                branch.add_to(real, first)
            if closed is not None:
                real.masked_fill_(closed[first:stop], -torch.inf)
            if banned is not None:
                rows, items = banned
                inside = (items >= first) & (items < stop)
                real[rows[inside], items[inside] - first] = -torch.inf
            places, values = top_items(scores, k)
            best.append(((places + (first - 1)).masked_fill(places == 0, 0), values))
        if len(best) == 1:
            return best[0]
        return best_of(
            torch.cat([items for items, _ in best], dim=1),
            torch.cat([values for _, values in best], dim=1),
            k,
        )


def best_of(items: torch.Tensor, sums: torch.Tensor, k: int) -> TopItems:
    """List the best of candidates `[n, c]`, each once; candidate 0 stands for none."""
    # In index order, so that equal scores come by index; column 0 is passed over by `top_items`.
    items, order = torch.nn.functional.pad(items, (1, 0)).sort(dim=1, stable=True)
    sums = torch.nn.functional.pad(sums, (1, 0), value=-torch.inf).gather(1, order)
    sums[:, 1:].masked_fill_(items[:, 1:] == items[:, :-1], -torch.inf)
    places, values = top_items(sums, k)
    return items.gather(1, places), values

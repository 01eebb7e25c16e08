"""The exact scan: every item is scored, counts and all.

It looks at all vectors in 8 bits a number first. The best of these are scored again exactly; where the bound on the
errors leaves room for another item among them, everything is scored exactly.
"""

from collections.abc import Sequence

import torch

from h2rec.data.histories import Histories
from h2rec.evaluation.topk import row_item_pairs, top_items
from h2rec.models.sparse_scores import CountedScores
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.scoring import ItemScorer

USERS_AT_ONCE = 64

TopItems = tuple[torch.Tensor, torch.Tensor]


_BLOCK = 32
_SPARE = 108
_WIDER = 4
_HELD, _AGAIN = 0.5, 100
"""Where the bound held less often of late, so many searches go without a first look."""
_LATE = 0.05


class Scan:
    """Scores all items of a scorer."""

    def __init__(self, scorer: ItemScorer) -> None:
        self.scorer = scorer
        self._held = 1.0
        self._without = 0

    def search(
        self,
        users: torch.Tensor,
        k: int,
        exclude: Histories | None,
        allowed: Allowed | None,
        counted: Sequence[CountedScores],
    ) -> TopItems:
        """List the best items of up to `USERS_AT_ONCE` users; see `ItemIndex.search`."""
        if 2 * k + _SPARE < self.scorer.item_count // _WIDER and self.scorer.eight_bits is not None:
            if self._held >= _HELD or self._without >= _AGAIN:
                self._without = 0
                found = self._by_first_look(users, k, exclude, allowed, counted)
                self._held += _LATE * ((found is not None) - self._held)
                if found is not None:
                    return found
            else:
                self._without += 1
        best = []
        for first, scores in self.scorer.score_chunks(users):
            _complete(scores[:, 1:], first, exclude, allowed, counted)
            places, values = top_items(scores, k)
            best.append(((places + (first - 1)).masked_fill(places == 0, 0), values))
        if len(best) == 1:
            return best[0]
        return best_of(
            torch.cat([items for items, _ in best], dim=1),
            torch.cat([values for _, values in best], dim=1),
            k,
        )

    def _by_first_look(
        self,
        users: torch.Tensor,
        k: int,
        exclude: Histories | None,
        allowed: Allowed | None,
        counted: Sequence[CountedScores],
    ) -> TopItems | None:
        """The same lists by compressed vectors; None where it is not sure that they are."""
        compressed = self.scorer.eight_bits
        assert compressed is not None
        error = compressed.error(users)
        for wanted in (2 * k + _SPARE, _WIDER * (2 * k + _SPARE)):
            if wanted >= self.scorer.item_count // _WIDER:
                return None
            parts, rounding = [], torch.zeros(())
            for first, scores in compressed.score_chunks(users):
                counts = _complete(scores, first, exclude, allowed, counted)
                looks, places = largest(scores, min(wanted, scores.shape[1]))
                parts.append([looks, places + first])
                if counts is not None:
                    parts[-1].append(counts.gather(1, places))
                    # A sum is rounded by how large it is.
                    rounding = torch.maximum(rounding, counts.amax(dim=1) * 2**-22)
            of_all = parts[0]
            if len(parts) > 1:
                of_all = [torch.cat(columns, dim=1) for columns in zip(*parts, strict=True)]
                chosen = of_all[0].topk(wanted, dim=1).indices
                of_all = [columns.gather(1, chosen) for columns in of_all]
            looks, items, *more = of_all
            last = looks[:, -1]
            # By index, so that equal scores are.
            items, order = items.masked_fill_(looks == -torch.inf, 0).sort(dim=1)
            sums = self.scorer.chosen(users, items)
            for counts in more:
                sums += counts.gather(1, order)
            sums = sums.masked_fill_(items == 0, -torch.inf).nan_to_num_(-torch.inf, torch.inf, -torch.inf)
            sums, places = sums.sort(dim=1, descending=True, stable=True)
            # Nothing else can reach the last of the list; what is left out is minus infinity.
            if ((sums[:, k - 1] - last > error + rounding) | (last == -torch.inf)).all():
                best = sums[:, :k]
                return items.gather(1, places[:, :k]).masked_fill_(best == -torch.inf, 0), best
        return None


def _complete(
    scores: torch.Tensor,
    first: int,
    exclude: Histories | None,
    allowed: Allowed | None,
    counted: Sequence[CountedScores],
) -> torch.Tensor | None:
    """Add what is counted to scores of items from `first` on, in place, and bar what may not be listed.

    Returns what is counted, summed before it is added, as elsewhere: so an item has one score, to the bit.
    """
    counts = None
    if counted:
        counts = torch.zeros_like(scores)
        for branch in counted:
            branch.add_to(counts, first)
        scores += counts
    if first == 0:
        scores[:, 0] = -torch.inf  # the padding item
    stop = first + scores.shape[1]
    if allowed is not None:
        scores.masked_fill_(torch.from_numpy(~allowed.marks[first:stop]), -torch.inf)
    if exclude is not None:
        rows, items = row_item_pairs(exclude)
        inside = (items >= first) & (items < stop)
        scores[rows[inside], items[inside] - first] = -torch.inf
    return counts


def largest(scores: torch.Tensor, count: int) -> TopItems:
    """The largest scores of each row `[n, N]` and their columns, largest first; of equal ones any.

    Of a long row `topk` takes longer than the products did. An item among the best is in one of the blocks with the
    best maxima.
    """
    blocks = scores.shape[1] // _BLOCK
    if blocks < 4 * count:
        return tuple(scores.topk(count, dim=1))  # type: ignore[return-value]
    whole = blocks * _BLOCK
    cut = scores[:, :whole].unflatten(1, (blocks, _BLOCK))
    chosen = cut.amax(dim=2).topk(count, dim=1).indices
    inside = cut.gather(1, chosen[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    values, places = torch.cat([inside, scores[:, whole:]], dim=1).topk(count, dim=1)
    first = chosen.gather(1, (places // _BLOCK).clamp(max=count - 1)) * _BLOCK
    beyond = places - inside.shape[1]
    return values, torch.where(beyond < 0, first + places % _BLOCK, whole + beyond)


def best_of(items: torch.Tensor, sums: torch.Tensor, k: int) -> TopItems:
    """List the best of candidates `[n, c]`, each once; candidate 0 stands for none."""
    # In index order, so that equal scores come by index; column 0 is passed over by `top_items`.
    items, order = torch.nn.functional.pad(items, (1, 0)).sort(dim=1, stable=True)
    sums = torch.nn.functional.pad(sums, (1, 0), value=-torch.inf).gather(1, order)
    sums[:, 1:].masked_fill_(items[:, 1:] == items[:, :-1], -torch.inf)
    places, values = top_items(sums, k)
    return items.gather(1, places), values

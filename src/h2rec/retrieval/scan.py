"""The exact scan: every item is scored, counts and all.

It looks at all vectors in 8 bits a number first. The best of these are scored again exactly; for users for whom the
bound on the errors leaves room for another item among them, everything is scored exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from h2rec.data.histories import Histories
from h2rec.evaluation.topk import in_order, row_item_pairs, top_items
from h2rec.models.sparse_scores import CountedScores
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.scoring import ItemScorer

USERS_AT_ONCE = 32
"""More of them cost as much each, and the memory of their scores is taken from the system anew for each part."""

TopItems = tuple[torch.Tensor, torch.Tensor]


_BLOCK = 32
_SPARE = 108
_WIDER = 4
_HELD, _AGAIN = 0.5, 100
"""Where the bound held less often of late, so many searches go without a first look."""
_LATE = 0.05


@dataclass(frozen=True, eq=False)
class Question:
    """What some users are asked for; see `ItemIndex.search`."""

    users: torch.Tensor
    k: int
    exclude: Histories | None = None
    allowed: Allowed | None = None
    counted: Sequence[CountedScores] = ()

    def of(self, rows: torch.Tensor) -> "Question":
        """The same for some of the users, int64 `[m]` ascending."""
        exclude = None if self.exclude is None else self.exclude.select(rows.numpy())
        counted = [branch.select(rows) for branch in self.counted]
        return Question(self.users[rows], self.k, exclude, self.allowed, counted)


class Scan:
    """Scores all items of a scorer."""

    def __init__(self, scorer: ItemScorer) -> None:
        self.scorer = scorer
        self._held = 1.0
        self._without = 0

    def search(self, asked: Question) -> TopItems:
        """List the best items of up to `USERS_AT_ONCE` users."""
        widths = self._widths(asked.k)
        if not widths or not len(asked.users):
            return self._by_all(asked)
        if self._held < _HELD and self._without < _AGAIN:
            self._without += 1
            return self._by_all(asked)
        self._without = 0
        items, sums, sure = self._by_first_look(asked, widths[0])
        rows = (~sure).nonzero().squeeze(1)
        for width in widths[1:]:
            if len(rows):
                # Only for the users whose list is not sure.
                items[rows], sums[rows], sure = self._by_first_look(asked.of(rows), width)
                rows = rows[~sure]
        self._held += _LATE * (1 - len(rows) / len(asked.users) - self._held)
        if len(rows):
            items[rows], sums[rows] = self._by_all(asked.of(rows))
        return items, sums

    def _widths(self, k: int) -> list[int]:
        """How many items a first look keeps, and a second; none if it isn't worth it."""
        if self.scorer.eight_bits is None:
            return []
        least = 2 * k + _SPARE
        return [width for width in (least, _WIDER * least) if width < self.scorer.item_count // _WIDER]

    def _by_all(self, asked: Question) -> TopItems:
        best = []
        for first, scores in self.scorer.score_chunks(asked.users):
            _complete(scores[:, 1:], first, asked)
            places, values = top_items(scores, asked.k)
            best.append(((places + (first - 1)).masked_fill(places == 0, 0), values))
        items, values = (torch.cat(parts, dim=1) for parts in zip(*best, strict=True))
        return best_of(items, values, asked.k)

    def _by_first_look(self, asked: Question, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Lists by compressed vectors, and whether each is sure to be the same, bool `[n]`."""
        users, k = asked.users, asked.k
        compressed = self.scorer.eight_bits
        assert compressed is not None
        best: list[torch.Tensor] = []
        rounding = torch.zeros(())
        for first, scores in compressed.score_chunks(users):
            counts = _complete(scores, first, asked)
            full = bool(best) and best[0].shape[1] == width
            looks, places = largest(scores, width, best[0][:, -1:] if full else None)
            found = [looks, places + first]
            if counts is not None:
                found.append(counts.gather(1, places))
                # A sum is rounded by how large it is.
                rounding = torch.maximum(rounding, counts.amax(dim=1) * 2**-22)
            if best:
                found = [torch.cat(columns, dim=1) for columns in zip(best, found, strict=True)]
                chosen = found[0].topk(min(width, found[0].shape[1]), dim=1).indices
                found = [columns.gather(1, chosen) for columns in found]
            best = found
        looks, items, *more = best
        last = looks[:, -1]
        # By index, so that equal scores are.
        items, order = items.masked_fill_(looks == -torch.inf, 0).sort(dim=1)
        sums = self.scorer.chosen(users, items)
        for counts in more:
            sums += counts.gather(1, order)
        sums = sums.masked_fill_(items == 0, -torch.inf).nan_to_num_(-torch.inf, torch.inf, -torch.inf)
        items, sums = in_order(items, sums, k)
        # Nothing else can reach the last of the list; or what is left out is minus infinity, and barred.
        error = compressed.error(users)
        sure = (sums[:, -1] - last > error + rounding) | ((last == -torch.inf) & error.isfinite())
        return items, sums, sure


def _complete(scores: torch.Tensor, first: int, asked: Question) -> torch.Tensor | None:
    """Add what is counted to scores of items from `first` on, in place, and bar what may not be listed.

    Returns what is counted, summed before it is added, as elsewhere: so an item has one score, to the bit.
    """
    counts = None
    if asked.counted:
        counts = torch.zeros_like(scores)
        for branch in asked.counted:
            branch.add_to(counts, first)
        scores += counts
    if first == 0:
        scores[:, 0] = -torch.inf  # the padding item
    stop = first + scores.shape[1]
    if asked.allowed is not None:
        scores.masked_fill_(torch.from_numpy(~asked.allowed.marks[first:stop]), -torch.inf)
    if asked.exclude is not None:
        rows, items = row_item_pairs(asked.exclude)
        inside = (items >= first) & (items < stop)
        scores[rows[inside], items[inside] - first] = -torch.inf
    return counts


def largest(scores: torch.Tensor, count: int, above: torch.Tensor | None = None) -> TopItems:
    """The largest scores of each row `[n, N]`, up to `count`, and their columns, largest first; of equal ones any.

    Of a long row `topk` takes longer than the products did. An item among the best is in one of the blocks with the
    best maxima. `above`: scores that are no larger than this, `[n, 1]`, may be left out, which spares most blocks.
    """
    blocks, looked = scores.shape[1] // _BLOCK, count
    whole = blocks * _BLOCK
    cut = scores[:, :whole].unflatten(1, (blocks, _BLOCK))
    if above is not None or blocks >= 4 * count:
        maxima = cut.amax(dim=2)
        if above is not None:
            looked = min(count, max(1, int((maxima > above).sum(dim=1).amax())))
    if blocks < 4 * looked:
        return tuple(scores.topk(min(count, scores.shape[1]), dim=1))  # type: ignore[return-value]
    chosen = maxima.topk(looked, dim=1).indices
    inside = cut.gather(1, chosen[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    inside_and_rest = torch.cat([inside, scores[:, whole:]], dim=1)
    values, places = inside_and_rest.topk(min(count, inside_and_rest.shape[1]), dim=1)
    first = chosen.gather(1, (places // _BLOCK).clamp(max=looked - 1)) * _BLOCK
    beyond = places - inside.shape[1]
    return values, torch.where(beyond < 0, first + places % _BLOCK, whole + beyond)


def best_of(items: torch.Tensor, sums: torch.Tensor, k: int) -> TopItems:
    """List the best of candidates `[n, c]`, each once, as `top_items` does; candidate 0 stands for none."""
    # In index order, so that equal scores come by index.
    items, order = items.sort(dim=1, stable=True)
    left_out = items == 0
    left_out[:, 1:] |= items[:, 1:] == items[:, :-1]
    sums = sums.gather(1, order).nan_to_num(-torch.inf, torch.inf, -torch.inf)
    return in_order(items, sums.masked_fill(left_out, -torch.inf), k)

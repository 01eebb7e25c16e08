"""Looking items up: an index proposes them by vector, counts lift others, and all are scored again exactly."""

from dataclasses import replace

import numpy as np
import torch

from h2rec.evaluation.topk import top_items
from h2rec.models.sparse_scores import listed_above, together
from h2rec.retrieval.indexes.protocol import VectorIndex
from h2rec.retrieval.scan import Question, TopItems, best_of
from h2rec.retrieval.scoring import ItemScorer

_DEEPER = 300
"""Beside counts so many more are proposed by vector: the lower that list ends, the fewer items counts can lift."""

_FOUND = 3
"""Of the best by vector, so many times as many as are wanted, an index misses few. Further down it misses more: what
counts may lift from there is looked up."""


class LookUp:
    """Looks items up in an index.

    `scan_up_to`: where a filter leaves no more than so many items these are scored, and the index is not asked.
    """

    def __init__(self, scorer: ItemScorer, index: VectorIndex, *, scan_up_to: int) -> None:
        self.scorer = scorer
        self.index = index
        self._scan_up_to = scan_up_to

    def search(self, asked: Question) -> TopItems:
        """List the best items of up to `USERS_AT_ONCE` users."""
        asked = replace(asked, counted=together(asked.counted))
        users, k, allowed, counted = asked.users, asked.k, asked.allowed, asked.counted
        if allowed is not None and allowed.count <= self._scan_up_to:
            few = torch.from_numpy(np.append(0, np.flatnonzero(allowed.marks)))  # 0 stands for none
            places, sums = top_items(self._sums(asked, few.expand(len(users), -1))[0], k)
            return few[places], sums
        longest = 0 if asked.exclude is None else int(asked.exclude.lengths.max(initial=0))
        wanted = min(k + longest, self.scorer.item_count)
        spare = _DEEPER if counted else 0
        items = torch.from_numpy(self.index.search(users.numpy(), wanted, allowed, spare=spare))
        sums, by_vector = self._sums(asked, items)
        if counted:
            # What the index did not propose scores less by its vector than these, nearly always: it is listed only if
            # counts lift it by more than what lies between the last of them and the k-th best sum.
            place = min(_FOUND * wanted, items.shape[1])
            last = by_vector.masked_fill(items == 0, -torch.inf).topk(place, dim=1).values[:, -1]
            gap = sums.topk(min(k, sums.shape[1]), dim=1).values[:, -1] - last
            # Where the list ended early, any count will do.
            lifted = listed_above(counted, gap.nan_to_num(nan=-torch.inf, posinf=-torch.inf))
            if allowed is not None:
                lifted = lifted.masked_fill(torch.from_numpy(~allowed.marks)[lifted], 0)
            items = torch.cat([items, lifted], dim=1)
            sums = torch.cat([sums, self._sums(asked, lifted)[0]], dim=1)
        return best_of(items, sums, k)

    def _sums(self, asked: Question, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of candidates `[n, c]`, minus infinity for what may not be listed, and scores by vector alone."""
        by_vector = self.index.scores(self.scorer, asked.users, items)
        sums = by_vector
        if asked.counted:
            rows = torch.arange(len(items))[:, None]
            sums = sums + sum(branch.at(rows, items) for branch in asked.counted)
        sums = sums.masked_fill(items == 0, -torch.inf)
        if asked.exclude is not None:
            for row, history in enumerate(asked.exclude):
                seen = torch.isin(items[row], torch.from_numpy(np.asarray(history, dtype=np.int64)))
                sums[row, seen] = -torch.inf
        return sums, by_vector

"""The item index: the best items for user vectors, exact or approximate, under filters."""

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from h2rec.data.histories import Histories
from h2rec.evaluation.topk import row_item_pairs, top_items
from h2rec.models.sparse_scores import CountedScores, listed_above
from h2rec.retrieval.approximate import ApproximateSearch, HnswSettings, IvfSettings
from h2rec.retrieval.scoring import ItemScorer
from h2rec.settings import Settings

logger = logging.getLogger(__name__)

_USERS_AT_ONCE = 64
_DEEPER = 300
"""Beside counts so many more are proposed by vector: the lower that list ends, the fewer items counts can lift."""

BoolArray = npt.NDArray[np.bool_]
TopItems = tuple[torch.Tensor, torch.Tensor]


class IndexSettings(Settings):
    """How the best items are found."""

    kind: Literal["auto", "exact", "hnsw", "ivf"] = "auto"
    """exact: score every item; hnsw, ivf: approximate (extra `faiss`); auto: by the catalogue's size."""
    exact_up_to: int = Field(200_000, ge=1)
    """auto: scan catalogues of up to this many items exactly. A filter that leaves no more than a tenth
    of that is scanned exactly whatever the index."""
    hnsw_up_to: int = Field(500_000, ge=1)
    """auto: a graph (hnsw) up to this many items, inverted lists (ivf) beyond."""
    hnsw: HnswSettings = HnswSettings()
    """Settings of the graph."""
    ivf: IvfSettings = IvfSettings()
    """Settings of the inverted lists."""

    def kind_for(self, item_count: int) -> Literal["exact", "hnsw", "ivf"]:
        """Which index a catalogue of this size gets."""
        if self.kind != "auto":
            return self.kind
        if item_count <= self.exact_up_to:
            return "exact"
        return "hnsw" if item_count <= self.hnsw_up_to else "ivf"


class ItemIndex:
    """Finds the items with the highest scores.

    `scorer`: the item vectors. `settings`: how. `sample_users`: gives user vectors `[m, D]` as a trained model
    makes them; an approximate index is built for them. None builds it on the item vectors alone, which recalls less
    where users lie elsewhere than items.

    Raises
    ------
    MissingExtraError
        If an approximate index is asked for by name and faiss is not installed.
    """

    def __init__(
        self,
        scorer: ItemScorer,
        settings: IndexSettings | None = None,
        sample_users: Callable[[], torch.Tensor] | None = None,
    ) -> None:
        settings = settings or IndexSettings()
        self.scorer = scorer
        self.settings = settings
        self.kind = settings.kind_for(scorer.item_count)
        if settings.kind == "auto" and self.kind != "exact" and find_spec("faiss") is None:
            logger.warning("faiss is not installed (extra 'faiss'): every question scans the whole catalogue")
            self.kind = "exact"
        self._scan_up_to = settings.exact_up_to // 10
        self._approximate: ApproximateSearch | None = None
        if self.kind != "exact":
            vectors = scorer.vectors.numpy()
            chosen = settings.hnsw if self.kind == "hnsw" else settings.ivf
            users = None if sample_users is None else sample_users().numpy()
            self._approximate = ApproximateSearch(vectors, chosen, users)

    @torch.inference_mode()
    def search(
        self,
        users: torch.Tensor,
        k: int,
        exclude: Histories | None = None,
        allowed: BoolArray | None = None,
        counted: Sequence[CountedScores] = (),
    ) -> TopItems:
        """List the best items of each user, best first; equal scores by item index.

        `users`: user vectors `[n, D]`. `k`: length of a list. `exclude`: items that may not be listed, a row for
        each user. `allowed`: bool `[N + 1]`: the items that may be listed, for all of these users; None for all.
        `counted`: scores beside those of the vectors, none negative. An approximate index proposes the best by vector
        and what counts may lift from below these into the list; both are scored again by the whole sum.
        Returns `items, values`: int64 and float32 `[n, k]`; where items run out, item 0 with score minus infinity.
        """
        if self._approximate is None:
            return self._scan(users, k, exclude, allowed, counted)
        if allowed is not None and np.count_nonzero(allowed) <= self._scan_up_to:
            few = torch.from_numpy(np.flatnonzero(allowed))
            candidates = few[few > 0].expand(len(users), -1)
            return _best_of(candidates, self._sums(users, candidates, exclude, counted)[0], k)
        batches = []
        for start in range(0, len(users), _USERS_AT_ONCE):
            rows = np.arange(start, min(start + _USERS_AT_ONCE, len(users)))
            excluded = None if exclude is None else exclude.select(rows)
            more = [branch.select(torch.from_numpy(rows)) for branch in counted]
            some = users[start : start + _USERS_AT_ONCE]
            batches.append(self._look_up(some, k, excluded, allowed, more))
        return torch.cat([items for items, _ in batches]), torch.cat([values for _, values in batches])

    def _look_up(
        self,
        users: torch.Tensor,
        k: int,
        exclude: Histories | None,
        allowed: BoolArray | None,
        counted: Sequence[CountedScores],
    ) -> TopItems:
        """List the best of what faiss proposes and of what counts lift beside them."""
        assert self._approximate is not None
        longest = 0 if exclude is None else int(exclude.lengths.max(initial=0))
        wanted = min(k + longest + (_DEEPER if counted else 0), self.scorer.item_count)
        items = torch.from_numpy(self._approximate.search(users.numpy(), wanted, allowed))
        sums, by_vector = self._sums(users, items, exclude, counted)
        if counted:
            # All others score less by their vectors than the last one proposed. So what counts do not lift by more
            # than what lies between it and the k-th best sum can't be listed.
            last = by_vector.masked_fill(items == 0, -torch.inf).amin(dim=1)
            gap = sums.topk(min(k, sums.shape[1]), dim=1).values[:, -1] - last
            # Where the list ended early, any count will do.
            lifted = listed_above(counted, gap.nan_to_num(nan=-torch.inf, posinf=-torch.inf))
            if allowed is not None:
                lifted = lifted.masked_fill(torch.from_numpy(~allowed)[lifted], 0)
            items = torch.cat([items, lifted], dim=1)
            sums = torch.cat([sums, self._sums(users, lifted, exclude, counted)[0]], dim=1)
        return _best_of(items, sums, k)

    def _scan(
        self,
        users: torch.Tensor,
        k: int,
        exclude: Histories | None,
        allowed: BoolArray | None,
        counted: Sequence[CountedScores],
    ) -> TopItems:
        closed = None if allowed is None else torch.from_numpy(~allowed)
        batches = []
        for start in range(0, len(users), _USERS_AT_ONCE):
            rows = np.arange(start, min(start + _USERS_AT_ONCE, len(users)))
            banned = None if exclude is None else row_item_pairs(exclude.select(rows))
            more = [branch.select(torch.from_numpy(rows)) for branch in counted]
            batches.append(self._scan_chunks(users[start : start + _USERS_AT_ONCE], k, banned, closed, more))
        return torch.cat([items for items, _ in batches]), torch.cat([values for _, values in batches])

    def _scan_chunks(
        self,
        users: torch.Tensor,
        k: int,
        banned: TopItems | None,
        closed: torch.Tensor | None,
        counted: Sequence[CountedScores],
    ) -> TopItems:
        """List the best of each part of the catalogue, and the best of those."""
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
        return _best_of(
            torch.cat([items for items, _ in best], dim=1),
            torch.cat([values for _, values in best], dim=1),
            k,
        )

    def _sums(
        self,
        users: torch.Tensor,
        items: torch.Tensor,
        exclude: Histories | None,
        counted: Sequence[CountedScores],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of candidates `[n, c]`, minus infinity for what may not be listed, and scores by vector alone."""
        by_vector = self.scorer.chosen(users, items)
        sums = by_vector
        for branch in counted:
            sums = sums + branch.at(torch.arange(len(users))[:, None], items)
        sums = sums.masked_fill(items == 0, -torch.inf)
        if exclude is not None:
            for row, history in enumerate(exclude):
                seen = torch.isin(items[row], torch.from_numpy(np.asarray(history, dtype=np.int64)))
                sums[row, seen] = -torch.inf
        return sums, by_vector


def _best_of(items: torch.Tensor, sums: torch.Tensor, k: int) -> TopItems:
    """List the best of candidates `[n, c]`, each once; candidate 0 stands for none."""
    # In index order, so that equal scores come by index; column 0 is passed over by `top_items`.
    items, order = torch.nn.functional.pad(items, (1, 0)).sort(dim=1, stable=True)
    sums = torch.nn.functional.pad(sums, (1, 0), value=-torch.inf).gather(1, order)
    sums[:, 1:].masked_fill_(items[:, 1:] == items[:, :-1], -torch.inf)
    places, values = top_items(sums, k)
    return items.gather(1, places), values

"""The best items for questions, by number: what every answer is made of."""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
import torch

from h2rec.data.histories import Histories
from h2rec.evaluation.topk import top_items
from h2rec.retrieval.answers import Query
from h2rec.retrieval.catalogue import Catalogue
from h2rec.retrieval.filters import Allowed, ItemFilter, every_item
from h2rec.retrieval.index import ItemIndex, TopItems
from h2rec.retrieval.quota import with_tail_quota
from h2rec.retrieval.users import EncodedUsers


class BestLists:
    """Finds the best items for encoded users.

    `repeats`: whether items of a history are listed again, unless a filter says otherwise.
    """

    def __init__(self, catalogue: Catalogue, index: ItemIndex, *, repeats: bool) -> None:
        self._catalogue = catalogue
        self._index = index
        self._repeats = repeats
        # A batch asks for one filter all the time.
        self._passing = lru_cache(maxsize=4)(catalogue.passing)
        self._popularity = torch.from_numpy(catalogue.train_counts.astype(np.float32))

    def find(self, queries: Sequence[Query], known: Histories, users: EncodedUsers) -> list[TopItems]:
        """List the best items of each question, best first: int64 and float32 of at most its `k`.

        `known`: a row for each question, the items of its history that are known. `users`: the same, encoded.
        """
        # Questions of one kind are searched together.
        kinds: dict[tuple[ItemFilter, float | None, bool], list[int]] = {}
        for row, (query, length) in enumerate(zip(queries, known.lengths.tolist(), strict=True)):
            kinds.setdefault((query.filter, query.tail_share, length > 0), []).append(row)
        found: dict[int, TopItems] = {}
        for (filter_, tail_share, personal), rows in kinds.items():
            k = min(max(queries[row].k for row in rows), len(self._catalogue))
            again = self._repeats if filter_.seen is None else filter_.seen
            seen = None if again else known if len(kinds) == 1 else known.select(np.array(rows))
            allowed = self._passing(filter_) if filter_.restricts else None
            counted, vectors = list(users.counted.values()), users.vectors
            if len(kinds) > 1:
                counted = [sparse.select(torch.tensor(rows)) for sparse in counted]
                vectors = vectors[rows]
            search = partial(self._index.search, vectors, k, seen, counted=counted)
            if not personal:
                search = partial(self._popular, len(rows), k)
            items, values = search(allowed=allowed)
            tails = None
            if tail_share is not None:
                tail = (allowed or every_item(len(self._catalogue))).of_tail(self._catalogue.head)
                tails = search(allowed=tail)
            for place, row in enumerate(rows):
                best = items[place, : queries[row].k], values[place, : queries[row].k]
                if tails is not None and tail_share is not None:
                    cut = tails[0][place, : queries[row].k], tails[1][place, : queries[row].k]
                    best = self._balanced(best, cut, tail_share)
                found[row] = best[0][best[0] > 0], best[1][best[0] > 0]
        return [found[row] for row in range(len(queries))]

    def _popular(self, count: int, k: int, *, allowed: Allowed | None) -> TopItems:
        """The most popular items, for users of whom nothing is known."""
        scores = self._popularity
        if allowed is not None:
            scores = scores.masked_fill(torch.from_numpy(~allowed.marks), -torch.inf)
        items, values = top_items(scores[None], k)
        return items.expand(count, -1), values.expand(count, -1)

    def _balanced(self, best: TopItems, tail: TopItems, share: float) -> TopItems:
        arrays = [(items.numpy(), values.numpy()) for items, values in (best, tail)]
        items, values = with_tail_quota(arrays[0], arrays[1], self._catalogue.head, share)
        return torch.from_numpy(items), torch.from_numpy(values)

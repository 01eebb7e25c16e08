"""Recommendations for any history, new users included, from a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from h2rec.data.histories import Histories, offsets_of
from h2rec.errors import BundleError
from h2rec.models.reasons import SEEN_TOGETHER, Reason
from h2rec.retrieval.answers import IdLists, Query, Recommendation, RecommendedItem, as_json, checked_k
from h2rec.retrieval.best_lists import BestLists
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.catalogue import Catalogue
from h2rec.retrieval.explanation import Because, Explanation
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.index import IndexSettings, ItemIndex, TopItems
from h2rec.retrieval.item_ids import GivenId, ItemId, as_item_ids
from h2rec.retrieval.process import claim_process
from h2rec.retrieval.scoring import ItemScorer
from h2rec.retrieval.similar import SimilarItems
from h2rec.retrieval.users import EncodedUsers, UserEncoder

__all__ = ["Query", "Recommendation", "RecommendedItem", "Recommender", "as_json"]

_USERS_AT_ONCE = 256
_USERS_SAMPLED = 4096


class Recommender:
    """Answers from a bundle.

    Parameters
    ----------
    bundle
        The bundle.
    index
        How the best items are found; by default exactly in catalogues of up to 200,000 items.
    frozen
        Trace the model, which takes about half a second, to answer few questions at a time in half the time.
    as_given
        Give ids that were numbers in the data as numbers, not as texts.
    before
        Another one: where its items are the first of these, its index takes in the others and is not built again.

    Raises
    ------
    MissingExtraError
        If the index needs a library that is not installed.

    >>> Recommender.load("runs/demo/bundle").recommend(["i12", "i7"], k=3)  # doctest: +SKIP
    """

    def __init__(
        self,
        bundle: Bundle,
        index: IndexSettings | None = None,
        *,
        frozen: bool = False,
        as_given: bool = False,
        before: "Recommender | None" = None,
    ) -> None:
        self.bundle = bundle
        self._numbers = as_given and bundle.manifest.whole_number_ids
        self.catalogue = Catalogue(bundle)
        self.encoder = UserEncoder(bundle.model, frozen=frozen)
        with torch.inference_mode():
            sizes = tuple(part.shape[1] for part in bundle.model.item_vectors(torch.arange(1)))
        self._scorer = ItemScorer(bundle.item_vectors, sizes)
        known = None if before is None else before.index
        self.index: ItemIndex
        self.index = ItemIndex(self._scorer, index, self.sample_users, catalogue=self.catalogue, before=known)
        self._similar = SimilarItems(
            self._scorer, bundle.model.branch_names, bundle.manifest.model.popularity_branch
        )
        self._lists = BestLists(self.catalogue, self.index, repeats=self.repeats)

    @classmethod
    def load(cls, folder: str | Path, index: IndexSettings | None = None) -> Self:
        """Load a bundle.

        Raises
        ------
        BundleError
            If the bundle is missing, damaged or of another format version.
        """
        return cls(Bundle.load(Path(folder)), index)

    @property
    def item_ids(self) -> list[str]:
        """Ids of all items, `[N]`, in index order."""
        return self.catalogue.item_ids

    @property
    def repeats(self) -> bool:
        """Whether items of a history are recommended again, unless a filter says otherwise."""
        return self.bundle.manifest.repeats == "allowed"

    def recommend(
        self,
        history: Sequence[ItemId],
        k: int = 10,
        *,
        filter: ItemFilter = ANY_ITEM,
        tail_share: float | None = None,
        explain: bool = False,
    ) -> Recommendation:
        """Recommend `k` items to follow a history of item ids, oldest first.

        Ids are texts or whole numbers, in a list or in a column of numpy, pandas, Polars or Arrow. Unknown items are
        skipped and reported; where nothing known remains, the most popular items are given. Whether items of the
        history may come again is the bundle's rule (`repeats`), or the filter's if it says so. There are fewer than
        `k`, maybe none, where the filter and the history leave no more.

        Raises
        ------
        DataError
            If the history is no list of ids, `k` is below one, a filter names an unknown field, or the tail share is
            no share.
        """
        return self.answer([Query(history, k, filter, tail_share, explain)])[0]

    def recommend_batch(
        self,
        histories: Sequence[Sequence[ItemId]],
        k: int = 10,
        *,
        filter: ItemFilter = ANY_ITEM,
        tail_share: float | None = None,
        explain: bool = False,
    ) -> list[Recommendation]:
        """Recommend for several histories at once; each answer is as `recommend` would give it."""
        return self.answer([Query(history, k, filter, tail_share, explain) for history in histories])

    def answer(self, queries: Sequence[Query]) -> list[Recommendation]:
        """Answer several questions of any kind at once, in their order.

        Raises
        ------
        DataError
            If a filter names an unknown field.
        H2RecError
            In a process that was forked after a bundle was loaded.
        """
        claim_process()
        answers: list[Recommendation] = []
        for start in range(0, len(queries), _USERS_AT_ONCE):
            answers.extend(self._answer_few(queries[start : start + _USERS_AT_ONCE]))
        return answers

    def id_lists(self, queries: Sequence[Query]) -> IdLists:
        """Answer questions with ids and scores alone, as texts and in columns: for many users at once.

        Histories of like length are encoded together, so that hardly a position is padding; a score may differ from
        that of `answer` in its last digits.

        Raises
        ------
        DataError
            If a filter names an unknown field.
        H2RecError
            In a process that was forked after a bundle was loaded.
        """
        claim_process()
        order = sorted(range(len(queries)), key=lambda row: len(queries[row].history))
        found: dict[int, tuple[TopItems, bool]] = {}
        for start in range(0, len(order), _USERS_AT_ONCE):
            rows = order[start : start + _USERS_AT_ONCE]
            known, _, best = self._best([queries[row] for row in rows])
            found.update(zip(rows, zip(best, (known.lengths == 0).tolist(), strict=True), strict=True))
        lists = [found[row][0] for row in range(len(queries))]
        none = torch.empty(0)
        items = torch.cat([none.long(), *(items for items, _ in lists)]).numpy()
        return IdLists(
            offsets_of(np.array([len(items) for items, _ in lists], dtype=np.int64)),
            self.catalogue.ids_of(items),
            torch.cat([none, *(values for _, values in lists)]).numpy(),
            [[item for item in query.item_ids if item not in self.catalogue.index] for query in queries],
            [found[row][1] for row in range(len(queries))],
        )

    def user_vectors(self, histories: Sequence[Sequence[ItemId]]) -> torch.Tensor:
        """Vectors of histories `[n, D]`, whose inner products with the items' are scores but for what is counted."""
        claim_process()
        known = Histories.from_lists([self.catalogue.known(as_item_ids(history)) for history in histories])
        vectors = self.encoder.encode(known).vectors
        return vectors.masked_fill(torch.from_numpy(known.lengths == 0)[:, None], 0.0)

    def similar(self, item_id: ItemId, k: int = 10, *, branch: str | None = None) -> list[RecommendedItem]:
        """Items like an item, by the cosine of their static vectors.

        Parameters
        ----------
        branch
            By one branch's vectors alone, such as `codes` or `ids`; None for all but popularity.

        Raises
        ------
        DataError
            If the item is unknown, the model has no such branch, or `k` is below one.
        """
        claim_process()
        k = checked_k(k)
        item = self.catalogue.require(item_id)
        items, values = self._similar.search(item, min(k, len(self.catalogue)), branch)
        return self._items(items, values, None)

    def given(self, item_id: str) -> GivenId:
        """Return an id as it is given out."""
        return int(item_id) if self._numbers and item_id.isdecimal() else item_id

    def nearest_ids(self, item_id: str) -> list[str]:
        """Ids of the catalogue that look like a given one, for messages."""
        return self.catalogue.nearest_ids(item_id)

    def fields(self, item_id: ItemId) -> dict[str, str | None]:
        """Text fields of a known item."""
        return self.catalogue.field_rows([self.catalogue.require(item_id)])[0]

    def _answer_few(self, queries: Sequence[Query]) -> list[Recommendation]:
        known, users, best = self._best(queries)
        return [
            self._recommendation(query, known[row].tolist(), best[row], users, row)
            for row, query in enumerate(queries)
        ]

    def _best(self, queries: Sequence[Query]) -> tuple[Histories, EncodedUsers, list[TopItems]]:
        """What is known of each history, that as vectors, and the best items, by number."""
        known = Histories.from_lists([self.catalogue.known(query.item_ids) for query in queries])
        users = self.encoder.encode(known)
        usable = users.usable
        if not bool(usable.all()) and not bool(usable[torch.from_numpy(known.lengths > 0)].all()):
            raise BundleError(
                f"{self.bundle.folder}: its model makes NaN, infinity or numbers out of all range of a history"
            )
        return known, users, self._lists.find(queries, known, users)

    def sample_users(self, count: int = _USERS_SAMPLED) -> torch.Tensor:
        """Vectors of users who saw one item each: a bundle holds no user's history."""
        step = max(1, len(self.catalogue) // count)
        items = range(1, len(self.catalogue) + 1, step)
        chunks = [
            self.encoder.encode(Histories.from_lists([[item] for item in items[start : start + 256]])).vectors
            for start in range(0, len(items), 256)
        ]
        return torch.cat(chunks)

    def _recommendation(
        self, query: Query, history: list[int], best: TopItems, users: EncodedUsers, row: int
    ) -> Recommendation:
        items, values = best
        explanations, alpha = None, None
        if query.explain and history:
            model = self.bundle.model
            branch_scores = self._scorer.branches(users.vectors[row : row + 1], items[None])
            for name, sparse in users.counted.items():
                branch_scores[model.branch_names.index(name)] = sparse.at(torch.tensor([[row]]), items[None])
            by_item = torch.cat(branch_scores).T.tolist()
            given = [dict(zip(model.branch_names, scores, strict=True)) for scores in by_item]
            listed = items.tolist()
            reasons, paths = model.reasons(listed, history), model.paths(listed, history)
            explanations = []
            for place, item in enumerate(listed):
                because = [self._because(item, reason) for reason in reasons[place]]
                steps = {name: of[place] for name, of in paths.items()}
                explanations.append(Explanation(given[place], because, steps))
            alpha = None if users.alpha is None else users.alpha[row].tolist()
        unknown = [self.given(item) for item in query.item_ids if item not in self.catalogue.index]
        shown = self._items(items, values, explanations, bare=query.bare)
        return Recommendation(shown, unknown, not history, alpha)

    def _because(self, item: int, reason: Reason) -> Because:
        # What training never saw has the counts of its neighbours in text.
        seen = self.catalogue.train_counts[[item, reason.item]].all()
        kind = "like_goes_with" if reason.kind in SEEN_TOGETHER and not seen else reason.kind
        return Because(self.given(self.catalogue.item_ids[reason.item - 1]), kind, reason.strength)

    def _items(
        self,
        items: torch.Tensor,
        values: torch.Tensor,
        explanations: list[Explanation] | None,
        *,
        bare: bool = False,
    ) -> list[RecommendedItem]:
        pairs = [(item, of) for item, of in zip(items.tolist(), values.tolist(), strict=True) if item > 0]
        rows = [{} for _ in pairs] if bare else self.catalogue.field_rows([item for item, _ in pairs])
        return [
            RecommendedItem(
                item_id=self.given(self.catalogue.item_ids[item - 1]),
                score=value,
                head=bool(self.catalogue.head[item]),
                fields=fields,
                codes=None if bare else self.catalogue.codes(item),
                explanation=None if explanations is None else explanations[place],
            )
            for place, ((item, value), fields) in enumerate(zip(pairs, rows, strict=True))
        ]

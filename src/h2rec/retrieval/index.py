"""The item index: the best items for user vectors, by a scan or by an index that is named, under filters."""

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Annotated

import torch
from pydantic import Field, SerializeAsAny

from h2rec.data.histories import Histories
from h2rec.models.sparse_scores import CountedScores
from h2rec.retrieval.catalogue import Catalogue
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.indexes import INDEXES
from h2rec.retrieval.indexes.protocol import IndexedItems, IndexKind, VectorIndex
from h2rec.retrieval.lookup import LookUp
from h2rec.retrieval.scan import USERS_AT_ONCE, Question, Scan, TopItems
from h2rec.retrieval.scoring import ItemScorer
from h2rec.settings import Settings, by_name

__all__ = ["IndexSettings", "ItemIndex", "TopItems"]

logger = logging.getLogger(__name__)

_AUTO, _EXACT, _LARGE = "auto", "exact", "ivf"


def _settings_of(name: str) -> type[IndexKind]:
    return IndexKind if name in (_AUTO, _EXACT) else INDEXES.get(name).settings_class


class IndexSettings(Settings):
    """How the best items are found."""

    kind: Annotated[
        SerializeAsAny[IndexKind], by_name(IndexKind, _settings_of, what="index", source="index.kind")
    ] = IndexKind(name=_AUTO)
    """exact: score every item; ivf: approximate (extra `faiss`); auto: exact or, of large catalogues, ivf;
    flat: faiss' own scan; milvus: a collection of Milvus (extra `milvus`); or one of another package. A name, or a
    mapping of its name and its own settings."""
    exact_up_to: int = Field(200_000, ge=1)
    """auto: scan catalogues of up to this many items exactly; larger ones get inverted lists (ivf). A filter that
    leaves no more than a tenth of that is scanned exactly whatever the index."""

    def kind_for(self, item_count: int) -> IndexKind:
        """Which index a catalogue of this size gets."""
        if self.kind.name != _AUTO:
            return self.kind
        if item_count <= self.exact_up_to:
            return IndexKind(name=_EXACT)
        return INDEXES.get(_LARGE).settings_class(name=_LARGE)


class ItemIndex:
    """Finds the items with the highest scores.

    Parameters
    ----------
    scorer
        The item vectors.
    settings
        How.
    sample_users
        Gives user vectors `[m, D]` as a trained model makes them; an approximate index is built for them. None builds
        it on the item vectors alone, which recalls less where users lie elsewhere than items.
    catalogue
        The items' attributes, for an index that filters by them itself.
    before
        An index of the same items but the last ones: what it has is kept, and only these are added.

    Raises
    ------
    MissingExtraError
        If an index is asked for by name and its library is not installed.
    """

    def __init__(
        self,
        scorer: ItemScorer,
        settings: IndexSettings | None = None,
        sample_users: Callable[[], torch.Tensor] | None = None,
        *,
        catalogue: Catalogue | None = None,
        before: "ItemIndex | None" = None,
    ) -> None:
        settings = settings or IndexSettings()
        self.scorer = scorer
        self.settings = settings
        self.kind = settings.kind_for(scorer.item_count)
        if not sum(scorer.branch_sizes):  # only counts tell items apart
            self.kind = IndexKind(name=_EXACT)
        if settings.kind.name == _AUTO and self.kind.name != _EXACT and find_spec("faiss") is None:
            logger.warning("faiss is not installed (extra 'faiss'): every question scans the whole catalogue")
            self.kind = IndexKind(name=_EXACT)
        self.vector_index: VectorIndex | None = None
        self._how: Scan | LookUp = Scan(scorer)
        if self.kind.name != _EXACT:
            items = IndexedItems(scorer.vectors.numpy(), catalogue)
            if before is not None and before.vector_index is not None and self._continues(before):
                self.vector_index = before.vector_index.upsert(items, before.scorer.item_count + 1)
            else:
                users = None if sample_users is None else (lambda: sample_users().numpy())
                self.vector_index = INDEXES.get(self.kind.name).build(items, self.kind, users)
            self._how = LookUp(scorer, self.vector_index, scan_up_to=settings.exact_up_to // 10)

    @torch.inference_mode()
    def search(
        self,
        users: torch.Tensor,
        k: int,
        exclude: Histories | None = None,
        allowed: Allowed | None = None,
        counted: Sequence[CountedScores] = (),
    ) -> TopItems:
        """List the best items of each user, best first; equal scores by item index.

        `users`: user vectors `[n, D]`. `k`: length of a list. `exclude`: items that may not be listed, a row for
        each user. `allowed`: the items that may be listed, for all of these users; None for all.
        `counted`: scores beside those of the vectors, none negative. An index proposes the best by vector
        and what counts may lift from below these into the list; both are scored again by the whole sum.
        Returns `items, values`: int64 and float32 `[n, k]`; where items run out, item 0 with score minus infinity.
        """
        asked = Question(users, k, exclude, allowed, counted)
        if len(users) <= USERS_AT_ONCE:
            return self._how.search(asked)
        parts = [self._how.search(asked.of(rows)) for rows in torch.arange(len(users)).split(USERS_AT_ONCE)]
        return torch.cat([items for items, _ in parts]), torch.cat([values for _, values in parts])

    @property
    def in_process(self) -> bool:
        """Whether a search waits for nothing outside of this process."""
        return self.vector_index is None or self.vector_index.in_process

    def _continues(self, before: "ItemIndex") -> bool:
        """Whether this catalogue is the other, or begins with it."""
        ours, theirs = self.scorer.vectors, before.scorer.vectors
        return (
            before.kind == self.kind and len(theirs) <= len(ours) and torch.equal(ours[: len(theirs)], theirs)
        )

"""Indexes of faiss, in this process: inverted lists of compressed vectors, or the vectors."""

import math
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from h2rec.errors import MissingExtraError
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.indexes.protocol import IndexedItems, IndexKind, SampleUsers, VectorIndex, Vectors
from h2rec.runtime import random_stream

_AT_ONCE = 100_000
_POINTS_A_LIST = 64
_COMPRESSED_FROM = 1000
"""Of fewer items no codes can be learnt."""
_SINGLE_UP_TO = 128
_OVERSAMPLE, _MISJUDGED = 3, 300
"""So many times the number asked for is proposed, and so many more: scores by codes are a little wrong."""
_ITEMS_HELD = 0.999
_LEARNT = 131_072
"""Items that lists and codes are learnt from, drawn with a fixed seed."""
_RECALL, _LISTED, _TRIED = 0.95, 100, 256
"""Recall of the first hundred that lists are to have, and the users that it is measured on."""
_SAME = 1e-5
_PROBES = 48
"""Where no users are known."""


class IvfSettings(IndexKind):
    """Inverted lists (Jégou et al., 2011)."""

    name: Literal["ivf"] = "ivf"
    lists: int | None = Field(None, ge=1)
    """Lists; null takes the square root of twice the number of items."""
    probes: int | None = Field(None, ge=1)
    """Lists looked into: more are slower and recall more. Null: as few as recall 95 of the best 100 of users who saw
    one item each, as measured when the index is built; of users who saw more they recall about as many."""


class Ivf(VectorIndex):
    """Inverted lists for maximum inner products, over vectors of four bits a number.

    Before anything is indexed, item vectors are turned and weighted so that an error in them is as large as it is in
    the scores of users: with ``U diag(w) U'`` the second moments of a sample of user vectors, items become
    ``x U sqrt(w)`` and users ``q U / sqrt(w)``, which leaves inner products as they are. Of these the few directions
    are kept that hold nearly all of the items. Item vectors of codes and identity side by side are many columns that
    users weigh unlike, and mostly not at all.

    One more column, ``sqrt(max|x|^2 - |x|^2)``, brings all items to one length; for a user vector with 0 there, the
    item of the nearest direction is then the one of the largest inner product (Bachrach et al., RecSys 2014), so that
    lists by direction serve it. A list holds what differs from its centre, compressed to codes that a processor looks
    up without leaving its registers (André et al., VLDB 2015). It misjudges scores a little, so more is proposed than
    is asked for.
    """

    settings_class: ClassVar[type[IndexKind]] = IvfSettings
    in_process = True

    def __init__(self, settings: IvfSettings, items: Vectors, users: Vectors | None) -> None:
        self.settings = settings
        self._item_projection, self._user_projection = _projections(items, users)
        longest = float(_squares(items @ self._item_projection).max())
        self._item_projection /= np.float32(math.sqrt(longest) or 1)
        self.probes = settings.probes or _PROBES
        self.index: Any = None

    @property
    def columns(self) -> int:
        """Numbers of an indexed vector, without the one for its length."""
        return int(self._item_projection.shape[1])

    @classmethod
    def build(cls, items: IndexedItems, settings: Any, users: SampleUsers | None) -> Self:
        faiss, vectors, count = _faiss(), items.vectors, len(items)
        sample = None if users is None else users()
        learnt = vectors[1:]
        if count > _LEARNT:
            learnt = learnt[np.sort(random_stream(0, "index").choice(count, _LEARNT, replace=False))]
        built = cls(settings, learnt, sample)
        lists = settings.lists or max(1, min(round(math.sqrt(2 * count)), count // _POINTS_A_LIST))
        size = built.columns + 1
        # Four bits for each number, or for two of many.
        codes = f"PQ{size if size <= _SINGLE_UP_TO else size // 2}x4fsr"
        kind = f"IVF{lists},{codes if count >= _COMPRESSED_FROM else 'Flat'}"
        built.index = faiss.index_factory(size, kind, faiss.METRIC_INNER_PRODUCT)
        built.index.train(built._lift(learnt))
        built._add(vectors, 1)
        if settings.probes is None and sample is not None:
            built._probe_enough(vectors, sample)
        return built

    def _probe_enough(self, vectors: Vectors, users: Vectors) -> None:
        """Look into as few lists as find enough of what scoring everything finds."""
        if len(users) > _TRIED:
            users = users[random_stream(0, "probes").choice(len(users), _TRIED, replace=False)]
        count = min(_LISTED, len(vectors) - 1)
        # By score: of items that score the same any will do.
        least = _score_at(count, vectors, users)
        for probes in _steps(self.index.nlist):
            self.probes = probes
            found = self.search(users, count)
            scores = np.einsum("nd,ncd->nc", users, vectors[found])
            good = (scores >= least - _SAME * np.abs(least)) & (found > 0)
            if (good.sum(axis=1).clip(max=count) / count).mean() >= _RECALL:
                break

    def search(
        self, users: Vectors, count: int, allowed: Allowed | None = None, *, spare: int = 0
    ) -> npt.NDArray[np.int64]:
        projected = users @ self._user_projection
        queries = np.zeros((len(users), self.columns + 1), np.float32)
        # The length of a query changes no order.
        queries[:, :-1] = projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
        # The best of what is left lies further out, so that more has to be looked at.
        thinned = 1.0 if allowed is None else self.index.ntotal / max(1, allowed.count)
        parameters = _faiss().SearchParametersIVF(
            nprobe=min(math.ceil(self.probes * thinned), self.index.nlist),
            sel=None if allowed is None else _selector(allowed),
        )
        wanted = min(max(_OVERSAMPLE * count + _MISJUDGED, count + spare), self.index.ntotal)
        _, rows = self.index.search(queries, wanted, params=parameters)
        return np.asarray(rows, dtype=np.int64) + 1  # faiss' -1 for none becomes the padding item

    def upsert(self, items: IndexedItems, first: int) -> Self:
        # A copy: the index itself may be searched meanwhile.
        grown = type(self).__new__(type(self))
        vars(grown).update(vars(self), index=_faiss().clone_index(self.index))
        grown._add(items.vectors, first)
        return grown

    def _add(self, vectors: Vectors, first: int) -> None:
        for start in range(first, len(vectors), _AT_ONCE):
            self.index.add(self._lift(vectors[start : start + _AT_ONCE]))

    def _lift(self, vectors: Vectors) -> Vectors:
        lifted = np.empty((len(vectors), self.columns + 1), np.float32)
        lifted[:, :-1] = vectors @ self._item_projection
        # An item that is longer than all that were learnt from has nothing there.
        lifted[:, -1] = np.sqrt(np.maximum(1 - _squares(lifted[:, :-1]), 0))
        return lifted


class FlatSettings(IndexKind):
    """All vectors as they are, scanned by faiss: what it finds is exact."""

    name: Literal["flat"] = "flat"


class Flat(VectorIndex):
    """The vectors, scanned."""

    settings_class: ClassVar[type[IndexKind]] = FlatSettings
    in_process = True

    def __init__(self, index: Any) -> None:
        self.index = index

    @classmethod
    def build(cls, items: IndexedItems, settings: Any, users: SampleUsers | None) -> Self:
        index = _faiss().IndexFlatIP(items.vectors.shape[1])
        index.add(items.vectors[1:])
        return cls(index)

    def search(
        self, users: Vectors, count: int, allowed: Allowed | None = None, *, spare: int = 0
    ) -> npt.NDArray[np.int64]:
        parameters = _faiss().SearchParameters(sel=None if allowed is None else _selector(allowed))
        _, rows = self.index.search(users, min(count + spare, self.index.ntotal), params=parameters)
        return np.asarray(rows, dtype=np.int64) + 1

    def upsert(self, items: IndexedItems, first: int) -> Self:
        grown = _faiss().clone_index(self.index)
        grown.add(items.vectors[first:])
        return type(self)(grown)


def _selector(allowed: Allowed) -> Any:
    return _faiss().IDSelectorBitmap(np.packbits(allowed.marks[1:], bitorder="little"))


def _steps(most: int) -> list[int]:
    """Numbers up to `most`, each a quarter more than the one before."""
    return [*dict.fromkeys(min(most, math.ceil(8 * 1.25**step)) for step in range(50))]


def _score_at(place: int, vectors: Vectors, users: Vectors) -> Vectors:
    """The score of the item at a place of each user's list of all, from 1, `[n, 1]`."""
    best = np.zeros((len(users), 0), np.float32)
    for start in range(1, len(vectors), _AT_ONCE):
        scores = np.hstack([best, users @ vectors[start : start + _AT_ONCE].T])
        best = np.partition(scores, scores.shape[1] - place, axis=1)[:, -place:]
    return best.min(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _projections(items: Vectors, users: Vectors | None) -> tuple[Vectors, Vectors]:
    """Matrices `[D, c]` for item vectors and for user vectors; products of what they give are nearly as before."""
    scales = np.ones(items.shape[1])
    turned = np.eye(items.shape[1])
    if users is not None:
        weights, turned = _directions(users)
        scales = np.sqrt(np.maximum(weights, weights[0] * 1e-9))
    weights, kept = _directions(items @ (turned * scales).astype(np.float32))
    held = np.cumsum(weights) / max(weights.sum(), np.finfo(np.float64).tiny)
    kept = kept[:, : int(np.searchsorted(held, _ITEMS_HELD)) + 1]
    # An odd number: with the one for lengths they make pairs.
    kept = np.pad(kept, ((0, 0), (0, 1 - kept.shape[1] % 2)))
    return ((turned * scales) @ kept).astype(np.float32), ((turned / scales) @ kept).astype(np.float32)


def _directions(vectors: Vectors) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Directions that vectors lie in, as columns, and how much of them each holds; the largest first."""
    weights, directions = np.linalg.eigh(vectors.astype(np.float64).T @ vectors / len(vectors))
    return np.maximum(weights[::-1], 0), directions[:, ::-1]


def _squares(vectors: Vectors) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return squares


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("an approximate index", "faiss") from None
    return faiss

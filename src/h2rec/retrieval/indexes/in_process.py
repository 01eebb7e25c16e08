"""Indexes of faiss, in this process: inverted lists over projected, compressed vectors, or the vectors."""

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
_OVERSAMPLE = 1.5
_USERS_HELD = 0.999
_RECALL, _LISTED, _TRIED = 0.95, 100, 64
"""Recall of the first hundred that lists are to have, and the users that it is measured on."""
_SAME = 1e-5
_PROBES = 48
"""Where no users are known."""


class IvfSettings(IndexKind):
    """Inverted lists (Jégou et al., 2011)."""

    name: Literal["ivf"] = "ivf"
    lists: int | None = Field(None, ge=1)
    """Lists; null takes twice the square root of the number of items."""
    probes: int | None = Field(None, ge=1)
    """Lists looked into: more are slower and recall more. Null: as few as recall 95 of the best 100 of users who saw
    one item each, as measured when the index is built; of users who saw more they recall about as many."""
    training_sample: int = Field(131_072, ge=1000)
    """Items that the lists and the compression are learnt from, drawn with a fixed seed."""


class Ivf(VectorIndex):
    """Inverted lists for maximum inner products, over vectors of 8 bits a number.

    Before anything is indexed, item vectors are projected on the few directions that users' vectors lie in,
    each weighted by how much of the users it holds: an error is then as large as it is in the score. With
    ``U diag(w) U'`` the second moments of a sample of user vectors, items become ``x U sqrt(w)`` and users
    ``q U / sqrt(w)``, which leaves inner products as they are. Item vectors of codes and identity side by side
    are many columns that users weigh unlike, and mostly not at all.

    Faiss' lists are built on distances. One more column, ``sqrt(max|x|^2 - |x|^2)``, brings
    all items to one length; for a user vector with 0 there, the nearest item is then the one of the
    largest inner product (Bachrach et al., RecSys 2014).
    """

    settings_class: ClassVar[type[IndexKind]] = IvfSettings
    in_process = True

    def __init__(self, settings: IvfSettings, width: int, users: Vectors | None) -> None:
        self.settings = settings
        self._item_projection, self._user_projection = _projections(width, users)
        self._longest = 0.0
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
        built = cls(settings, vectors.shape[1], sample)
        for start in range(1, count + 1, _AT_ONCE):
            projected = vectors[start : start + _AT_ONCE] @ built._item_projection
            built._longest = max(built._longest, float(_squares(projected).max()))
        lists = settings.lists or max(1, min(round(2 * math.sqrt(count)), count // _POINTS_A_LIST))
        built.index = faiss.index_factory(built.columns + 1, f"IVF{lists},SQ8")
        most, learnt = settings.training_sample, np.arange(1, count + 1)
        if count > most:
            learnt = np.sort(random_stream(0, "index").choice(learnt, most, replace=False))
        built.index.train(built._lift(vectors[learnt]))
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

    def search(self, users: Vectors, count: int, allowed: Allowed | None = None) -> npt.NDArray[np.int64]:
        projected = users @ self._user_projection
        # The length of a query changes no order; the items' own keeps distances well conditioned.
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        queries = np.zeros((len(users), projected.shape[1] + 1), np.float32)
        queries[:, :-1] = projected * (math.sqrt(self._longest) / np.maximum(lengths, 1e-12))
        # The best of what is left lies further out, so that more has to be looked at.
        thinned = 1.0 if allowed is None else self.index.ntotal / max(1, allowed.count)
        parameters = _faiss().SearchParametersIVF(
            nprobe=math.ceil(self.probes * thinned),
            sel=None if allowed is None else _selector(allowed),
        )
        wanted = min(math.ceil(count * _OVERSAMPLE), self.index.ntotal)
        _, rows = self.index.search(queries, wanted, params=parameters)
        return np.asarray(rows, dtype=np.int64) + 1  # faiss' -1 for none becomes the padding item

    def upsert(self, items: IndexedItems, first: int) -> Self:
        # A copy: the index itself may be searched meanwhile. What is longer than any item before is cut to that length.
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
        lifted[:, -1] = np.sqrt(np.maximum(self._longest - _squares(lifted[:, :-1]), 0))
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

    def search(self, users: Vectors, count: int, allowed: Allowed | None = None) -> npt.NDArray[np.int64]:
        parameters = _faiss().SearchParameters(sel=None if allowed is None else _selector(allowed))
        _, rows = self.index.search(users, min(count, self.index.ntotal), params=parameters)
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


def _projections(width: int, users: Vectors | None) -> tuple[Vectors, Vectors]:
    """Matrices `[D, c]` for item vectors and for user vectors; the products of what they give are as before."""
    if users is None:
        return _filled(np.eye(width)), _filled(np.eye(width))
    moments = users.astype(np.float64).T @ users
    weights, directions = np.linalg.eigh(moments / len(users))
    weights, directions = weights[::-1], directions[:, ::-1]
    held = np.cumsum(weights) / weights.sum()
    kept = min(width, int(np.searchsorted(held, _USERS_HELD)) + 1)
    kept = min(width, kept + _missing(kept))
    scales = np.sqrt(np.maximum(weights[:kept], weights[0] * 1e-9))
    directions = directions[:, :kept]
    return _filled(directions * scales), _filled(directions / scales)


def _missing(columns: int) -> int:
    """Columns that are missing to a multiple of 16, with the one for lengths: faiss is five times as fast then."""
    return -(columns + 1) % 16


def _filled(matrix: npt.NDArray[np.float64]) -> Vectors:
    return np.pad(matrix, ((0, 0), (0, _missing(matrix.shape[1])))).astype(np.float32)


def _squares(vectors: Vectors) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return squares


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("an approximate index", "faiss") from None
    return faiss

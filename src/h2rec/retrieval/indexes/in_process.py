"""Indexes of faiss, in this process: inverted lists of compressed vectors, or the vectors."""

import logging
import math
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from h2rec.errors import needs_extra
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.indexes.protocol import IndexedItems, IndexKind, SampleUsers, VectorIndex, Vectors
from h2rec.retrieval.scoring import ItemScorer
from h2rec.runtime import random_stream

logger = logging.getLogger(__name__)

_AT_ONCE, _TOGETHER = 100_000, 8192
_POINTS_A_LIST = 64
_COMPRESSED_FROM = 1000
"""Codes learnt from fewer items would be poor."""
_SINGLE_UP_TO = 128
"""Vectors of up to so many numbers have four bits for each, of more for two of them."""
_OVERSAMPLE, _MISJUDGED = 3, 300
"""So many times the number asked for is proposed, and so many more: scores by codes are a little wrong."""
_ITEMS_HELD = 0.999
_LONG = 2.0
"""Items so many times as long as nearly all others are always proposed: codes learnt from the others fail them."""
_LEARNT = 131_072
"""Items that lists and codes are learnt from, drawn with a fixed seed."""
_RECALL, _LISTED, _TRIED = 0.95, 100, 256
"""Recall of the first hundred that lists are to have, and the users that it is measured on. Those of longer histories
find more, of a million items 97 of a hundred, and beside counts 96."""
_SAME = 1e-5
_PROBES = 48
"""Where no users are known."""


class _OfFaiss(VectorIndex):
    in_process = True

    def scores(self, scorer: ItemScorer, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        # Vectors are read where they lie, which is faster than copying them side by side.
        vectors = scorer.vectors.numpy()
        asked = np.ascontiguousarray(users.numpy(), dtype=np.float32)
        chosen = np.ascontiguousarray(items.numpy(), dtype=np.int64)
        known = not chosen.size or 0 <= chosen.min() <= chosen.max() < len(vectors)
        if not known or asked.shape != (len(chosen), vectors.shape[1]):  # faiss would read what lies there
            raise IndexError(
                f"{asked.shape} users or {chosen.shape} items are not of {vectors.shape} vectors"
            )
        faiss, found = _faiss(), np.empty(chosen.shape, np.float32)
        pointers = map(faiss.swig_ptr, (found, asked, vectors, chosen))
        faiss.fvec_inner_products_by_idx(*pointers, vectors.shape[1], *chosen.shape)
        return torch.from_numpy(found)


class IvfSettings(IndexKind):
    """Inverted lists (Jégou et al., 2011)."""

    name: Literal["ivf"] = "ivf"
    probes: int | None = Field(None, ge=1)
    """Lists looked into, of the square root of twice the number of items: more are slower and recall more. Null: as few
    as recall 95 of the best 100 of users who saw one item each, or all, as measured when the index is built."""


class Ivf(_OfFaiss):
    """Inverted lists for maximum inner products, over compressed vectors.

    Before anything is indexed, item vectors are centred, which changes all of a user's scores alike, then turned, and
    weighted by how much of the users lies in each direction: with ``U diag(w) U'`` the second moments of a sample of
    user vectors, items become ``x U sqrt(w)`` and users ``q U / sqrt(w)``, which leaves inner products as they are. The
    few directions are kept that hold 99.9% of such items. Item vectors of codes and identity side by side are many
    columns that users weigh unlike, and mostly not at all.

    Vectors are scaled so that nearly all are shorter than 1. One more column, ``sqrt(1 - |x|^2)``, brings these to one
    length; for a user vector with 0 there, the item of the nearest direction is then the one of the largest inner
    product (Bachrach et al., RecSys 2014), so that lists by direction serve it. A list holds what differs from its
    centre, compressed to codes that a processor looks up without leaving its registers (André et al., VLDB 2015). They
    misjudge scores a little, so more is proposed than is asked for.
    """

    settings_class: ClassVar[type[IndexKind]] = IvfSettings

    def __init__(self, settings: IvfSettings, items: Vectors, users: Vectors | None) -> None:
        self.settings = settings
        mean = items.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._item_projection, self._user_projection = _projections(items - mean, users)
        self._mean = mean @ self._item_projection
        lengths = np.sqrt(_squares(items @ self._item_projection - self._mean))
        scale = np.float32(np.quantile(lengths, _ITEMS_HELD) or 1)
        self._item_projection, self._mean = self._item_projection / scale, self._mean / scale
        self.probes = settings.probes or _PROBES
        self.index: Any = None
        self._long = np.zeros(0, np.int64)

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
        lists = max(1, min(round(math.sqrt(2 * count)), count // _POINTS_A_LIST))
        size = built.columns + 1
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
        least = _faiss().knn(users, vectors[1:], count, metric=_faiss().METRIC_INNER_PRODUCT)[0][:, -1:]
        for probes in _steps(self.index.nlist):
            self.probes = probes
            found = self.search(users, count)
            scores = np.stack([vectors[items] @ user for items, user in zip(found, users, strict=True)])
            good = (scores >= least - _SAME * np.abs(least)) & (found > 0)
            recall = (good.sum(axis=1).clip(max=count) / count).mean()
            if recall >= _RECALL:
                return
        logger.warning("all inverted lists together find %.0f%% of the best %d items", 100 * recall, count)

    def search(
        self, users: Vectors, count: int, allowed: Allowed | None = None, *, spare: int = 0
    ) -> npt.NDArray[np.int64]:
        projected = users @ self._user_projection
        queries = np.zeros((len(users), self.columns + 1), np.float32)
        # The length of a query changes no order.
        queries[:, :-1] = projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
        # The best of what is left lies further out, so that more has to be looked at.
        left = self.index.ntotal if allowed is None else allowed.count
        thinned = self.index.ntotal / max(1, left)
        wanted = min(_OVERSAMPLE * count + max(_MISJUDGED, spare), self.index.ntotal)
        found = self._nearest(queries, wanted, math.ceil(self.probes * thinned), allowed)
        least = min(count, left)
        few = (found > 0).sum(axis=1) < least
        if few.any():  # lists are short
            found[few] = self._nearest(queries[few], wanted, self.index.nlist, allowed)
            # Faiss leaves out what scores least by codes. Where that is all, any will do.
            few = (found > 0).sum(axis=1) < least
            some = np.arange(1, least + 1) if allowed is None else np.flatnonzero(allowed.marks)[:least]
            found[few, :least] = some
        long = self._long if allowed is None else self._long[allowed.marks[self._long]]
        found[np.isin(found, long)] = 0
        return np.hstack([found, np.tile(long, (len(users), 1))])

    def _nearest(
        self, queries: Vectors, count: int, probes: int, allowed: Allowed | None
    ) -> npt.NDArray[np.int64]:
        parameters = _faiss().SearchParametersIVF(
            nprobe=min(probes, self.index.nlist), sel=None if allowed is None else _selector(allowed)
        )
        _, rows = self.index.search(queries, count, params=parameters)
        return np.asarray(rows, dtype=np.int64) + 1  # faiss' -1 for none becomes the padding item

    def upsert(self, items: IndexedItems, first: int) -> Self:
        # A copy: the index itself may be searched meanwhile.
        grown = type(self).__new__(type(self))
        vars(grown).update(vars(self), index=_faiss().clone_index(self.index))
        grown._add(items.vectors, first)
        return grown

    def _add(self, vectors: Vectors, first: int) -> None:
        for start in range(first, len(vectors), _AT_ONCE):
            lifted = self._lift(vectors[start : start + _AT_ONCE])
            self.index.add(lifted)
            long = start + np.flatnonzero(_squares(lifted[:, :-1]) > _LONG**2)
            self._long = np.concatenate([self._long, long])

    def _lift(self, vectors: Vectors) -> Vectors:
        lifted = np.empty((len(vectors), self.columns + 1), np.float32)
        lifted[:, :-1] = vectors @ self._item_projection - self._mean
        lifted[:, -1] = np.sqrt(np.maximum(1 - _squares(lifted[:, :-1]), 0))
        return lifted


class FlatSettings(IndexKind):
    """All vectors as they are, scanned by faiss: what it finds is exact."""

    name: Literal["flat"] = "flat"


class Flat(_OfFaiss):
    """The vectors, scanned."""

    settings_class: ClassVar[type[IndexKind]] = FlatSettings

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


def _projections(items: Vectors, users: Vectors | None) -> tuple[Vectors, Vectors]:
    """Matrices `[D, c]` for item vectors and for user vectors; products of what they give are nearly as before."""
    scales, turned = np.ones(items.shape[1]), np.eye(items.shape[1])
    if users is not None and users.any():
        weights, turned = _directions(users)
        scales = np.sqrt(np.maximum(weights, weights[0] * 1e-9))
    spread, kept = _directions(items @ (turned * scales).astype(np.float32))
    held = np.cumsum(spread) / max(spread.sum(), np.finfo(np.float64).tiny)
    kept = kept[:, : int(np.searchsorted(held, _ITEMS_HELD)) + 1]
    # An odd number: where two numbers have a code, the one for lengths makes them pairs.
    kept = np.pad(kept, ((0, 0), (0, 1 - kept.shape[1] % 2)))
    return ((turned * scales) @ kept).astype(np.float32), ((turned / scales) @ kept).astype(np.float32)


def _directions(vectors: Vectors) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Directions that vectors lie in, as columns, and how much of them each holds; the largest first."""
    moments = np.zeros((vectors.shape[1],) * 2)
    for part in np.array_split(vectors, 1 + len(vectors) // _TOGETHER):
        exact = part.astype(np.float64)
        moments += exact.T @ exact
    weights, directions = np.linalg.eigh(moments / len(vectors))
    return np.maximum(weights[::-1], 0), directions[:, ::-1]


def _squares(vectors: Vectors) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return squares


def _faiss() -> Any:
    with needs_extra("an approximate index", "faiss"):
        import faiss
    # OpenMP has a number for each thread of Python, all cores until it is told.
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss

"""Approximate search by inner product with faiss: a graph or inverted lists over projected, compressed vectors.

The candidates that faiss proposes are scored again exactly by the caller.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from h2rec.errors import MissingExtraError
from h2rec.runtime import random_stream
from h2rec.settings import Settings

Vectors = npt.NDArray[np.float32]

_AT_ONCE = 100_000
_POINTS_A_LIST = 64
_OVERSAMPLE = 1.5
_USERS_HELD = 0.999


class HnswSettings(Settings):
    """A navigable small-world graph (Malkov and Yashunin, 2018)."""

    links: int = Field(32, ge=4)
    """Links of a node; twice as many at the bottom."""
    build_width: int = Field(100, ge=8)
    """Candidates kept while a node is linked."""
    search_width: int = Field(256, ge=8)
    """Candidates kept in a search, and at least twice the items asked for: higher is slower and recalls more."""


class IvfSettings(Settings):
    """Inverted lists (Jégou et al., 2011)."""

    lists: int | None = Field(None, ge=1)
    """Lists; null takes twice the square root of the number of items."""
    probes: int = Field(48, ge=1)
    """Lists looked into: higher is slower and recalls more."""
    training_sample: int = Field(131_072, ge=1000)
    """Items that the lists and the compression are learnt from, drawn with a fixed seed."""


class ApproximateSearch:
    """A faiss index for maximum inner products, over vectors of 8 bits a number.

    Before anything is indexed, item vectors are projected on the few directions that users' vectors lie in,
    each weighted by how much of the users it holds: an error is then as large as it is in the score. With
    ``U diag(w) U'`` the second moments of a sample of user vectors, items become ``x U sqrt(w)`` and users
    ``q U / sqrt(w)``, which leaves inner products as they are. Item vectors of codes and identity side by side
    are many columns that users weigh unlike, and mostly not at all.

    Faiss' graphs and lists are built on distances. One more column, ``sqrt(max|x|^2 - |x|^2)``, brings
    all items to one length; for a user vector with 0 there, the nearest item is then the one of the
    largest inner product (Bachrach et al., RecSys 2014).

    `item_vectors`: float32 `[N + 1, D]`, padding first. `users`: sample of user vectors, float32 `[m, D]`; None
    indexes the item vectors as they are.

    Raises
    ------
    MissingExtraError
        If faiss is not installed.
    """

    def __init__(
        self, item_vectors: Vectors, settings: HnswSettings | IvfSettings, users: Vectors | None = None
    ) -> None:
        self.settings = settings
        self._faiss = _faiss()
        self._item_projection, self._user_projection = _projections(item_vectors.shape[1], users)
        self._longest = 0.0
        for start in range(1, len(item_vectors), _AT_ONCE):
            projected = item_vectors[start : start + _AT_ONCE] @ self._item_projection
            self._longest = max(self._longest, float(_squares(projected).max()))
        self.index = self._build(item_vectors)

    def search(
        self, users: Vectors, count: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int64]:
        """Candidates of users `[n, D]`, at least `count` for each unless there are no more; 0 stands for none.

        `allowed`: bool `[N + 1]`: items that may be proposed, or None for all.
        """
        faiss, settings = self._faiss, self.settings
        projected = users @ self._user_projection
        # The length of a query changes no order; the items' own keeps distances well conditioned.
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        queries = np.zeros((len(users), projected.shape[1] + 1), np.float32)
        queries[:, :-1] = projected * (math.sqrt(self._longest) / np.maximum(lengths, 1e-12))
        selector, thinned = None, 1.0
        if allowed is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed[1:], bitorder="little"))
            # The best of what is left lies further out, so that more has to be looked at.
            thinned = self.index.ntotal / max(1, np.count_nonzero(allowed[1:]))
        wanted = math.ceil(count * _OVERSAMPLE)
        if isinstance(settings, HnswSettings):
            width = math.ceil(max(settings.search_width, 2 * count) * thinned)
            parameters = faiss.SearchParametersHNSW(efSearch=width, sel=selector)
        else:
            parameters = faiss.SearchParametersIVF(nprobe=math.ceil(settings.probes * thinned), sel=selector)
        _, rows = self.index.search(queries, min(wanted, self.index.ntotal), params=parameters)
        return np.asarray(rows, dtype=np.int64) + 1  # faiss' -1 for none becomes the padding item

    def _build(self, item_vectors: Vectors) -> Any:
        faiss, settings = self._faiss, self.settings
        count, width = len(item_vectors) - 1, self._item_projection.shape[1] + 1
        if isinstance(settings, HnswSettings):
            index = faiss.index_factory(width, f"HNSW{settings.links},SQ8")
            index.hnsw.efConstruction = settings.build_width
        else:
            lists = settings.lists or max(1, min(round(2 * math.sqrt(count)), count // _POINTS_A_LIST))
            index = faiss.index_factory(width, f"IVF{lists},SQ8")
        most = settings.training_sample if isinstance(settings, IvfSettings) else _AT_ONCE
        sample = np.arange(1, count + 1)
        if count > most:
            sample = np.sort(random_stream(0, "index").choice(sample, most, replace=False))
        index.train(self._lift(item_vectors[sample]))
        for start in range(1, count + 1, _AT_ONCE):
            index.add(self._lift(item_vectors[start : start + _AT_ONCE]))
        return index

    def _lift(self, vectors: Vectors) -> Vectors:
        lifted = np.empty((len(vectors), self._item_projection.shape[1] + 1), np.float32)
        lifted[:, :-1] = vectors @ self._item_projection
        lifted[:, -1] = np.sqrt(np.maximum(self._longest - _squares(lifted[:, :-1]), 0))
        return lifted


def _projections(width: int, users: Vectors | None) -> tuple[Vectors, Vectors]:
    """Matrices `[D, c]` for item vectors and for user vectors; the products of what they give are as before."""
    if users is None:
        return np.eye(width, dtype=np.float32), np.eye(width, dtype=np.float32)
    moments = users.astype(np.float64).T @ users
    weights, directions = np.linalg.eigh(moments / len(users))
    weights, directions = weights[::-1], directions[:, ::-1]
    held = np.cumsum(weights) / weights.sum()
    kept = min(width, int(np.searchsorted(held, _USERS_HELD)) + 1)
    # Distances are computed on sixteen numbers at a time, one of which is the column for lengths.
    kept = min(width, -(-(kept + 1) // 16) * 16 - 1)
    scales = np.sqrt(np.maximum(weights[:kept], weights[0] * 1e-9))
    directions = directions[:, :kept]
    return (directions * scales).astype(np.float32), (directions / scales).astype(np.float32)


def _squares(vectors: Vectors) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return squares


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("an approximate index", "faiss") from None
    return faiss

"""Approximate search by inner product with faiss: a graph or inverted lists over compressed vectors.

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

_ADD_AT_ONCE = 100_000
_POINTS_A_LIST = 64


class HnswSettings(Settings):
    """A navigable small-world graph over vectors of 8 bits a number (Malkov and Yashunin, 2018)."""

    links: int = Field(32, ge=4)
    """Links of a node; twice as many at the bottom."""
    build_width: int = Field(100, ge=8)
    """Candidates kept while a node is linked."""
    search_width: int = Field(256, ge=8)
    """Candidates kept in a search, and at least twice the items asked for: higher is slower and recalls more."""


class IvfSettings(Settings):
    """Inverted lists over product-quantized vectors of 4 bits for 2 numbers (Jégou et al., 2011)."""

    lists: int | None = Field(None, ge=1)
    """Lists; null takes twice the square root of the number of items."""
    probes: int = Field(96, ge=1)
    """Lists looked into: higher is slower and recalls more."""
    oversample: float = Field(12.0, ge=1)
    """Candidates proposed for each item asked for, to be scored exactly."""
    training_sample: int = Field(131_072, ge=1000)
    """Items that the lists and the compression are learnt from, drawn with a fixed seed."""


class ApproximateSearch:
    """A faiss index for maximum inner products.

    Faiss' graphs and lists are built on distances. One more column, ``sqrt(max|x|^2 - |x|^2)``, brings
    all items to one length; for a user vector with 0 there, the nearest item is then the one of the
    largest inner product (Bachrach et al., RecSys 2014). Where all items have one length already, as
    with cosine scores, the column is left out.

    Parameters
    ----------
    item_vectors
        float32 `[N + 1, D]`, padding first.

    Raises
    ------
    MissingExtraError
        If faiss is not installed.
    """

    def __init__(self, item_vectors: npt.NDArray[np.float32], settings: HnswSettings | IvfSettings) -> None:
        self.settings = settings
        self._faiss = _faiss()
        squares = np.einsum("nd,nd->n", item_vectors[1:], item_vectors[1:], dtype=np.float64)
        self._longest = float(squares.max())
        self._lifted = bool(squares.min() < self._longest * (1 - 1e-4))
        self._width: int = item_vectors.shape[1]
        self.index = self._made(item_vectors, squares)

    def search(
        self, users: npt.NDArray[np.float32], count: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int64]:
        """Candidates of users `[n, D]`, at least `count` for each unless there are no more; 0 stands for none.

        Parameters
        ----------
        allowed
            bool `[N + 1]`: items that may be proposed, or None for all.
        """
        faiss, settings = self._faiss, self.settings
        # The length of a query changes no order; the items' own keeps distances well conditioned.
        lengths = np.linalg.norm(users, axis=1, keepdims=True)
        queries = self._padded(users * (math.sqrt(self._longest) / np.maximum(lengths, 1e-12)))
        selector, thinned = None, 1.0
        if allowed is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed[1:], bitorder="little"))
            # The best of what is left lies further out, so that more has to be looked at.
            thinned = self.index.ntotal / max(1, np.count_nonzero(allowed[1:]))
        if isinstance(settings, HnswSettings):
            width = math.ceil(max(settings.search_width, 2 * count) * thinned)
            parameters = faiss.SearchParametersHNSW(efSearch=width, sel=selector)
            wanted = count
        else:
            parameters = faiss.SearchParametersIVF(nprobe=math.ceil(settings.probes * thinned), sel=selector)
            wanted = math.ceil(count * settings.oversample)
        _, rows = self.index.search(queries, min(wanted, self.index.ntotal), params=parameters)
        return np.asarray(rows, dtype=np.int64) + 1  # faiss' -1 for none becomes the padding item

    def _made(self, item_vectors: npt.NDArray[np.float32], squares: npt.NDArray[np.float64]) -> Any:
        faiss, settings = self._faiss, self.settings
        count, width = len(squares), self._columns
        if isinstance(settings, HnswSettings):
            index = faiss.index_factory(width, f"HNSW{settings.links},SQ8")
            index.hnsw.efConstruction = settings.build_width
        else:
            lists = settings.lists or max(1, min(round(2 * math.sqrt(count)), count // _POINTS_A_LIST))
            index = faiss.index_factory(width, f"IVF{lists},PQ{width // 2}x4fs")
        most = settings.training_sample if isinstance(settings, IvfSettings) else _ADD_AT_ONCE
        sample = np.arange(count)
        if count > most:
            sample = np.sort(random_stream(0, "index").choice(count, most, replace=False))
        index.train(self._lift(item_vectors[1:][sample], squares[sample]))
        for start in range(0, count, _ADD_AT_ONCE):
            stop = min(start + _ADD_AT_ONCE, count)
            index.add(self._lift(item_vectors[1 + start : 1 + stop], squares[start:stop]))
        return index

    @property
    def _columns(self) -> int:
        """Columns in the index: an even number, as the compression takes them two by two."""
        columns = self._width + int(self._lifted)
        return columns + columns % 2

    def _lift(
        self, vectors: npt.NDArray[np.float32], squares: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        lifted = self._padded(vectors)
        if self._lifted:
            lifted[:, self._width] = np.sqrt(np.maximum(self._longest - squares, 0))
        return lifted

    def _padded(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        padded = np.zeros((len(vectors), self._columns), np.float32)
        padded[:, : self._width] = vectors
        return padded


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("an approximate index", "faiss") from None
    return faiss

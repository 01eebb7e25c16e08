"""The contract of an index: build it of item vectors, propose items for users, take in new items."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from h2rec.retrieval.catalogue import Catalogue
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.scoring import ItemScorer
from h2rec.settings import Settings

Vectors = npt.NDArray[np.float32]
SampleUsers = Callable[[], Vectors]
"""User vectors `[m, D]` as a trained model makes them."""


class IndexKind(Settings):
    """An index by its name; one with settings of its own has a subclass."""

    name: str
    """auto, exact, ivf, flat, milvus, or one of another package."""


@dataclass(frozen=True, eq=False)
class IndexedItems:
    """What an index may know of items."""

    vectors: Vectors
    """float32 `[N + 1, D]`, padding first; may be mapped from disk."""
    catalogue: Catalogue | None = None
    """Ids and attributes, for an index that filters by them itself; None where there are only vectors."""

    def __len__(self) -> int:
        return len(self.vectors) - 1


class VectorIndex(ABC):
    """Proposes the items of the highest inner products; the caller has them scored again exactly."""

    settings_class: ClassVar[type[IndexKind]]
    in_process: ClassVar[bool] = False
    """Whether a search waits for nothing outside of this process: neither a network nor a disk."""

    @classmethod
    @abstractmethod
    def build(cls, items: IndexedItems, settings: Any, users: SampleUsers | None) -> Self:
        """Index all items.

        `settings` are of `settings_class`. `users`: for an index that is built for where users lie; None where nobody
        knows. Raises `MissingExtraError` without its library.
        """

    @abstractmethod
    def search(
        self, users: Vectors, count: int, allowed: Allowed | None = None, *, spare: int = 0
    ) -> npt.NDArray[np.int64]:
        """Items for users `[n, D]`, `[n, c]` in any order: the best `count` of each at least, unless items run out.

        0 stands for none. `allowed`: what may be proposed; None for all. `spare`: so many
        further candidates are wanted, as counts will be added to their scores; which ones is not important.
        """

    def scores(self, scorer: ItemScorer, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """What `ItemScorer.chosen` gives but for the last bits, the way that is fastest beside this index."""
        return scorer.chosen(users, items)

    @abstractmethod
    def upsert(self, items: IndexedItems, first: int) -> Self:
        """Return an index that has the items from number `first` on, too; those before are as they were.

        This one goes on answering meanwhile, and may be part of the other.
        """

"""What a model is given about its items, and about items that are added later."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from h2rec.batching.pair_counts import PairCounts
from h2rec.data.histories import Histories, IntArray
from h2rec.errors import ConfigError
from h2rec.models.neighbours import Neighbours, Vectors
from h2rec.semantic_ids.codes import CodeArray, SemanticIds


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """What a model is given about its items."""

    item_count: int
    """Number of items, N."""
    semantic_ids: SemanticIds | None = None
    """Codes of the items, or None for a catalogue without."""
    text: Vectors | None = None
    """Text embeddings, float32 `[N, m]`, or None for a catalogue without."""
    leading: int | None = None
    """How many of their columns are the first encoder's, of several; None for a single one."""
    has_text: npt.NDArray[np.bool_] | None = None
    """Which items have a text of their own, bool `[N]`; None for all. The others start as if there were no text."""
    train_counts: IntArray | None = None
    """Training interactions of each item, `[N + 1]`, padding first; None where weights are loaded later."""
    train: Histories | None = None
    """Training histories; None where weights are loaded later."""
    coded_by_text: bool = True
    """Whether the codes were quantized from the texts; false where they were read from a file."""
    stored: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Weights that will be loaded, by name; they include what a part learned besides its parameters."""
    pairs: PairCounts | None = None
    """Pairs of items in the training histories, where they are counted already; None counts `train`."""

    @property
    def counted(self) -> tuple[PairCounts, IntArray] | None:
        """Pairs of items in training, and interactions of each item; None where weights are loaded later."""
        if self.train is None:
            return None
        pairs = PairCounts.of(self.train) if self.pairs is None else self.pairs
        return pairs, self.train.counts(self.item_count)

    @property
    def shared_codes(self) -> CodeArray | None:
        """Codes by which items of like meaning are found, `[N + 1, L]`, padding first.

        Items without text, whose codes are those of the mean of all texts, share none: each has numbers of its own.
        """
        if self.semantic_ids is None:
            return None
        codes = self.semantic_ids.padded()
        if self.coded_by_text:
            unknown = np.flatnonzero(~self.described) + 1
            codes[unknown] = -unknown[:, None]
        return codes

    @property
    def described(self) -> npt.NDArray[np.bool_]:
        """Which items have a text, bool `[N]`."""
        return np.ones(self.item_count, np.bool_) if self.has_text is None else self.has_text

    def require_codes(self, needed_by: str) -> SemanticIds:
        """Codes of the items.

        Raises `ConfigError` if the catalogue has none.
        """
        if self.semantic_ids is None:
            raise ConfigError(f"{needed_by} needs semantic IDs", "give the items text, or a file of codes")
        return self.semantic_ids

    def require_text(self, needed_by: str) -> Vectors:
        """Text embeddings of the items.

        Raises `ConfigError` if the catalogue has none.
        """
        if self.text is None:
            raise ConfigError(
                f"{needed_by} needs the items' text", "give data.items a file with text columns"
            )
        return self.text

    def below(self, name: str) -> Self:
        """The same features for one part of the model, with only its stored weights."""
        prefix = f"{name}."
        inner = {key.removeprefix(prefix): w for key, w in self.stored.items() if key.startswith(prefix)}
        return replace(self, stored=inner)


@dataclass(frozen=True, eq=False)
class NewItems:
    """Items that join a trained model behind its own."""

    neighbours: Neighbours
    """The known items nearest in text to each new one."""
    text: Vectors | None = None
    """Text embeddings, float32 `[M, m]`, for a model that keeps them; None where it keeps none."""

    def __len__(self) -> int:
        return len(self.neighbours.items)

    def learned_rows(self, table: torch.Tensor) -> torch.Tensor:
        """Grow a learned table `[N + 2, ..]` (padding first, masked item last): a new row is its neighbours' mean.

        Of the rows as they are, not of their directions: not every model scores by cosine, and all read the rows of a
        history with their lengths.
        """
        known = table[1:-1].detach().cpu().numpy()
        rows = torch.from_numpy(self.neighbours.mean_of(known)).to(table.dtype)
        return torch.cat([table[:-1], rows, table[-1:]])

    def unseen_rows(self, table: torch.Tensor) -> torch.Tensor:
        """Grow a fixed table `[N + 2, ..]`: a new row is that of padding (never seen)."""
        rows = table[:1].expand(len(self), *table.shape[1:])
        return torch.cat([table[:-1], rows, table[-1:]])

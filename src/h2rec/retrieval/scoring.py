"""Scores of users against the static item vectors, the branches' sum as evaluation defines it."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from h2rec.retrieval.eight_bits import EightBits

_BLOCK = 4096
_BLOCKS_AT_ONCE = 16
_GROUP = 16


class ItemScorer:
    """Item vectors cut into blocks of one fixed size.

    How a matrix product rounds depends on its shape. Blocks of one shape give an item the same score to
    the bit in a catalogue that has grown.

    `item_vectors`: float32 `[N + 1, D]`, padding first; may be mapped from disk. `branch_sizes`: columns of each
    branch, adding up to `D`.
    """

    def __init__(self, item_vectors: npt.NDArray[np.float32], branch_sizes: tuple[int, ...]) -> None:
        self.vectors = torch.from_numpy(item_vectors)
        self.branch_sizes = branch_sizes
        self._transposed: list[torch.Tensor] | None = None

    @property
    def item_count(self) -> int:
        """Number of items, N."""
        return len(self.vectors) - 1

    def score_chunks(self, users: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Scores of all items, some at a time, so that what looks at them finds them in the processor's cache.

        Yields `first, scores`: index of the first item, and `[n, 1 + M]`: a spare column, then items ``first`` to
        ``first + M - 1``. The next part may stand in the same memory.
        """
        blocks = self._blocks()
        room = users.new_empty(len(users), 1 + _BLOCK * min(_BLOCKS_AT_ONCE, len(blocks)))
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            some = blocks[start : start + _BLOCKS_AT_ONCE]
            for place, block in enumerate(some):
                room[:, 1 + place * _BLOCK : 1 + (place + 1) * _BLOCK] = users @ block
            first = start * _BLOCK
            yield first, room[:, : 1 + min(len(some) * _BLOCK, len(self.vectors) - first)]

    def chosen(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Scores of each user's own items: users `[n, D]`, items int64 `[n, c]`, result `[n, c]`."""
        with torch.inference_mode():
            # Some at a time: their vectors are copied side by side, and read again from the processor's cache. Whole
            # groups of items: the last ones of others are rounded otherwise.
            whole = torch.nn.functional.pad(items, (0, -items.shape[1] % _GROUP))
            width = max(_GROUP, _BLOCK // max(1, len(items)) // _GROUP * _GROUP)
            parts = [
                torch.bmm(self._rows(part), users[:, :, None])[:, :, 0] for part in whole.split(width, dim=1)
            ]
            return torch.cat(parts, dim=1)[:, : items.shape[1]]

    def branches(self, users: torch.Tensor, items: torch.Tensor) -> list[torch.Tensor]:
        """What each branch adds to the scores of each user's own items, one tensor `[n, c]` a branch."""
        with torch.inference_mode():
            vectors = self._rows(items)
            return [
                torch.einsum("nd,ncd->nc", users[:, start:stop], vectors[..., start:stop])
                for start, stop in self.columns()
            ]

    @cached_property
    def eight_bits(self) -> EightBits | None:
        """The vectors compressed, for a first look at all of them; None where that can't be had."""
        return EightBits.of(self.vectors)

    def columns(self) -> list[tuple[int, int]]:
        """First column of each branch, and the one behind its last."""
        stops = np.cumsum(self.branch_sizes).tolist()
        return list(zip([0, *stops[:-1]], stops, strict=True))

    def _rows(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items `[n, c]`, `[n, c, D]`; twice as fast as indexing."""
        return self.vectors.index_select(0, items.flatten()).view(*items.shape, self.vectors.shape[1])

    def _blocks(self) -> list[torch.Tensor]:
        """Item vectors as columns, `[D, _BLOCK]` each: for few users the product is twice as fast that way.

        They are a copy, made when the first scan is asked for: an approximate index never needs it.
        """
        if self._transposed is None:
            blocks = self.vectors.split(_BLOCK)
            short = _BLOCK - len(blocks[-1])
            self._transposed = [block.T.contiguous() for block in blocks[:-1]]
            self._transposed.append(torch.nn.functional.pad(blocks[-1].T, (0, short)).contiguous())
        return self._transposed

"""What every backbone can do."""

from typing import Protocol

import torch


class Backbone(Protocol):
    """Encodes sequences of item vectors; neither branch knows which one it runs on."""

    causal: bool
    """Whether an output depends on nothing later than its position."""

    mixed: bool
    """Whether training computes in bfloat16 (automatic mixed precision); outputs are float32 all the same."""

    def __call__(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode `[B, T, d]` padded on the right, `lengths` int64 `[B]`, to `[B, T, d]`.

        Padding changes no output at a real position.
        """
        ...

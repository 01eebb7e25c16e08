"""The recurrent encoder of GRU4Rec.

Hidasi et al., ICLR 2016 (arXiv 1511.06939); trained here on whole histories instead of parallel
sessions.
"""

import torch
from torch import nn

from h2rec.models.backbones.dropout import Dropout
from h2rec.models.backbones.precision import mixed_precision


class GRUBackbone(nn.Module):
    """Dropout, stacked GRU layers and a linear layer out."""

    causal = True

    def __init__(self, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.mixed = False
        self.dropout = Dropout(dropout)
        between = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(dim, dim, num_layers=layers, batch_first=True, dropout=between)
        self.out = nn.Linear(dim, dim)

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode `[B, T, d]` padded on the right to `[B, T, d]`; padding comes last and changes nothing."""
        with mixed_precision(self, vectors.device):
            states, _ = self.gru(self.dropout(vectors))
        return self.out(states.float())  # type: ignore[no-any-return]

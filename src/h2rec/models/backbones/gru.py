"""The recurrent encoder of GRU4Rec.

Hidasi et al., ICLR 2016 (arXiv 1511.06939); trained here on whole histories instead of parallel
sessions.
"""

import torch
from torch import nn

from h2rec.models.backbones.dropout import Dropout
from h2rec.models.backbones.precision import mixed_precision
from h2rec.models.backbones.protocol import Backbone, Sizes
from h2rec.models.backbones.registry import BackboneSettings


class GRUBackbone(Backbone):
    """Dropout, stacked GRU layers and a linear layer out."""

    def __init__(self, sizes: Sizes, settings: BackboneSettings) -> None:
        super().__init__(sizes, settings)
        self.dropout = Dropout(sizes.dropout)
        between = sizes.dropout if sizes.layers > 1 else 0.0
        self.gru = nn.GRU(sizes.dim, sizes.dim, num_layers=sizes.layers, batch_first=True, dropout=between)
        self.out = nn.Linear(sizes.dim, sizes.dim)

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode `[B, T, d]` padded on the right to `[B, T, d]`; padding comes last and changes nothing."""
        with mixed_precision(self, vectors.device):
            states, _ = self.gru(self.dropout(vectors))
        return self.out(states.float())  # type: ignore[no-any-return]

"""User vectors of histories, from the model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from h2rec.batching.sequences import history_batch
from h2rec.data.histories import Histories


@dataclass(frozen=True, eq=False)
class EncodedUsers:
    """What the model read from histories.

    Parameters
    ----------
    vectors
        User vectors `[n, D]`, all branches side by side.
    alpha
        Weights of the levels at the last position, `[n, L]`; None for a model without codes.
    """

    vectors: torch.Tensor
    alpha: torch.Tensor | None


def encode_users(model: Any, histories: Histories) -> EncodedUsers:
    """Encode histories, each at least one row; an empty one is encoded as padding alone."""
    rows = np.arange(len(histories))
    items, lengths = history_batch(histories, rows, model.max_length, model.mask_item)
    last = lengths - 1
    reads = torch.arange(items.shape[1]) == last[:, None]
    with torch.inference_mode():
        states = model(items, lengths, reads)
        alpha = None if states.alpha is None else states.alpha[torch.arange(len(rows)), last]
        return EncodedUsers(torch.cat(states.vectors, dim=1), alpha)

"""SASRec + text: an item is its hash ID plus a linear map of its frozen text embedding.

The plain way to give a sequence model its items' text; UniSRec (arXiv 2206.05941) and others report it as the
baseline with text features.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from h2rec.models.hid import hid_table


class HidPlusText(nn.Module):
    """``h_v + W t_v``.

    Parameters
    ----------
    text
        Text embeddings, float32 `[N, m]`; never trained.
    """

    text: torch.Tensor

    def __init__(self, text: npt.NDArray[np.float32], dim: int) -> None:
        super().__init__()
        self.hid = hid_table(len(text), dim)
        self.register_buffer("text", frozen_text(text))
        self.project = nn.Linear(text.shape[1], dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items: `[...]` to `[..., d]`."""
        return self.hid(items) + self.project(self.text[items])  # type: ignore[no-any-return]


def frozen_text(text: npt.NDArray[np.float32]) -> torch.Tensor:
    """Return text embeddings by item index, `[N + 2, m]`: zero for padding (first) and for the masked item (last)."""
    return torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(text)), (0, 0, 1, 1))

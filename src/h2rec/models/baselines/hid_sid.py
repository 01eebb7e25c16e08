"""HID + SID in one vector, without alignment: added, or concatenated.

The hybrids that fuse early: whatever tail items borrow through shared codes and head items know by their hash ID
goes through one backbone (the H2Rec paper's "collaborative overwhelming" is about these).
"""

import torch
from torch import nn

from h2rec.models.baselines.sid_sum import CodeSum
from h2rec.models.hid import hid_table
from h2rec.semantic_ids.codes import SemanticIds


class HidPlusSid(nn.Module):
    """``h_v + s_v``, `s_v` the sum of the code vectors."""

    def __init__(self, semantic_ids: SemanticIds, dim: int) -> None:
        super().__init__()
        self.hid = hid_table(len(semantic_ids), dim)
        self.sid = CodeSum(semantic_ids, dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items: `[...]` to `[..., d]`."""
        return self.hid(items) + self.sid(items)  # type: ignore[no-any-return]


class HidConcatSid(nn.Module):
    """``W [h_v; s_v]``: concatenated at full size each, and brought back to `d` by a linear layer."""

    def __init__(self, semantic_ids: SemanticIds, dim: int) -> None:
        super().__init__()
        self.hid = hid_table(len(semantic_ids), dim)
        self.sid = CodeSum(semantic_ids, dim)
        self.merge = nn.Linear(2 * dim, dim, bias=False)
        # From the plain sum on: a random map would undo what a warm start put into both halves.
        with torch.no_grad():
            self.merge.weight.copy_(torch.eye(dim).repeat(1, 2))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items: `[...]` to `[..., d]`."""
        return self.merge(torch.cat([self.hid(items), self.sid(items)], dim=-1))  # type: ignore[no-any-return]

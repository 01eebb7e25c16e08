"""Which items of a batch are positives of each other by their codes."""

from typing import Literal

import torch


def share_levels(codes: torch.Tensor, p: int, rule: Literal["prefix", "any"] = "prefix") -> torch.Tensor:
    """Pairs of items that share at least `p` levels.

    `codes`: int64 `[B, L]`.
    `rule`: ``prefix``: the first `p` levels are equal. ``any``: at least `p` levels are, whichever.

    Returns boolean `[B, B]`, true on the diagonal as long as `p <= L`.
    """
    # Level by level: no tensor of shape [B, B, L] is made.
    levels = codes.T.contiguous()
    if rule == "any":
        shared = torch.zeros(len(codes), len(codes), dtype=torch.uint8, device=codes.device)
        for level in levels:
            shared += level[:, None] == level
        return shared >= p
    equal = torch.full((len(codes), len(codes)), p <= len(levels), device=codes.device)
    for level in levels[:p]:
        equal &= level[:, None] == level
    return equal

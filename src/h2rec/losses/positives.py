"""Which items of a batch are positives of each other by their codes."""

from typing import Literal

import torch


def share_levels(codes: torch.Tensor, p: int, rule: Literal["prefix", "any"] = "prefix") -> torch.Tensor:
    """Pairs of items that share at least `p` levels.

    Parameters
    ----------
    codes
        int64 `[B, L]`.
    rule
        ``prefix``: the first `p` levels are equal. ``any``: at least `p` levels are, whichever.

    Returns
    -------
    torch.Tensor
        Boolean `[B, B]`, true on the diagonal as long as `p <= L`.
    """
    equal = codes[:, None] == codes[None]  # [B, B, L]
    if rule == "any":
        return equal.sum(-1) >= p
    if p > codes.shape[1]:
        return equal.new_zeros(equal.shape[:2])
    return equal[..., :p].all(-1)

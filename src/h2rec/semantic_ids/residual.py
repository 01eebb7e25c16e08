"""Residual arithmetic: a point as a sum of codes, level by level.

Source: residual quantization as in RQ-VAE (Lee et al. 2022) and TIGER (Rajput et al. 2023), section 3.1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Codebooks = Sequence[Tensor] | Tensor
"""One table `[K, d]` per level, coarse level first."""


def nearest_codes(points: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code of each point `[n, d]` in a codebook `[K, d]`, int64 `[n]`; the lower wins a tie."""
    # Without the point's own length, which is the same for every code.
    return torch.addmm(codebook.square().sum(dim=1), points, codebook.T, alpha=-2).argmin(dim=1)


def residual_codes(points: Tensor, codebooks: Codebooks) -> Tensor:
    """Codes of points `[n, d]`, int64 `[n, L]`: each level quantizes the residual of the levels before.

    A level reads no later codebook, so a prefix of codes does not depend on the number of levels.
    """
    residual = points
    codes = []
    for codebook in codebooks:
        code = nearest_codes(residual, codebook)
        residual = residual - codebook[code]
        codes.append(code)
    return torch.stack(codes, dim=1)


def sum_of_codes(codes: Tensor, codebooks: Codebooks) -> Tensor:
    """Points `[n, d]` that codes `[n, p]` stand for: the sum of the first `p` levels' codes."""
    total = codebooks[0][codes[:, 0]]
    for level in range(1, codes.shape[1]):
        total = total + codebooks[level][codes[:, level]]
    return total

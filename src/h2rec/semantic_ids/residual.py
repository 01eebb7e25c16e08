"""Residual arithmetic: a point as a sum of codes, one level after the other. No learning, no files.

Source: residual quantization as in RQ-VAE (Lee et al. 2022) and TIGER (Rajput et al. 2023), section 3.1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Codebooks = Sequence[Tensor] | Tensor
"""One table `[K, d]` per level, coarse level first."""


def squared_distances(points: Tensor, codebook: Tensor) -> Tensor:
    """Squared distance of points `[n, d]` to every code of a codebook `[K, d]`, `[n, K]`."""
    lengths = points.square().sum(dim=1, keepdim=True)
    return (lengths + codebook.square().sum(dim=1) - 2 * points @ codebook.T).clamp_min(0)


def nearest_codes(points: Tensor, codebook: Tensor, bias: Tensor | None = None) -> Tensor:
    """Index of the nearest code of each point, int64 `[n]`; the lower index wins a tie.

    Parameters
    ----------
    points, codebook
        `[n, d]` and `[K, d]`.
    bias
        `[K]`, taken off the squared distances: a code with a larger bias attracts more points.
    """
    # The point's own length is the same for every code, so it can't change which one is nearest.
    offset = codebook.square().sum(dim=1)
    if bias is not None:
        offset = offset - bias
    return torch.addmm(offset, points, codebook.T, alpha=-2).argmin(dim=1)


def residual_codes(points: Tensor, codebooks: Codebooks, biases: Codebooks | None = None) -> Tensor:
    """Codes of points `[n, d]`, int64 `[n, L]`: each level quantizes what the levels before it left over.

    Level `l` reads the codebooks up to `l` and no later one, so a prefix of codes never depends on
    how fine the quantizer is.
    """
    residual = points
    codes = []
    for level, codebook in enumerate(codebooks):
        code = nearest_codes(residual, codebook, None if biases is None else biases[level])
        residual = residual - codebook[code]
        codes.append(code)
    return torch.stack(codes, dim=1)


def sum_of_codes(codes: Tensor, codebooks: Codebooks) -> Tensor:
    """Points `[n, d]` that codes `[n, p]` stand for: the sum of the first `p` levels' codes."""
    total = codebooks[0][codes[:, 0]]
    for level in range(1, codes.shape[1]):
        total = total + codebooks[level][codes[:, level]]
    return total

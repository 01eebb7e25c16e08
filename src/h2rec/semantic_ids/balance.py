"""Balanced assignment: biases that share a level's codes out evenly among the items.

Optimal transport between points and codes of equal mass is solved by one number per code: assigning each
point to the code of least ``distance - bias`` is the balanced assignment (a power diagram). Keeping the
biases with the codebook makes balance a property of the frozen quantizer, so that a new item is encoded
on its own and no code of an old one moves.
"""

import math

import torch
from torch import Tensor


def sinkhorn_biases(distances: Tensor, sharpness: float = 0.02, iterations: int = 100) -> Tensor:
    """Biases `[K]` under which points choose every code about equally often.

    Sinkhorn iterations in the log domain (Cuturi 2013), as used to balance codes by LC-Rec.

    Parameters
    ----------
    distances
        Squared distances of points to codes, `[n, K]`.
    sharpness
        Entropy weight as a share of the mean distance; smaller comes closer to hard balance and
        converges more slowly.
    iterations
        Row and column normalizations.
    """
    count, codes = distances.shape
    scale = sharpness * distances.mean().clamp_min(torch.finfo(distances.dtype).tiny)
    costs = distances / scale
    bias = torch.zeros(codes, dtype=distances.dtype, device=distances.device)
    for _ in range(iterations):
        row = torch.logsumexp(bias - costs, dim=1, keepdim=True)
        bias = math.log(count / codes) - torch.logsumexp(-costs - row, dim=0)
    return (bias - bias.mean()) * scale

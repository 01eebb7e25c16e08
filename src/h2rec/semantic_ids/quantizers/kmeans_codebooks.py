"""Codebooks of residual k-means: one level's clusters, and all levels fitted to each other."""

import warnings

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from h2rec.semantic_ids.residual import nearest_codes, residual_codes, sum_of_codes

PASSES = 20
"""Most passes of k-means over the points of one level."""
COMPONENTS = 64
"""Principal components of a level's residuals that are clustered."""
FULL_PASSES = 3
"""Passes of k-means in all dimensions that follow."""
REFIT_ROUNDS = 2
"""Rounds that finally fit the codebooks of all levels to each other."""
REFIT_LIMIT = 8192
"""Most codes over all levels that are fitted to each other; the normal equations have that width."""
REFIT_PULL = 0.1
"""Weight that holds a code in place when all are refitted, as a share of the average code's items."""
SHORTEST = 0.05
"""Residuals shorter than this share of the mean length count no more than one of that length."""


def cluster(points: Tensor, codebook_size: int, seed: int, weights: Tensor | None = None) -> Tensor:
    """K-means centres `[K, d]` of points `[n, d]`, which may have weights `[n]` (scikit-learn, k-means++ start)."""
    from sklearn.cluster import KMeans  # imported late: reading codebooks needs none
    from sklearn.exceptions import ConvergenceWarning

    estimator = KMeans(codebook_size, n_init=1, max_iter=PASSES, random_state=seed, algorithm="lloyd")
    # Threads add their partial sums as they finish. The order of more than two would change the sum, and the same seed
    # must give the same codebook.
    threads = min(2, torch.get_num_threads())
    with warnings.catch_warnings(), threadpool_limits(threads):
        # Earlier levels may describe a small catalogue exactly. Surplus codes then stay unused; the audit shows them.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(points.numpy(), sample_weight=None if weights is None else weights.numpy())
    return torch.from_numpy(np.ascontiguousarray(estimator.cluster_centers_, dtype=np.float32))


def residual_codebook(residuals: Tensor, codebook_size: int, seed: int, weights: Tensor) -> Tensor:
    """Codebook `[K, d]` of one level's residuals `[n, d]` with weights `[n]`.

    In hundreds of dimensions k-means spends its codes on outliers: most residuals share a few codes, and later levels
    can't separate them. Along the leading principal components clusters have similar sizes, in a fraction of the time;
    a few passes in all dimensions follow.
    """
    if residuals.shape[1] <= COMPONENTS:
        return cluster(residuals, codebook_size, seed, weights)
    mean = residuals.mean(dim=0)
    centred = residuals - mean
    directions: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -COMPONENTS:]
    projected = centred @ directions
    centres = cluster(projected, codebook_size, seed, weights)
    codes = nearest_codes(projected, centres)
    codebook = _weighted_means(residuals, codes, weights, centres @ directions.T + mean)
    for _ in range(FULL_PASSES):
        codebook = _weighted_means(residuals, nearest_codes(residuals, codebook), weights, codebook)
    return codebook


def length_weights(residuals: Tensor, power: float) -> Tensor:
    """Weights `[n]` of residuals `[n, d]`: their length to minus `power`, 1 at the mean length."""
    lengths = residuals.norm(dim=1)
    mean = lengths.mean()
    if mean == 0:
        return torch.ones_like(lengths)
    weights: Tensor = (lengths / mean).clamp_min(SHORTEST) ** -power
    return weights


def fit_jointly(points: Tensor, codebooks: Tensor) -> Tensor:
    """Fit the codebooks `[L, K, d]` of all levels to each other, as long as the error on the points falls.

    Codebooks that were fitted one after the other are not the best together. A round keeps the codes, solves for all
    codebooks at once, and encodes the points anew. Close points count more (1 / distance), as in a median: codes should
    separate near twins.
    """
    if codebooks.shape[0] * codebooks.shape[1] > REFIT_LIMIT:
        return codebooks
    codes = residual_codes(points, codebooks)
    residual = points - sum_of_codes(codes, codebooks)
    for _ in range(REFIT_ROUNDS):
        fitted = _least_squares(points, codes, codebooks, length_weights(residual, 1))
        codes = residual_codes(points, fitted)
        new_residual = points - sum_of_codes(codes, fitted)
        if new_residual.square().sum() >= residual.square().sum():
            break
        codebooks, residual = fitted, new_residual
    return codebooks


def _weighted_means(points: Tensor, codes: Tensor, weights: Tensor, codebook: Tensor) -> Tensor:
    # Codes without points stay where they are.
    sums = torch.zeros_like(codebook).index_add_(0, codes, points * weights.unsqueeze(1))
    totals = torch.zeros(len(codebook)).index_add_(0, codes, weights).unsqueeze(1)
    return torch.where(totals > 0, sums / totals.clamp_min(torch.finfo(totals.dtype).tiny), codebook)


def _least_squares(points: Tensor, codes: Tensor, codebooks: Tensor, weights: Tensor) -> Tensor:
    """Codebooks whose sums come closest to the points `[n, d]` with the given codes `[n, L]`."""
    levels, size, dimension = codebooks.shape
    weights = (weights / weights.mean()).double()
    counts = torch.empty(levels, size, levels, size, dtype=torch.float64)
    for first in range(levels):
        for second in range(levels):
            pairs = codes[:, first] * size + codes[:, second]
            counts[first, :, second] = torch.bincount(pairs, weights, size * size).view(size, size)
    weighted = points * weights.float().unsqueeze(1)
    sums = torch.zeros(levels, size, dimension)
    for level in range(levels):
        sums[level].index_add_(0, codes[:, level], weighted)
    pull = REFIT_PULL * len(points) / size
    matrix = counts.view(levels * size, -1) + pull * torch.eye(levels * size, dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(
        matrix, (sums.double() + pull * codebooks.double()).view(levels * size, -1)
    )
    return solved.float().view_as(codebooks)

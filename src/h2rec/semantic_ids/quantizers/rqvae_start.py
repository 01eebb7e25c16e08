"""The start of RQ-VAE: a PCA, and k-means of the residuals."""

import numpy as np
import torch
from torch import Tensor

from h2rec.runtime import random_stream
from h2rec.semantic_ids.embeddings import Embeddings, sample_rows, variance
from h2rec.semantic_ids.quantizers.kmeans_codebooks import cluster
from h2rec.semantic_ids.quantizers.rqvae_fitting import EPOCH_ITEMS
from h2rec.semantic_ids.quantizers.rqvae_network import RQVAENetwork
from h2rec.semantic_ids.residual import nearest_codes

PCA_SAMPLE = 50_000
"""Rows that the principal directions are learned from."""


def start(network: RQVAENetwork, embeddings: Embeddings, seed: int) -> None:
    """Set linear parts to the PCA and codebooks to k-means of the residuals."""
    _, codebook_size, latent = network.codebooks.shape
    mean, components = principal_components(embeddings, latent, seed)
    spread = max(variance(embeddings) / embeddings.shape[1], float(np.finfo(np.float32).tiny))
    network.start_from(mean, components, torch.tensor(spread**-0.5))
    generator = torch.Generator().manual_seed(int(random_stream(seed, "rqvae", "weights").integers(2**31)))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "correction.0" in name or "correction.2" in name:
                bound = parameter.shape[-1] ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
        sample = torch.from_numpy(sample_rows(embeddings, max(EPOCH_ITEMS, codebook_size), seed))
        residual = network.encoder(network.standardize(sample))
        for level, codebook in enumerate(network.codebooks):
            level_seed = int(random_stream(seed, "rqvae", "codebook", level).integers(2**31))
            codebook.copy_(cluster(residual, codebook_size, level_seed))
            residual = residual - codebook[nearest_codes(residual, codebook)]


def principal_components(embeddings: Embeddings, dimensions: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mean `[m]` and the leading principal directions `[dimensions, m]` of a sample of embeddings."""
    from sklearn.decomposition import PCA  # imported late: reading a quantizer needs none

    solver = "covariance_eigh" if len(embeddings) > 2 * embeddings.shape[1] else "full"
    pca = PCA(dimensions, svd_solver=solver).fit(sample_rows(embeddings, PCA_SAMPLE, seed))
    mean, directions = (
        np.ascontiguousarray(array, dtype=np.float32) for array in (pca.mean_, pca.components_)
    )
    return torch.from_numpy(mean), torch.from_numpy(directions)

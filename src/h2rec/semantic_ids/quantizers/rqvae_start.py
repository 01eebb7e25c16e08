"""What RQ-VAE starts from, and what is set once it has learned."""

import numpy as np
import torch

from h2rec.runtime import random_stream
from h2rec.semantic_ids.balance import sinkhorn_biases
from h2rec.semantic_ids.embeddings import sample_rows, variance
from h2rec.semantic_ids.protocol import Embeddings
from h2rec.semantic_ids.quantizers.kmeans_codebooks import cluster
from h2rec.semantic_ids.quantizers.reduced import principal_components
from h2rec.semantic_ids.quantizers.rqvae_fitting import RQVAESettings
from h2rec.semantic_ids.quantizers.rqvae_network import RQVAENetwork
from h2rec.semantic_ids.residual import nearest_codes, squared_distances


def start(network: RQVAENetwork, embeddings: Embeddings, settings: RQVAESettings, seed: int) -> None:
    """Set linear parts to the PCA and codebooks to k-means of the residuals."""
    latent = network.codebooks.shape[2]
    mean, components = principal_components(embeddings, latent, seed)
    spread = max(variance(embeddings) / embeddings.shape[1], float(np.finfo(np.float32).tiny))
    network.start_from(mean, components, torch.tensor(spread**-0.5))
    generator = torch.Generator().manual_seed(int(random_stream(seed, "rqvae", "weights").integers(2**31)))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "correction.0" in name or "correction.2" in name:
                bound = parameter.shape[-1] ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
        sample = torch.from_numpy(
            sample_rows(embeddings, max(settings.epoch_items, network.codebooks.shape[1]), seed)
        )
        residual = network.encoder(network.standardize(sample))
        for level, codebook in enumerate(network.codebooks):
            level_stream = random_stream(seed, "rqvae", "codebook", level)
            if settings.kmeans_start:
                level_seed = int(level_stream.integers(2**31))
                codebook.copy_(cluster(residual, len(codebook), settings.kmeans_iterations, level_seed))
            else:
                rows = level_stream.choice(len(residual), size=len(codebook), replace=False)
                codebook.copy_(residual[torch.from_numpy(rows)])
            residual = residual - codebook[nearest_codes(residual, codebook)]


def settle(network: RQVAENetwork, embeddings: Embeddings, seed: int) -> None:
    """Set the biases so that the trained codes are shared out evenly over the catalogue."""
    sample = torch.from_numpy(sample_rows(embeddings, 50_000, seed))
    with torch.no_grad():
        residual = network.encoder(network.standardize(sample))
        for level, codebook in enumerate(network.codebooks):
            network.biases[level] = sinkhorn_biases(squared_distances(residual, codebook))
            residual = residual - codebook[nearest_codes(residual, codebook, network.biases[level])]

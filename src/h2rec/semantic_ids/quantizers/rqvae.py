"""RQ-VAE: residual quantization of a learned encoding (Lee et al. 2022; TIGER, Rajput et al. 2023)."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.embeddings import check_embeddings, check_enough_items, chunks, error_quantiles
from h2rec.semantic_ids.protocol import Embeddings
from h2rec.semantic_ids.quantizers.rqvae_fitting import Fitting, RQVAESettings
from h2rec.semantic_ids.quantizers.rqvae_network import RQVAENetwork
from h2rec.semantic_ids.quantizers.rqvae_start import settle, start
from h2rec.semantic_ids.storage import (
    check_shapes,
    fit_fingerprint,
    load_codebooks,
    quantiles_of,
    save_parts,
)


class RQVAE:
    """RQ-VAE behind the `Quantizer` protocol.

    Parameters
    ----------
    settings
        How to fit.
    levels, codebook_size
        `L` and `K`.
    """

    kind = "rqvae"

    def __init__(self, settings: RQVAESettings, levels: int, codebook_size: int) -> None:
        self.settings = settings
        self.levels = levels
        self.codebook_size = codebook_size
        self.network = RQVAENetwork(1, 1, settings.hidden, levels, codebook_size)
        self.error_quantiles: tuple[float, ...] = ()

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level, coarse level first."""
        return (self.codebook_size,) * self.levels

    @property
    def dimension(self) -> int:
        """Dimensions of the embeddings that it was fitted on."""
        return len(self.network.mean)

    def fit(self, embeddings: Embeddings, *, seed: int = 0, checkpoint: Path | None = None) -> Self:
        """Start from PCA and k-means, then train; the checkpoint is written every few seconds."""
        check_embeddings(embeddings)
        check_enough_items(embeddings, self.codebook_size)
        fingerprint = fit_fingerprint(self._description(), embeddings, seed) if checkpoint is not None else ""
        network = self._network(embeddings.shape[1], min(self.settings.latent, *embeddings.shape))
        start(network, embeddings, self.settings, seed)
        Fitting(network, self.settings, seed).run(embeddings, checkpoint, fingerprint)
        if self.settings.sinkhorn:
            settle(network, embeddings, seed)
        self.network = network.requires_grad_(False)
        self.error_quantiles = error_quantiles(self, embeddings)
        return self

    def encode(self, embeddings: Embeddings) -> CodeArray:
        """Codes of embeddings `[n, m]`, int32 `[n, L]`."""
        check_embeddings(embeddings, self.dimension)
        codes = np.empty((len(embeddings), self.levels), dtype=np.int32)
        start_row = 0
        for chunk in chunks(embeddings):
            codes[start_row : start_row + len(chunk)] = self.network.encode(torch.from_numpy(chunk)).numpy()
            start_row += len(chunk)
        return codes

    def decode(self, codes: CodeArray) -> Embeddings:
        """Reconstructed embeddings of codes `[n, p]`, float32 `[n, m]`."""
        SemanticIds(codes, self.codebook_sizes[: codes.shape[1]])
        points: Embeddings = self.network.decode(torch.from_numpy(codes.astype(np.int64))).numpy()
        return points

    def save(self, folder: Path) -> None:
        """Write `quantizer.json` and `quantizer.safetensors` into an existing folder."""
        description = {**self._description(), "error_quantiles": list(self.error_quantiles)}
        save_parts(folder, self.kind, description, self.network.state_dict())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        description, tensors = load_codebooks(folder, {"mean": (None,)})
        settings = RQVAESettings.parse(description["settings"], source=str(folder))
        (dimension,), (levels, size, latent) = tensors["mean"].shape, tensors["codebooks"].shape
        # What the largest layers have, before the network is made.
        largest = {
            "encoder.linear.weight": (latent, dimension),
            "encoder.correction.0.weight": (settings.hidden, dimension),
            "encoder.correction.2.weight": (settings.hidden, settings.hidden),
            "encoder.correction.4.weight": (latent, settings.hidden),
        }
        check_shapes(folder, tensors, largest)
        quantizer = cls(settings, levels, size)
        network = quantizer._network(dimension, latent)
        check_shapes(
            folder, tensors, {name: tuple(value.shape) for name, value in network.state_dict().items()}
        )
        network.load_state_dict(tensors)
        quantizer.network = network.requires_grad_(False)
        quantizer.error_quantiles = quantiles_of(folder, description)
        return quantizer

    def _network(self, dimension: int, latent: int) -> RQVAENetwork:
        return RQVAENetwork(dimension, latent, self.settings.hidden, self.levels, self.codebook_size)

    def _description(self) -> dict[str, Any]:
        return {
            "levels": self.levels,
            "codebook_size": self.codebook_size,
            "settings": self.settings.model_dump(),
        }

"""RQ-VAE: residual quantization of a learned encoding (Lee et al. 2022; TIGER, Rajput et al. 2023)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from h2rec.semantic_ids.embeddings import Embeddings
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.quantizers.registry import QuantizerSettings
from h2rec.semantic_ids.quantizers.rqvae_fitting import Fitting
from h2rec.semantic_ids.quantizers.rqvae_network import RQVAENetwork
from h2rec.semantic_ids.quantizers.rqvae_start import start
from h2rec.semantic_ids.storage import Checkpoint, check_shapes

LATENT = 32
"""Dimensions of the codes' vectors; at most the embeddings' own."""


class RQVAESettings(QuantizerSettings):
    """Settings of RQ-VAE."""

    epochs: int = Field(30, ge=0)
    """Passes over the catalogue."""


class RQVAE(Quantizer):
    """RQ-VAE; a checkpoint is written every few seconds."""

    settings_class: ClassVar[type[QuantizerSettings]] = RQVAESettings
    network: RQVAENetwork

    def __init__(self, settings: RQVAESettings, levels: int, codebook_size: int) -> None:
        super().__init__(settings, levels, codebook_size)
        self.epochs = settings.epochs

    @property
    def dimension(self) -> int:
        return len(self.network.mean)

    def learn(self, embeddings: Embeddings, seed: int, checkpoint: Checkpoint) -> None:
        latent = min(LATENT, *embeddings.shape)
        network = RQVAENetwork(embeddings.shape[1], latent, self.levels, self.codebook_size)
        start(network, embeddings, seed)
        Fitting(network, self.epochs, seed, checkpoint).run(embeddings)
        self.network = network.requires_grad_(False)

    def encode_points(self, points: Tensor) -> Tensor:
        return self.network.encode(points)

    def decode_codes(self, codes: Tensor) -> Tensor:
        return self.network.decode(codes)

    def tensors(self) -> Mapping[str, Tensor]:
        return self.network.state_dict()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        check_shapes(tensors, {"mean": (None,), "codebooks": (self.levels, self.codebook_size, None)})
        with torch.device("meta"):  # claimed sizes take no memory
            network = RQVAENetwork(
                len(tensors["mean"]), tensors["codebooks"].shape[2], self.levels, self.codebook_size
            )
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        check_shapes(tensors, shapes)
        network.load_state_dict({name: tensors[name] for name in shapes}, assign=True)
        self.network = network.requires_grad_(False)

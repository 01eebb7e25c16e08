"""How RQ-VAE learns: settings, gradient steps, codebook upkeep, checkpoints."""

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from h2rec.progress import progress_bar
from h2rec.runtime import random_stream
from h2rec.semantic_ids.balance import sinkhorn_biases
from h2rec.semantic_ids.protocol import Embeddings
from h2rec.semantic_ids.quantizers.rqvae_network import Pass, RQVAENetwork
from h2rec.semantic_ids.residual import nearest_codes, squared_distances
from h2rec.semantic_ids.storage import load_checkpoint, save_checkpoint
from h2rec.settings import Settings

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 5.0

FEWEST_TO_REVIVE = 32
"""Items that dead codes are placed on, at least: the few that an epoch may end with would draw all to one place."""


class RQVAESettings(Settings):
    """Settings of RQ-VAE."""

    epochs: int = Field(30, ge=0)
    """Passes over the catalogue."""
    epoch_items: int = Field(50_000, ge=1)
    """Most items seen in one pass; larger catalogues show another random part in every pass."""
    batch_size: int = Field(256, ge=2)
    """Items per gradient step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Largest step size of AdamW; it rises over the first twentieth and falls along a cosine."""
    hidden: int = Field(512, ge=1)
    """Width of the two hidden layers of encoder and decoder."""
    latent: int = Field(32, ge=1)
    """Dimensions of the codes' vectors; at most the embeddings' own."""
    reconstruction: Literal["squared", "cosine"] = "squared"
    """What the decoder is judged by: squared error, or one minus the cosine."""
    codebook_weight: float = Field(0.2, ge=0)
    """Weight that pulls codes to the residuals that chose them; unused with `ema`."""
    commitment_weight: float = Field(0.1, ge=0)
    """Weight that pulls residuals to the code they chose."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of a moving average that moves the codes instead of gradients, such as 0.99."""
    rotation_trick: bool = False
    """Turn the encoder's gradient with the quantization instead of passing it straight through."""
    sinkhorn: bool = False
    """Share every level's codes out evenly among the items."""
    kmeans_start: bool = True
    """Start codebooks from k-means on the first residuals; otherwise from random residuals."""
    kmeans_iterations: int = Field(20, ge=1)
    """Most passes of that k-means."""
    revive_below: float = Field(0.05, ge=0, lt=1)
    """A code used in an epoch less than this share of the even load is dead and moves to a residual."""


class Fitting:
    """One fit of an RQ-VAE, from a started network to a trained one.

    Its whole state is the network, the optimizer, the moving averages and the epoch number: random choices
    come from streams named by the epoch, so that a resumed fit sees what the unbroken one would have.

    Parameters
    ----------
    network
        Started by `rqvae_start.start`.
    settings
        How to fit.
    seed
        Start of every random stream.
    """

    def __init__(self, network: RQVAENetwork, settings: RQVAESettings, seed: int) -> None:
        self.network = network
        self.settings = settings
        self.seed = seed
        network.codebooks.requires_grad_(settings.ema is None)
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=0.0, fused=True)
        shape = network.codebooks.shape[:2]
        self.average_count = torch.ones(shape)
        self.average_sum = network.codebooks.detach().clone()
        self.usage = torch.zeros(shape)

    def run(self, embeddings: Embeddings, checkpoint: Path | None, fingerprint: str) -> None:
        """Train for all epochs, or for those that the checkpoint leaves."""
        settings = self.settings
        first = self._resume(checkpoint, fingerprint)
        saved = -math.inf  # the first epoch is kept at once: a folder that can't be written to shows early
        seen = min(len(embeddings), settings.epoch_items)
        per_epoch = -(-seen // settings.batch_size)
        with progress_bar("RQ-VAE", settings.epochs, "epochs") as advance:
            advance(first)
            for epoch in range(first, settings.epochs):
                error = 0.0
                self.usage.zero_()
                for number, batch in enumerate(self._batches(embeddings, epoch)):
                    share = (epoch * per_epoch + number + 1) / (settings.epochs * per_epoch)
                    error += self._step(batch, share) * len(batch) / seen
                    if number == 0 or len(batch) >= FEWEST_TO_REVIVE:
                        revived_from = batch
                # The last fifth is left to settle: a code moved there would have no time to fit in.
                if epoch + 1 < 0.8 * settings.epochs:
                    self._revive(revived_from, epoch)
                advance(1, note=f"error {error:.4f}")
                if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(checkpoint, fingerprint, epoch + 1, self._state())
                    saved = time.monotonic()
        if checkpoint is not None:
            save_checkpoint(checkpoint, fingerprint, settings.epochs, self._state())

    def _batches(self, embeddings: Embeddings, epoch: int) -> Iterator[Tensor]:
        stream = random_stream(self.seed, "rqvae", "epoch", epoch)
        order = stream.permutation(len(embeddings))[: self.settings.epoch_items]
        for begin in range(0, len(order), self.settings.batch_size):
            rows = np.sort(order[begin : begin + self.settings.batch_size])
            yield self.network.standardize(torch.from_numpy(np.asarray(embeddings[rows], dtype=np.float32)))

    def _step(self, batch: Tensor, share: float) -> float:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * one_cycle(share)
        if settings.sinkhorn:
            self._share_out(batch)
        result: Pass = self.network(batch, settings.rotation_trick)
        reconstruction = reconstruction_loss(result.reconstruction, batch, settings.reconstruction)
        dimension = batch.shape[1]
        commitment = _mean_square(result.residuals - result.chosen.detach()) / dimension
        loss = reconstruction + settings.commitment_weight * commitment
        if settings.ema is None:
            pull = _mean_square(result.residuals.detach() - result.chosen) / dimension
            loss = loss + settings.codebook_weight * pull
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._track(result)
        return float(reconstruction.detach())

    @torch.no_grad()
    def _track(self, result: Pass) -> None:
        for level, codes in enumerate(result.codes.unbind(dim=1)):
            counts = torch.bincount(codes, minlength=self.usage.shape[1]).to(self.usage.dtype)
            self.usage[level] += counts
            if self.settings.ema is not None:
                decay = self.settings.ema
                sums = torch.zeros_like(self.average_sum[level]).index_add_(
                    0, codes, result.residuals[:, level]
                )
                self.average_count[level].lerp_(counts, 1 - decay)
                self.average_sum[level].lerp_(sums, 1 - decay)
                mean = self.average_sum[level] / self.average_count[level].clamp_min(1e-5).unsqueeze(1)
                self.network.codebooks[level].copy_(mean)

    @torch.no_grad()
    def _share_out(self, batch: Tensor) -> None:
        residual = self.network.encoder(batch)
        for level, codebook in enumerate(self.network.codebooks):
            bias = sinkhorn_biases(squared_distances(residual, codebook), iterations=20)
            self.network.biases[level].lerp_(bias, 0.1)
            residual = residual - codebook[nearest_codes(residual, codebook, self.network.biases[level])]

    @torch.no_grad()
    def _revive(self, batch: Tensor, epoch: int) -> None:
        even_load = self.usage.sum(dim=1, keepdim=True) / self.usage.shape[1]
        dead = self.usage < self.settings.revive_below * even_load
        if not dead.any():
            return
        stream = random_stream(self.seed, "rqvae", "revive", epoch)
        residual = self.network.encoder(batch)
        for level, codebook in enumerate(self.network.codebooks):
            codes = nearest_codes(residual, codebook, self.network.biases[level])
            rows = torch.from_numpy(stream.integers(len(batch), size=int(dead[level].sum())))
            codebook[dead[level]] = residual[rows]
            self.network.biases[level][dead[level]] = 0
            self.average_sum[level][dead[level]] = residual[rows]
            self.average_count[level][dead[level]] = 1
            state = self.optimizer.state.get(self.network.codebooks)
            if state:  # momentum of the dead code would drag the revived one away
                state["exp_avg"][level][dead[level]] = 0
                state["exp_avg_sq"][level][dead[level]] = 0
            residual = residual - codebook[codes]

    def _state(self) -> dict[str, Tensor]:
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        state |= {"average_count": self.average_count, "average_sum": self.average_sum}
        for index, entry in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": value for name, value in entry.items()}
        return state

    def _resume(self, checkpoint: Path | None, fingerprint: str) -> int:
        found = load_checkpoint(checkpoint, fingerprint)
        if found is None:
            return 0
        epoch, state = found
        prefix = "network."
        self.network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
        self.average_count, self.average_sum = state["average_count"], state["average_sum"]
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith("optimizer."):
                _, index, field = name.split(".")
                entries.setdefault(int(index), {})[field] = value
        whole = self.optimizer.state_dict()
        whole["state"] = entries
        self.optimizer.load_state_dict(whole)
        logger.info("RQ-VAE resumed after epoch %d", epoch)
        return epoch


def one_cycle(share: float) -> float:
    """Step size after a share (0..1) of all steps, relative to the largest."""
    warm = 0.05
    if share < warm:
        return share / warm
    return 0.5 * (1 + float(np.cos(np.pi * (share - warm) / (1 - warm))))


def reconstruction_loss(reconstruction: Tensor, target: Tensor, how: Literal["squared", "cosine"]) -> Tensor:
    """Mean loss of reconstructions `[B, m]`: squared error a dimension, or one minus the cosine."""
    if how == "squared":
        return functional.mse_loss(reconstruction, target)
    return (1 - functional.cosine_similarity(reconstruction, target, dim=1)).mean()


def _mean_square(difference: Tensor) -> Tensor:
    # [B, L, d]: summed over levels and dimensions, so that d does not change the weight of a level.
    return difference.square().sum(dim=(1, 2)).mean()

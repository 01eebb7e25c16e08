"""How RQ-VAE learns: gradient steps, codebook upkeep, checkpoints."""

import logging
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from h2rec.progress import progress_bar
from h2rec.runtime import random_stream
from h2rec.semantic_ids.embeddings import Embeddings
from h2rec.semantic_ids.quantizers.rqvae_network import Pass, RQVAENetwork
from h2rec.semantic_ids.residual import nearest_codes
from h2rec.semantic_ids.storage import Checkpoint

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 5.0

EPOCH_ITEMS = 50_000
"""Most items in one pass; larger catalogues use another random sample in every pass."""
BATCH_SIZE = 256
"""Items per gradient step."""
LEARNING_RATE = 2e-3
"""Largest step size of AdamW; it rises over the first twentieth and falls along a cosine."""
CODEBOOK_WEIGHT = 0.2
"""Weight that pulls codes to the residuals that chose them."""
COMMITMENT_WEIGHT = 0.1
"""Weight that pulls residuals to the code they chose."""
REVIVE_BELOW = 0.05
"""A code used less than this share of the even load in an epoch is dead and moves to a residual."""
FEWEST_TO_REVIVE = 32
"""Fewest items of a batch that dead codes are placed on; the last batch of an epoch may be smaller."""


class Fitting:
    """One fit of an RQ-VAE, from a started network to a trained one.

    Its state is the network, started by `rqvae_start.start`, the optimizer and the epoch number. Random streams are
    named by the epoch, so that a resumed fit equals an unbroken one.
    """

    def __init__(self, network: RQVAENetwork, epochs: int, seed: int, checkpoint: Checkpoint) -> None:
        self.network = network
        self.epochs = epochs
        self.seed = seed
        self.checkpoint = checkpoint
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True
        )
        self.usage = torch.zeros(network.codebooks.shape[:2])

    def run(self, embeddings: Embeddings) -> None:
        """Train for all epochs, or for those that the checkpoint leaves."""
        first = self._resume()
        saved = -math.inf  # save after the first epoch: a folder that can't be written to shows early
        seen = min(len(embeddings), EPOCH_ITEMS)
        per_epoch = -(-seen // BATCH_SIZE)
        with progress_bar("RQ-VAE", self.epochs, "epochs") as advance:
            advance(first)
            for epoch in range(first, self.epochs):
                error = 0.0
                self.usage.zero_()
                for number, batch in enumerate(self._batches(embeddings, epoch)):
                    share = (epoch * per_epoch + number + 1) / (self.epochs * per_epoch)
                    error += self._step(batch, share) * len(batch) / seen
                    if number == 0 or len(batch) >= FEWEST_TO_REVIVE:
                        revived_from = batch
                # No code moves in the last fifth: it would have no time to settle.
                if epoch + 1 < 0.8 * self.epochs:
                    self._revive(revived_from, epoch)
                advance(1, note=f"error {error:.4f}")
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.checkpoint.save(epoch + 1, self._state())
                    saved = time.monotonic()
        self.checkpoint.save(self.epochs, self._state())

    def _batches(self, embeddings: Embeddings, epoch: int) -> Iterator[Tensor]:
        order = random_stream(self.seed, "rqvae", "epoch", epoch).permutation(len(embeddings))[:EPOCH_ITEMS]
        for begin in range(0, len(order), BATCH_SIZE):
            rows = np.sort(order[begin : begin + BATCH_SIZE])
            yield self.network.standardize(torch.from_numpy(np.asarray(embeddings[rows], dtype=np.float32)))

    def _step(self, batch: Tensor, share: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * one_cycle(share)
        result: Pass = self.network(batch)
        reconstruction = functional.mse_loss(result.reconstruction, batch)
        dimension = batch.shape[1]
        commitment = _mean_square(result.residuals - result.chosen.detach()) / dimension
        loss = reconstruction + COMMITMENT_WEIGHT * commitment
        pull = _mean_square(result.residuals.detach() - result.chosen) / dimension
        loss = loss + CODEBOOK_WEIGHT * pull
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        for level, codes in enumerate(result.codes.unbind(dim=1)):
            self.usage[level] += torch.bincount(codes, minlength=self.usage.shape[1])
        return float(reconstruction.detach())

    @torch.no_grad()
    def _revive(self, batch: Tensor, epoch: int) -> None:
        even_load = self.usage.sum(dim=1, keepdim=True) / self.usage.shape[1]
        dead = self.usage < REVIVE_BELOW * even_load
        if not dead.any():
            return
        stream = random_stream(self.seed, "rqvae", "revive", epoch)
        residual = self.network.encoder(batch)
        for level, codebook in enumerate(self.network.codebooks):
            codes = nearest_codes(residual, codebook)
            rows = torch.from_numpy(stream.integers(len(batch), size=int(dead[level].sum())))
            codebook[dead[level]] = residual[rows]
            state = self.optimizer.state[self.network.codebooks]
            # The momentum of the dead code would drag the revived one away.
            state["exp_avg"][level][dead[level]] = 0
            state["exp_avg_sq"][level][dead[level]] = 0
            residual = residual - codebook[codes]

    def _state(self) -> dict[str, Tensor]:
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for index, entry in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": value for name, value in entry.items()}
        return state

    def _resume(self) -> int:
        saved = self.checkpoint.load()
        if saved is None:
            return 0
        epoch, state = saved
        network: dict[str, Tensor] = {}
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            owner, _, key = name.partition(".")
            if owner == "network":
                network[key] = value
            else:
                index, field = key.split(".")
                entries.setdefault(int(index), {})[field] = value
        self.network.load_state_dict(network)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": entries})
        logger.info("RQ-VAE resumed after epoch %d", epoch)
        return epoch


def one_cycle(share: float) -> float:
    """Step size after a share (0..1) of all steps, relative to the largest."""
    warm = 0.05
    if share < warm:
        return share / warm
    return 0.5 * (1 + float(np.cos(np.pi * (share - warm) / (1 - warm))))


def _mean_square(difference: Tensor) -> Tensor:
    # [B, L, d]: summed over levels and dimensions, so that d does not change the weight of a level.
    return difference.square().sum(dim=(1, 2)).mean()

"""Residual k-means: cluster the embeddings, then what is left over, level by level."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from h2rec.progress import progress_bar
from h2rec.runtime import random_stream
from h2rec.semantic_ids.balance import sinkhorn_biases
from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.embeddings import (
    check_embeddings,
    check_enough_items,
    chunks,
    error_quantiles,
    sample_rows,
)
from h2rec.semantic_ids.protocol import Embeddings
from h2rec.semantic_ids.quantizers.kmeans_codebooks import fit_jointly, length_weights, residual_codebook
from h2rec.semantic_ids.residual import nearest_codes, residual_codes, squared_distances, sum_of_codes
from h2rec.semantic_ids.storage import (
    check_shapes,
    fit_fingerprint,
    load_checkpoint,
    load_codebooks,
    quantiles_of,
    save_checkpoint,
    save_parts,
)
from h2rec.settings import Settings


class KMeansSettings(Settings):
    """Settings of residual k-means."""

    iterations: int = Field(20, ge=1)
    """Most passes over the sample for one level."""
    components: int | None = Field(64, ge=1)
    """Find a level's clusters along this many principal components of its residuals; null takes all dimensions."""
    length_power: float = Field(2.0, ge=0)
    """After the first level a residual counts its length to minus this power: more tells near twins apart."""
    joint_rounds: int = Field(2, ge=0)
    """Rounds that fit the codebooks of all levels to each other in the end; none with `balanced`."""
    sample: int = Field(200_000, ge=1)
    """Most items that codebooks are learned from; every item is encoded."""
    balanced: bool = False
    """Share every level's codes out evenly among the items (Sinkhorn), at some cost in error."""
    balance_rounds: int = Field(5, ge=1)
    """With `balanced`: rounds of sharing out and moving the codes to their items' mean."""


class RQKMeans:
    """Residual k-means behind the `Quantizer` protocol.

    Parameters
    ----------
    settings
        How to cluster.
    levels, codebook_size
        `L` and `K`.
    """

    kind = "rqkmeans"

    def __init__(self, settings: KMeansSettings, levels: int, codebook_size: int) -> None:
        self.settings = settings
        self.levels = levels
        self.codebook_size = codebook_size
        self.codebooks = torch.empty(levels, codebook_size, 0)
        self.biases = torch.zeros(levels, codebook_size)
        self.error_quantiles: tuple[float, ...] = ()

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level, coarse level first."""
        return (self.codebook_size,) * self.levels

    @property
    def dimension(self) -> int:
        """Dimensions of the embeddings that it was fitted on."""
        return self.codebooks.shape[2]

    def fit(self, embeddings: Embeddings, *, seed: int = 0, checkpoint: Path | None = None) -> Self:
        """Learn one codebook after the other; the checkpoint is written after each."""
        check_embeddings(embeddings)
        check_enough_items(embeddings, self.codebook_size)
        fingerprint = fit_fingerprint(self._description(), embeddings, seed) if checkpoint is not None else ""
        settings = self.settings
        points = torch.from_numpy(sample_rows(embeddings, max(settings.sample, self.codebook_size), seed))
        residual = points.clone()
        codebooks = torch.zeros(self.levels, self.codebook_size, residual.shape[1])
        biases = torch.zeros(self.levels, self.codebook_size)
        done = 0
        found = load_checkpoint(checkpoint, fingerprint)
        if found is not None:
            done, state = found
            codebooks, biases = state["codebooks"], state["biases"]
        with progress_bar("residual k-means", self.levels, "levels") as advance:
            for level in range(self.levels):
                if level >= done:
                    level_seed = int(random_stream(seed, "k-means", level).integers(2**31))
                    weights = length_weights(residual, settings.length_power if level else 0)
                    codebooks[level] = residual_codebook(
                        residual,
                        self.codebook_size,
                        settings.iterations,
                        level_seed,
                        components=settings.components,
                        weights=weights,
                    )
                    if settings.balanced:
                        codebooks[level], biases[level] = _balance(
                            residual, codebooks[level], settings.balance_rounds
                        )
                    if checkpoint is not None:
                        save_checkpoint(
                            checkpoint, fingerprint, level + 1, {"codebooks": codebooks, "biases": biases}
                        )
                residual -= codebooks[level][nearest_codes(residual, codebooks[level], biases[level])]
                advance(1)
        if not settings.balanced:  # the biases belong to the codebooks as they are
            codebooks = fit_jointly(points, codebooks, settings.joint_rounds)
        self.codebooks, self.biases = codebooks, biases
        self.error_quantiles = error_quantiles(self, embeddings)
        return self

    def encode(self, embeddings: Embeddings) -> CodeArray:
        """Codes of embeddings `[n, m]`, int32 `[n, L]`."""
        check_embeddings(embeddings, self.dimension)
        codes = np.empty((len(embeddings), self.levels), dtype=np.int32)
        start = 0
        for chunk in chunks(embeddings):
            found = residual_codes(torch.from_numpy(chunk), self.codebooks, self.biases)
            codes[start : start + len(chunk)] = found.numpy()
            start += len(chunk)
        return codes

    def decode(self, codes: CodeArray) -> Embeddings:
        """Reconstructed embeddings of codes `[n, p]`, float32 `[n, m]`."""
        SemanticIds(codes, self.codebook_sizes[: codes.shape[1]])
        points: Embeddings = sum_of_codes(torch.from_numpy(codes.astype(np.int64)), self.codebooks).numpy()
        return points

    def save(self, folder: Path) -> None:
        """Write `quantizer.json` and `quantizer.safetensors` into an existing folder."""
        description = {**self._description(), "error_quantiles": list(self.error_quantiles)}
        save_parts(folder, self.kind, description, {"codebooks": self.codebooks, "biases": self.biases})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        description, tensors = load_codebooks(folder, {"biases": (None, None)})
        settings = KMeansSettings.parse(description["settings"], source=str(folder))
        quantizer = cls(settings, description["levels"], description["codebook_size"])
        check_shapes(folder, tensors, {"biases": (quantizer.levels, quantizer.codebook_size)})
        quantizer.codebooks, quantizer.biases = tensors["codebooks"], tensors["biases"]
        quantizer.error_quantiles = quantiles_of(folder, description)
        return quantizer

    def _description(self) -> dict[str, Any]:
        return {
            "levels": self.levels,
            "codebook_size": self.codebook_size,
            "settings": self.settings.model_dump(),
        }


def _balance(points: Tensor, codebook: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Move codes to the means of evenly shared items; return them and the biases that share evenly."""
    sample = points[:: max(1, len(points) // 50_000)]
    bias = torch.zeros(len(codebook))
    for _ in range(rounds):
        bias = sinkhorn_biases(squared_distances(sample, codebook))
        codes = nearest_codes(sample, codebook, bias)
        sums = torch.zeros_like(codebook).index_add_(0, codes, sample)
        counts = torch.bincount(codes, minlength=len(codebook)).unsqueeze(1)
        codebook = torch.where(counts > 0, sums / counts.clamp_min(1), codebook)
    return codebook, sinkhorn_biases(squared_distances(sample, codebook))

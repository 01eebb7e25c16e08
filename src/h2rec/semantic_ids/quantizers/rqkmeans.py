"""Residual k-means: cluster the embeddings, then the residuals, level by level."""

from collections.abc import Mapping

import torch
from torch import Tensor

from h2rec.progress import progress_bar
from h2rec.runtime import random_stream
from h2rec.semantic_ids.embeddings import Embeddings, sample_rows
from h2rec.semantic_ids.quantizers.kmeans_codebooks import fit_jointly, length_weights, residual_codebook
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.quantizers.registry import QuantizerSettings
from h2rec.semantic_ids.residual import nearest_codes, residual_codes, sum_of_codes
from h2rec.semantic_ids.storage import Checkpoint, check_shapes

SAMPLE = 200_000
"""Most items that codebooks are learned from; every item is encoded."""
LENGTH_POWER = 2.0
"""After the first level a residual is weighted by its length to minus this power; higher separates near twins."""


class RQKMeans(Quantizer):
    """Residual k-means; a checkpoint is written after each level."""

    def __init__(self, settings: QuantizerSettings, levels: int, codebook_size: int) -> None:
        super().__init__(settings, levels, codebook_size)
        self.codebooks = torch.empty(levels, codebook_size, 0)

    @property
    def dimension(self) -> int:
        return self.codebooks.shape[2]

    def learn(self, embeddings: Embeddings, seed: int, checkpoint: Checkpoint) -> None:
        points = torch.from_numpy(sample_rows(embeddings, max(SAMPLE, self.codebook_size), seed))
        residual = points.clone()
        codebooks = torch.zeros(self.levels, self.codebook_size, residual.shape[1])
        done, state = checkpoint.load() or (0, {"codebooks": codebooks})
        codebooks = state["codebooks"]
        with progress_bar("residual k-means", self.levels, "levels") as advance:
            for level in range(self.levels):
                if level >= done:
                    level_seed = int(random_stream(seed, "k-means", level).integers(2**31))
                    weights = length_weights(residual, LENGTH_POWER if level else 0)
                    codebooks[level] = residual_codebook(residual, self.codebook_size, level_seed, weights)
                    checkpoint.save(level + 1, {"codebooks": codebooks})
                residual -= codebooks[level][nearest_codes(residual, codebooks[level])]
                advance(1)
        self.codebooks = fit_jointly(points, codebooks)

    def encode_points(self, points: Tensor) -> Tensor:
        return residual_codes(points, self.codebooks)

    def decode_codes(self, codes: Tensor) -> Tensor:
        return sum_of_codes(codes, self.codebooks)

    def tensors(self) -> Mapping[str, Tensor]:
        return {"codebooks": self.codebooks}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        check_shapes(tensors, {"codebooks": (self.levels, self.codebook_size, None)})
        self.codebooks = tensors["codebooks"]

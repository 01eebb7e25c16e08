"""Product quantization (PQ) and its rotated form (OPQ): one codebook for each slice of the embedding.

Its levels are no order from coarse to fine. Fitting needs faiss; encoding and decoding do not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from h2rec.errors import SemanticIdError, needs_extra
from h2rec.runtime import random_stream
from h2rec.semantic_ids.embeddings import Embeddings, sample_rows
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.quantizers.registry import QuantizerSettings
from h2rec.semantic_ids.residual import nearest_codes
from h2rec.semantic_ids.storage import Checkpoint, check_shapes

SAMPLE = 200_000
"""Most items that codebooks are learned from; every item is encoded."""


class ProductQuantizer(Quantizer):
    """PQ or, by the name ``opq``, OPQ, which first rotates the embeddings so that slices have similar variance.

    `K` is a power of two. Slices are of one size: columns of zeros fill up the last ones. Fitting takes seconds: a
    killed fit starts anew.
    """

    def __init__(self, settings: QuantizerSettings, levels: int, codebook_size: int) -> None:
        super().__init__(settings, levels, codebook_size)
        self.mean = torch.empty(0)
        self.rotation = torch.empty(0, 0)
        self.codebooks = torch.empty(levels, codebook_size, 0)

    @property
    def dimension(self) -> int:
        return len(self.mean)

    def learn(self, embeddings: Embeddings, seed: int, checkpoint: Checkpoint) -> None:
        name, dimension = self.settings.name, embeddings.shape[1]
        sliced = self.levels * -(-dimension // self.levels)
        if self.codebook_size & (self.codebook_size - 1):
            raise SemanticIdError(
                f"{name} needs a codebook size that is a power of two, found {self.codebook_size}"
            )
        if dimension < self.levels:
            raise SemanticIdError(f"{name} can't cut {dimension} dimensions into {self.levels} slices")
        if name == "opq" and len(embeddings) < sliced:  # faiss would write beyond its memory
            raise SemanticIdError(
                f"opq needs as many items as the texts have dimensions, {sliced}, found {len(embeddings)}",
                "take the quantizer pq, or rqkmeans",
            )
        with needs_extra("fitting a product quantizer", "faiss"):
            import faiss

        def new_quantizer() -> Any:
            quantizer = faiss.ProductQuantizer(sliced, self.levels, self.codebook_size.bit_length() - 1)
            quantizer.cp.niter = 25
            quantizer.cp.seed = fit_seed
            quantizer.cp.min_points_per_centroid = 1
            quantizer.cp.max_points_per_centroid = SAMPLE
            return quantizer

        points = sample_rows(embeddings, max(SAMPLE, self.codebook_size), seed)
        mean = points.mean(axis=0)
        points = np.pad(points - mean, [(0, 0), (0, sliced - dimension)])
        fit_seed = int(random_stream(seed, name).integers(2**31))
        rotation = np.eye(sliced, dtype=np.float32)
        if name == "opq":
            matrix = faiss.OPQMatrix(sliced, self.levels)
            matrix.niter = 25
            matrix.pq = new_quantizer()
            matrix.train(points)
            rotation = faiss.vector_to_array(matrix.A).reshape(sliced, sliced).copy()
        quantizer = new_quantizer()
        quantizer.train(np.ascontiguousarray(points @ rotation.T))
        centroids = faiss.vector_to_array(quantizer.centroids).copy()
        self.codebooks = torch.from_numpy(centroids).view(self.levels, self.codebook_size, -1)
        self.mean, self.rotation = torch.from_numpy(mean), torch.from_numpy(rotation[:, :dimension].copy())

    def encode_points(self, points: Tensor) -> Tensor:
        # In float64: float32 rounds one item and many differently, which would decide between close codes.
        rotated = (points - self.mean.double()) @ self.rotation.double().T
        slices = zip(rotated.chunk(self.levels, dim=1), self.codebooks.double(), strict=True)
        return torch.stack([nearest_codes(columns, codebook) for columns, codebook in slices], dim=1)

    def decode_codes(self, codes: Tensor) -> Tensor:
        # Slices without a code are at their mean.
        rotated = torch.zeros(len(codes), len(self.rotation))
        width = self.codebooks.shape[2]
        for level, column in enumerate(codes.unbind(dim=1)):
            rotated[:, level * width : (level + 1) * width] = self.codebooks[level][column]
        return rotated @ self.rotation + self.mean

    def tensors(self) -> Mapping[str, Tensor]:
        return {"mean": self.mean, "rotation": self.rotation, "codebooks": self.codebooks}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        check_shapes(tensors, {"codebooks": (self.levels, self.codebook_size, None)})
        sliced = self.levels * tensors["codebooks"].shape[2]
        check_shapes(tensors, {"mean": (None,)})
        check_shapes(tensors, {"rotation": (sliced, len(tensors["mean"]))})
        self.mean, self.rotation, self.codebooks = (tensors[n] for n in ("mean", "rotation", "codebooks"))

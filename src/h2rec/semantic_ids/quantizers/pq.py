"""Product quantization (PQ) and its rotated form (OPQ): one codebook for each slice of the embedding.

The levels of a product quantizer stand side by side; they do not run from coarse to fine. Fitted with
faiss; encoding and decoding need no faiss, so a fitted quantizer can be used where it is not installed.
"""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field

from h2rec.errors import MissingExtraError, SemanticIdError
from h2rec.runtime import random_stream
from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.embeddings import (
    check_embeddings,
    check_enough_items,
    chunks,
    error_quantiles,
    sample_rows,
)
from h2rec.semantic_ids.protocol import Embeddings
from h2rec.semantic_ids.residual import nearest_codes
from h2rec.semantic_ids.storage import check_shapes, load_codebooks, quantiles_of, save_parts
from h2rec.settings import Settings


class PQSettings(Settings):
    """Settings of product quantization."""

    iterations: int = Field(25, ge=1)
    """Passes over the sample for every slice's k-means."""
    rotation_iterations: int = Field(25, ge=1)
    """Rounds of rotating and quantizing (OPQ only)."""
    sample: int = Field(200_000, ge=1)
    """Most items that codebooks are learned from; every item is encoded."""


class ProductQuantizer:
    """PQ or OPQ behind the `Quantizer` protocol.

    Fitting is one call into faiss and takes seconds: a killed fit starts anew and writes no checkpoint.

    Parameters
    ----------
    kind
        ``pq``, or ``opq``, which rotates the embeddings first so that slices carry like shares of variance.
    settings
        How to fit.
    levels, codebook_size
        `L` slices with `K` codes each; `K` is a power of two and `L` divides the embeddings' dimensions.
    """

    def __init__(
        self, kind: Literal["pq", "opq"], settings: PQSettings, levels: int, codebook_size: int
    ) -> None:
        self.kind = kind
        self.settings = settings
        self.levels = levels
        self.codebook_size = codebook_size
        self.mean = torch.empty(0)
        self.rotation = torch.empty(0, 0)
        self.codebooks = torch.empty(levels, codebook_size, 0)
        self.error_quantiles: tuple[float, ...] = ()

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return (self.codebook_size,) * self.levels

    @property
    def dimension(self) -> int:
        """Dimensions of the embeddings that it was fitted on."""
        return len(self.mean)

    def fit(self, embeddings: Embeddings, *, seed: int = 0, checkpoint: Path | None = None) -> Self:
        """Learn the rotation and the codebooks; the checkpoint is not used.

        Raises
        ------
        MissingExtraError
            If faiss is not installed.
        SemanticIdError
            If the sizes do not fit the embeddings, besides the protocol's own cases.
        """
        check_embeddings(embeddings)
        check_enough_items(embeddings, self.codebook_size)
        self._check_sizes(embeddings.shape[1])
        points = sample_rows(embeddings, max(self.settings.sample, self.codebook_size), seed)
        mean = points.mean(axis=0)
        points -= mean
        fit_seed = int(random_stream(seed, self.kind).integers(2**31))
        rotation = self._fit_rotation(points, fit_seed)
        self.codebooks = torch.from_numpy(self._fit_codebooks(points @ rotation.T, fit_seed))
        self.mean, self.rotation = torch.from_numpy(mean), torch.from_numpy(rotation)
        self.error_quantiles = error_quantiles(self, embeddings)
        return self

    def encode(self, embeddings: Embeddings) -> CodeArray:
        """Codes of embeddings `[n, m]`, int32 `[n, L]`."""
        check_embeddings(embeddings, self.dimension)
        codes = np.empty((len(embeddings), self.levels), dtype=np.int32)
        # Codes may lie so close that a rounding in float32, which differs between one item and many, decides.
        mean, rotation = self.mean.double(), self.rotation.double().T
        start = 0
        for chunk in chunks(embeddings):
            rotated = (torch.from_numpy(chunk) - mean) @ rotation
            slices = rotated.chunk(self.levels, dim=1)
            for level, (part, codebook) in enumerate(zip(slices, self.codebooks.double(), strict=True)):
                codes[start : start + len(chunk), level] = nearest_codes(part, codebook).numpy()
            start += len(chunk)
        return codes

    def decode(self, codes: CodeArray) -> Embeddings:
        """Reconstructed embeddings of codes `[n, p]`, float32 `[n, m]`; further slices at their mean."""
        SemanticIds(codes, self.codebook_sizes[: codes.shape[1]])
        rotated = torch.zeros(len(codes), self.dimension)
        width = self.codebooks.shape[2]
        for level, column in enumerate(torch.from_numpy(codes.astype(np.int64)).unbind(dim=1)):
            rotated[:, level * width : (level + 1) * width] = self.codebooks[level][column]
        points: Embeddings = (rotated @ self.rotation + self.mean).numpy()
        return points

    def save(self, folder: Path) -> None:
        """Write `quantizer.json` and `quantizer.safetensors` into an existing folder."""
        description = {
            "levels": self.levels,
            "codebook_size": self.codebook_size,
            "settings": self.settings.model_dump(),
            "error_quantiles": list(self.error_quantiles),
        }
        tensors = {"mean": self.mean, "rotation": self.rotation, "codebooks": self.codebooks}
        save_parts(folder, self.kind, description, tensors)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        description, tensors = load_codebooks(folder, {"mean": (None,), "rotation": (None, None)})
        settings = PQSettings.parse(description["settings"], source=str(folder))
        levels, size, width = tensors["codebooks"].shape
        dimension = levels * width
        check_shapes(folder, tensors, {"mean": (dimension,), "rotation": (dimension, dimension)})
        quantizer = cls(description["kind"], settings, levels, size)
        quantizer.mean, quantizer.rotation = tensors["mean"], tensors["rotation"]
        quantizer.codebooks = tensors["codebooks"]
        quantizer.error_quantiles = quantiles_of(folder, description)
        return quantizer

    def _check_sizes(self, dimension: int) -> None:
        if self.codebook_size & (self.codebook_size - 1):
            raise SemanticIdError(
                f"{self.kind} needs a codebook size that is a power of two, found {self.codebook_size}"
            )
        if dimension % self.levels:
            raise SemanticIdError(
                f"{self.kind} can't cut {dimension} dimensions into {self.levels} equal slices",
                "choose levels that divide the dimensions, or a multiple of the levels as semantic_ids.pca",
            )

    def _fit_rotation(self, points: Embeddings, seed: int) -> Embeddings:
        faiss = _faiss()
        dimension = points.shape[1]
        if self.kind == "pq":
            return np.eye(dimension, dtype=np.float32)
        quantizer = self._faiss_quantizer(dimension, seed)
        matrix = faiss.OPQMatrix(dimension, self.levels)
        matrix.niter = self.settings.rotation_iterations
        matrix.pq = quantizer
        matrix.train(points)
        rotation: Embeddings = faiss.vector_to_array(matrix.A).reshape(dimension, dimension)
        return rotation.copy()

    def _fit_codebooks(self, rotated: Embeddings, seed: int) -> Embeddings:
        quantizer = self._faiss_quantizer(rotated.shape[1], seed)
        quantizer.train(np.ascontiguousarray(rotated))
        centroids: Embeddings = _faiss().vector_to_array(quantizer.centroids)
        return centroids.reshape(self.levels, self.codebook_size, -1).copy()

    def _faiss_quantizer(self, dimension: int, seed: int) -> Any:
        quantizer = _faiss().ProductQuantizer(dimension, self.levels, self.codebook_size.bit_length() - 1)
        quantizer.cp.niter = self.settings.iterations
        quantizer.cp.seed = seed
        quantizer.cp.min_points_per_centroid = 1
        quantizer.cp.max_points_per_centroid = self.settings.sample
        return quantizer


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        raise MissingExtraError("fitting a product quantizer", "faiss") from None
    return faiss

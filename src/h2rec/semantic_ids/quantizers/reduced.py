"""PCA in front of a quantizer: keep the directions of most variance, quantize there."""

from pathlib import Path
from typing import Self

import numpy as np
import torch

from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.codes import CodeArray
from h2rec.semantic_ids.embeddings import (
    check_embeddings,
    check_enough_items,
    chunks,
    error_quantiles,
    sample_rows,
)
from h2rec.semantic_ids.protocol import Embeddings, Quantizer
from h2rec.semantic_ids.storage import (
    check_shapes,
    load_description,
    load_tensors,
    quantiles_of,
    save_parts,
)

PCA_SAMPLE = 50_000
"""Rows that the directions are learned from."""


class ReducedQuantizer:
    """Another quantizer behind a PCA, itself behind the `Quantizer` protocol.

    Parameters
    ----------
    inner
        What quantizes the reduced embeddings.
    dimensions
        Principal components kept.
    """

    kind = "pca"

    def __init__(self, inner: Quantizer, dimensions: int) -> None:
        self.inner = inner
        self.dimensions = dimensions
        self.mean = torch.empty(0)
        self.components = torch.empty(dimensions, 0)
        self.error_quantiles: tuple[float, ...] = ()

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level, coarse level first."""
        return self.inner.codebook_sizes

    @property
    def dimension(self) -> int:
        """Dimensions of the embeddings that it was fitted on."""
        return len(self.mean)

    def fit(self, embeddings: Embeddings, *, seed: int = 0, checkpoint: Path | None = None) -> Self:
        """Learn the directions, then the inner quantizer on the reduced embeddings."""
        check_embeddings(embeddings)
        check_enough_items(embeddings, max(self.codebook_sizes))
        self.mean, self.components = principal_components(embeddings, self.dimensions, seed)
        self.inner.fit(self._reduce(embeddings), seed=seed, checkpoint=checkpoint)
        self.error_quantiles = error_quantiles(self, embeddings)
        return self

    def encode(self, embeddings: Embeddings) -> CodeArray:
        """Codes of embeddings `[n, m]`, int32 `[n, L]`."""
        check_embeddings(embeddings, self.dimension)
        return self.inner.encode(self._reduce(embeddings))

    def decode(self, codes: CodeArray) -> Embeddings:
        """Reconstructed embeddings of codes `[n, p]`, float32 `[n, m]`; what PCA dropped is at its mean."""
        reduced = torch.from_numpy(self.inner.decode(codes))
        points: Embeddings = (reduced @ self.components + self.mean).numpy()
        return points

    def save(self, folder: Path) -> None:
        """Write the PCA into an existing folder and the inner quantizer into its subfolder `inner`."""
        (folder / "inner").mkdir(exist_ok=True)
        self.inner.save(folder / "inner")
        description = {"dimensions": self.dimensions, "error_quantiles": list(self.error_quantiles)}
        save_parts(folder, self.kind, description, {"mean": self.mean, "components": self.components})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        from h2rec.semantic_ids.quantizers import load_quantizer

        description = load_description(folder)
        inner = load_quantizer(folder / "inner")
        if isinstance(inner, cls):
            raise SemanticIdError(f"{folder}: a PCA in front of a PCA is none that was fitted here")
        tensors = load_tensors(folder, {"mean": (None,), "components": (inner.dimension, None)})
        check_shapes(folder, tensors, {"components": (inner.dimension, len(tensors["mean"]))})
        quantizer = cls(inner, inner.dimension)
        quantizer.mean, quantizer.components = tensors["mean"], tensors["components"]
        quantizer.error_quantiles = quantiles_of(folder, description)
        return quantizer

    def _reduce(self, embeddings: Embeddings) -> Embeddings:
        reduced = np.empty((len(embeddings), self.dimensions), dtype=np.float32)
        # In float32 an item's point would depend, by a rounding, on how many others are reduced with it.
        mean, directions = self.mean.double(), self.components.double().T
        start = 0
        for chunk in chunks(embeddings):
            points = (torch.from_numpy(chunk) - mean) @ directions
            reduced[start : start + len(chunk)] = points.numpy()
            start += len(chunk)
        return reduced


def principal_components(
    embeddings: Embeddings, dimensions: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean `[m]` and the leading principal directions `[dimensions, m]` of a sample of embeddings.

    Raises
    ------
    SemanticIdError
        If there are fewer items or dimensions than directions asked for.
    """
    most = min(embeddings.shape)
    if dimensions > most:
        raise SemanticIdError(
            f"{dimensions} principal components can't be taken of embeddings of shape {embeddings.shape}",
            f"ask for at most {most}",
        )
    from sklearn.decomposition import PCA  # who reads a fitted one needs none

    pca = PCA(
        dimensions, svd_solver="covariance_eigh" if len(embeddings) > 2 * embeddings.shape[1] else "full"
    )
    pca.fit(sample_rows(embeddings, PCA_SAMPLE, seed))
    mean = torch.from_numpy(np.ascontiguousarray(pca.mean_, dtype=np.float32))
    return mean, torch.from_numpy(np.ascontiguousarray(pca.components_, dtype=np.float32))

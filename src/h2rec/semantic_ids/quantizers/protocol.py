"""The contract of a quantizer, and what all have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from h2rec.semantic_ids.codes import CodeArray, SemanticIds
from h2rec.semantic_ids.embeddings import (
    CHUNK,
    Embeddings,
    check_embeddings,
    check_enough_items,
    chunks,
    sample_rows,
)
from h2rec.semantic_ids.quantizers.registry import QuantizerSettings
from h2rec.semantic_ids.storage import Checkpoint, fit_key, save_parts


class Quantizer(ABC):
    """Maps text embeddings to code tuples and back.

    A fitted quantizer is frozen: `encode` of new items never changes the codes of old ones. A subclass defines what it
    learns, how points become codes and back, and its tensors. `levels` and `codebook_size` are `L` and `K`.
    """

    settings_class: ClassVar[type[QuantizerSettings]] = QuantizerSettings
    """Settings of `semantic_ids.quantizer` for this quantizer."""

    def __init__(self, settings: QuantizerSettings, levels: int, codebook_size: int) -> None:
        self.settings = settings
        self.levels = levels
        self.codebook_size = codebook_size
        self.error_quantiles: tuple[float, ...] = ()
        """Percentiles 0 to 100 of the squared reconstruction errors of the fitted catalogue, 101 numbers."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level, coarse level first."""
        return (self.codebook_size,) * self.levels

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Dimensions `m` of the embeddings that it was fitted on."""

    @abstractmethod
    def learn(self, embeddings: Embeddings, seed: int, checkpoint: Checkpoint) -> None:
        """Learn from checked embeddings `[N, m]`; they may be mapped from disk."""

    @abstractmethod
    def encode_points(self, points: Tensor) -> Tensor:
        """Codes of points `[n, m]`, int64 `[n, L]`."""

    @abstractmethod
    def decode_codes(self, codes: Tensor) -> Tensor:
        """Points `[n, m]` that codes, int64 `[n, p]`, stand for; with `p < L` those of the first `p` levels."""

    @abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """Everything learned, by name."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` returned.

        Raises `SemanticIdError` if they do not fit its sizes.
        """

    def fit(self, embeddings: Embeddings, *, seed: int = 0, checkpoint: Path | None = None) -> Self:
        """Learn codebooks from embeddings `[N, m]`, which may be mapped from disk.

        The same seed gives the same codebooks. A killed fit continues from its `checkpoint` file, on a CPU with the
        result of an unbroken one. Checkpoints of other settings, seeds or embeddings are ignored.

        Raises `SemanticIdError` for NaN rows, fewer distinct embeddings than codes, or a wrong shape.
        """
        check_embeddings(embeddings)
        check_enough_items(embeddings, max(self.codebook_sizes))
        key = "" if checkpoint is None else fit_key(self._claims(), embeddings, seed)
        self.learn(embeddings, seed, Checkpoint(checkpoint, key))
        errors = self.squared_errors(sample_rows(embeddings, 50_000, seed=0))
        self.error_quantiles = tuple(float(q) for q in np.quantile(errors, np.linspace(0, 1, 101)))
        return self

    def encode(self, embeddings: Embeddings) -> CodeArray:
        """Codes of embeddings `[n, m]`, int32 `[n, L]`.

        Raises `SemanticIdError` for NaN rows or another `m` than the quantizer was fitted on.
        """
        check_embeddings(embeddings, self.dimension)
        codes = [self.encode_points(torch.from_numpy(chunk)).numpy() for chunk in chunks(embeddings)]
        return np.concatenate([np.empty((0, self.levels)), *codes]).astype(np.int32)

    def decode(self, codes: CodeArray) -> Embeddings:
        """Reconstructed embeddings of codes `[n, p]`, float32 `[n, m]`.

        With `p < L` the first `p` levels are decoded.

        Raises `SemanticIdError` for a code out of range.
        """
        SemanticIds(codes, self.codebook_sizes[: codes.shape[1]])
        return self.decode_codes(torch.from_numpy(codes.astype(np.int64))).numpy()

    def squared_errors(self, embeddings: Embeddings, codes: CodeArray | None = None) -> Embeddings:
        """Squared distance of each embedding to its reconstruction, `[n]`; codes may be prefixes `[n, p]`."""
        codes = self.encode(embeddings) if codes is None else codes
        errors = np.empty(len(embeddings), dtype=np.float32)
        for number, chunk in enumerate(chunks(embeddings)):
            rows = slice(number * CHUNK, number * CHUNK + len(chunk))
            errors[rows] = np.square(chunk - self.decode(codes[rows])).sum(axis=1)
        return errors

    def save(self, folder: Path) -> None:
        """Write `quantizer.json` and `quantizer.safetensors` into an existing folder."""
        save_parts(folder, {**self._claims(), "error_quantiles": self.error_quantiles}, self.tensors())

    def _claims(self) -> dict[str, Any]:
        sizes = {"levels": self.levels, "codebook_size": self.codebook_size}
        return {"quantizer": self.settings.model_dump(mode="json"), **sizes}

"""What every quantizer can do."""

from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.codes import CodeArray

Embeddings = npt.NDArray[np.float32]


class Quantizer(Protocol):
    """Maps text embeddings to code tuples and back.

    A fitted quantizer is frozen: `encode` of new items never changes the codes of old ones.
    """

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level, coarse level first."""
        ...

    @property
    def dimension(self) -> int:
        """Dimensions `m` of the embeddings that it was fitted on."""
        ...

    @property
    def error_quantiles(self) -> tuple[float, ...]:
        """Percentiles 0 to 100 of the squared reconstruction errors of the fitted catalogue, 101 numbers."""
        ...

    def fit(self, embeddings: Embeddings, *, seed: int = 0, checkpoint: Path | None = None) -> Self:
        """Learn codebooks from embeddings `[N, m]`; the same seed gives the same codebooks.

        Parameters
        ----------
        embeddings
            `[N, m]`, in memory or mapped from disk.
        seed
            Start of every random stream.
        checkpoint
            File that a killed fit continues from, with the same result as an unbroken one on a CPU. A
            checkpoint of other settings, another seed or other embeddings is not used.

        Raises
        ------
        SemanticIdError
            For NaN rows, fewer distinct embeddings than codes, or a wrong shape.
        """
        ...

    def encode(self, embeddings: Embeddings) -> CodeArray:
        """Codes of embeddings `[n, m]`, int32 `[n, L]`.

        Raises
        ------
        SemanticIdError
            For NaN rows or another `m` than the quantizer was fitted on.
        """
        ...

    def decode(self, codes: CodeArray) -> Embeddings:
        """Reconstructed embeddings of codes `[n, p]`, float32 `[n, m]`.

        With `p < L` the first `p` levels are decoded.

        Raises
        ------
        SemanticIdError
            For a code out of range.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        ...

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

    def fit(self, embeddings: Embeddings, *, seed: int = 0) -> Self:
        """Learn codebooks from embeddings `[N, m]`; the same seed gives the same codebooks.

        Raises
        ------
        SemanticIdError
            For NaN rows, fewer distinct embeddings than codes, or a wrong shape.
        """
        ...

    def encode(self, embeddings: Embeddings) -> CodeArray:
        """Codes of embeddings `[n, m]`, int32 `[n, L]`."""
        ...

    def decode(self, codes: CodeArray) -> Embeddings:
        """Reconstructed embeddings of codes `[n, L]`, float32 `[n, m]`."""
        ...

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        ...

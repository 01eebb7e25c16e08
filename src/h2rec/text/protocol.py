"""The contract of a text encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

MOSTLY = 0.5
"""A text of which so large a share is unknown is mostly unknown."""


class TextEncoder(Protocol):
    """Turns texts into embeddings."""

    @property
    def name(self) -> str:
        """The name that the configuration uses for it."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text could be embedded differently."""

    @property
    def maker(self) -> str | None:
        """Key of everything that decides the bits of an embedding, for the cache; None where a cache would not pay."""

    def unknown_share(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Share of each text's words or tokens that the encoder does not know, `[n]`; 1 for a text without any."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn from the catalogue's texts; pretrained encoders learn nothing."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeddings `[n, m]`, rows of unit length or zeros; a row does not depend on the others, to the last bit."""

    def save(self, folder: Path) -> None:
        """Write everything that `load_encoder` needs into an existing folder: JSON and safetensors, no pickle."""

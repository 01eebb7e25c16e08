"""What every text encoder can do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt


class TextEncoder(Protocol):
    """Turns texts into embeddings."""

    @property
    def name(self) -> str:
        """The name that the configuration uses for it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text could be embedded differently."""
        ...

    @property
    def maker(self) -> str | None:
        """What decides every bit of a text's embedding: the cache is keyed by it; None where a cache would not pay."""
        ...

    def unknown_share(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Which share of each text's words or tokens the encoder does not know, `[n]`."""
        ...

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn what the encoder must learn from the catalogue's texts; pretrained ones learn nothing."""
        ...

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeddings `[n, m]`, rows of unit length or zeros; a row does not depend on the others, to the last bit."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that `load` needs into an existing folder: JSON and safetensors, no pickle."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        ...

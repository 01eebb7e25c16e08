"""How item texts become embeddings."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from h2rec.settings import Settings
from h2rec.text.noise import NoiseSettings


class TextSettings(Settings):
    """Which fields are read, and which encoder embeds them."""

    encoder: str = "minilm"
    """minilm, tfidf, any sentence-transformers model (hub name or folder), or a .npy of ready embeddings."""
    fields: list[str] | None = None
    """Text fields of the item file, in the order in which they are joined; null takes all of them."""
    dim: int = Field(default=256, ge=1)
    """Size of the embedding (`tfidf` only; the others have their own)."""
    noise: NoiseSettings | None = None
    """Spoil a share of the texts before they are embedded (experiments on robustness); null for none."""

    @model_serializer(mode="wrap")
    def _leave_out_no_noise(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Finished work without noise keeps its key.
        values: dict[str, Any] = write(self)
        if self.noise is None or not self.noise.share:
            values.pop("noise", None)
        return values

    @property
    def precomputed(self) -> bool:
        """Whether the encoder is a file of ready embeddings."""
        return self.encoder.lower().endswith(".npy")

    def resolved(self, base: Path) -> Self:
        """Return the settings with the path of a file or model folder relative to `base`."""
        path = base / self.encoder
        if self.precomputed or path.is_dir():
            return self.model_copy(update={"encoder": str(path)})
        return self

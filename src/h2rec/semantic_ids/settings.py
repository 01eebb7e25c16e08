"""Settings of the tokenizer, the `semantic_ids` block of a configuration."""

from typing import Literal

from pydantic import Field, field_validator

from h2rec.semantic_ids.quantizers import QUANTIZERS
from h2rec.semantic_ids.quantizers.pq import PQSettings
from h2rec.semantic_ids.quantizers.rqkmeans import KMeansSettings
from h2rec.semantic_ids.quantizers.rqvae_fitting import RQVAESettings
from h2rec.settings import Settings

Collisions = Literal["keep", "suffix", "reassign"]


class SemanticIdSettings(Settings):
    """How items get their codes."""

    quantizer: str = "rqvae"
    """rqvae, rqkmeans, pq, opq, one of another package, or a file of codes: PATH.index.json or PATH.json."""
    levels: int = Field(4, ge=1)
    """Codes per item, L."""
    codebook_size: int = Field(128, ge=2)
    """Codes per level, K."""
    pca: int | None = Field(None, ge=1)
    """Quantize this many principal components of the embeddings instead of the embeddings."""
    collisions: Collisions = "keep"
    """Items with the same codes: keep them so, add a suffix level, or reassign them to free codes."""
    rqvae: RQVAESettings = RQVAESettings()
    """Settings of RQ-VAE."""
    kmeans: KMeansSettings = KMeansSettings()
    """Settings of residual k-means."""
    pq: PQSettings = PQSettings()
    """Settings of PQ and OPQ."""

    @field_validator("quantizer")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.endswith(".json") or name in QUANTIZERS:
            return name
        raise ValueError(f"'{name}' is none of {', '.join(QUANTIZERS.names())} and no .json file of codes")

    @property
    def reads_file(self) -> bool:
        """Whether the codes come from a file, so that no embeddings are needed."""
        return self.quantizer.endswith(".json")

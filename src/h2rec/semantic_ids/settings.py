"""Settings of the tokenizer, the `semantic_ids` block of a configuration."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from h2rec.semantic_ids.quantizers.registry import NamedQuantizer, QuantizerSettings
from h2rec.settings import Settings

Collisions = Literal["keep", "suffix", "reassign"]


class SemanticIdSettings(Settings):
    """How items get their codes."""

    quantizer: NamedQuantizer = QuantizerSettings(name="rqvae")
    """rqvae, rqkmeans, pq, opq, or one of another package: a name, or a mapping of its name and its own settings. Or a
    file of codes: PATH.index.json or PATH.json."""
    levels: int = Field(4, ge=1)
    """Codes per item, L."""
    codebook_size: int = Field(128, ge=2)
    """Codes per level, K."""
    collisions: Collisions = "keep"
    """Items with the same codes: keep them so, add a suffix level, or reassign them to free codes."""

    @property
    def file(self) -> Path | None:
        """The file that the codes come from; None where a quantizer makes them."""
        return Path(self.quantizer.name) if self.quantizer.is_file else None

    def resolved(self, base: Path) -> Self:
        """Return the same settings with a relative path taken from a folder."""
        if self.file is None:
            return self
        return self.model_copy(update={"quantizer": QuantizerSettings(name=str(base / self.file))})

"""How item texts become embeddings."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from h2rec.settings import Settings
from h2rec.text.noise import NoiseSettings

MINILM, TFIDF = "minilm", "tfidf"
MOST_ENCODERS = 8


class TextSettings(Settings):
    """Which fields are read, and which encoder embeds them."""

    encoder: str | list[str] = Field([MINILM, TFIDF])
    """minilm, tfidf, any sentence-transformers model (hub name or folder), or a .npy of ready embeddings; several in a
    list: their embeddings stand side by side, all but the first at half length."""
    fields: list[str] | None = None
    """Text fields of the item file, in the order in which they are joined; null takes all of them."""
    dim: int = Field(default=256, ge=1)
    """Size of the embedding of `tfidf`; the others have their own."""
    noise: NoiseSettings | None = None
    """Spoil a share of the texts before they are embedded (experiments on robustness); null for none."""

    @model_serializer(mode="wrap")
    def _leave_out_no_noise(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Finished work without noise keeps its key.
        values: dict[str, Any] = write(self)
        if self.noise is None or not self.noise.share:
            values.pop("noise", None)
        return values

    @field_validator("encoder", mode="before")
    @classmethod
    def _join_encoders_of_texts(cls, encoder: Any) -> str | list[str]:
        names: list[str] = encoder if isinstance(encoder, list) else [encoder]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{encoder!r} names no encoder; write minilm, or a list: [minilm, tfidf]")
        if any("," in name and not Path(name).exists() for name in names):
            raise ValueError(f"{encoder!r} is no list; write [minilm, tfidf]")
        if len(set(names)) < len(names) or len(names) > MOST_ENCODERS:
            raise ValueError(f"{names} names an encoder twice, or more than {MOST_ENCODERS}")
        if len(names) > 1 and any(map(is_file_of_embeddings, names)):
            raise ValueError("ready embeddings (.npy) can't be joined with an encoder; join them in the file")
        return names[0] if len(names) == 1 else names

    @property
    def encoders(self) -> list[str]:
        """Names of the encoders, or of the file of ready embeddings."""
        return [self.encoder] if isinstance(self.encoder, str) else self.encoder

    @property
    def precomputed(self) -> Path | None:
        """The file of ready embeddings, if there is one."""
        return Path(self.encoders[0]) if is_file_of_embeddings(self.encoders[0]) else None

    def resolved(self, base: Path) -> Self:
        """Return the settings with the paths of a file or of model folders relative to `base`."""
        names = [encoder_path(name, base) for name in self.encoders]
        return self.model_copy(update={"encoder": names[0] if len(names) == 1 else names})


def encoder_path(name: str, base: Path) -> str:
    """Return the path of a file of embeddings or of a model's folder, relative to `base`; any other name as it is.

    A folder that is called as an encoder is, as a folder of runs may be, is not meant: `./tfidf` is.
    """
    if name in (MINILM, TFIDF):
        return name
    path = base / name
    return str(path) if is_file_of_embeddings(name) or path.is_dir() else name


def is_file_of_embeddings(name: str) -> bool:
    """Whether an encoder's name is that of a file of ready embeddings."""
    return name.lower().endswith(".npy")

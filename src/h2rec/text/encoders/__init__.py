"""Text encoders, one a file: made from settings, or loaded from a folder."""

from pathlib import Path

from h2rec.errors import ConfigError, DataError
from h2rec.files import read_json
from h2rec.text.encoders.precomputed import PrecomputedEncoder
from h2rec.text.encoders.sentence import SentenceEncoder
from h2rec.text.encoders.tfidf import TfidfEncoder
from h2rec.text.protocol import TextEncoder
from h2rec.text.settings import TextSettings

__all__ = ["PrecomputedEncoder", "SentenceEncoder", "TfidfEncoder", "build_encoder", "load_encoder"]

_KINDS: dict[str, type[TextEncoder]] = {
    "tfidf": TfidfEncoder,
    "sentence_transformers": SentenceEncoder,
    "precomputed": PrecomputedEncoder,
}


def build_encoder(settings: TextSettings, device: str | None = None) -> TextEncoder:
    """Make the encoder that the settings name, on a device; it may still need `fit`.

    Raises `ConfigError` for a file of ready embeddings, which is no encoder of texts.
    """
    if settings.precomputed:
        raise ConfigError(f"text.encoder: {settings.encoder} holds ready embeddings and can't embed texts")
    if settings.encoder == "tfidf":
        return TfidfEncoder(settings.dim)
    return SentenceEncoder(settings.encoder, device=device)


def load_encoder(folder: Path) -> TextEncoder:
    """Restore any encoder from what its `save` wrote; nothing in the folder is executed.

    Raises `DataError` if the folder is damaged or of an unknown kind.
    """
    description = read_json(folder / "encoder.json")
    kind = description.get("kind") if isinstance(description, dict) else None
    if kind not in _KINDS:
        raise DataError(f"{folder / 'encoder.json'}: unknown kind of encoder {kind!r}")
    return _KINDS[kind].load(folder)

"""Text encoders, one a file: made from settings, or loaded from a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from h2rec.errors import ConfigError, DataError
from h2rec.files import read_json
from h2rec.text.encoders.joined import KIND, JoinedEncoder
from h2rec.text.encoders.precomputed import PrecomputedEncoder
from h2rec.text.encoders.sentence import SentenceEncoder
from h2rec.text.encoders.tfidf import TfidfEncoder
from h2rec.text.protocol import TextEncoder
from h2rec.text.settings import MOST_ENCODERS, TFIDF, TextSettings

__all__ = [
    "JoinedEncoder",
    "PrecomputedEncoder",
    "SentenceEncoder",
    "TfidfEncoder",
    "build_encoder",
    "leading_columns",
    "load_encoder",
]

_LOADERS: dict[str, Callable[[Path], TextEncoder]] = {
    "tfidf": TfidfEncoder.load,
    "sentence_transformers": SentenceEncoder.load,
    "precomputed": PrecomputedEncoder.load,
}


def build_encoder(settings: TextSettings, device: str | None = None) -> TextEncoder:
    """Make the encoder that the settings name, on a device; it may still need `fit`.

    Raises `ConfigError` for a file of ready embeddings, which is no encoder of texts.
    """
    if settings.precomputed:
        raise ConfigError(f"text.encoder: {settings.encoder} holds ready embeddings and can't embed texts")
    parts: list[TextEncoder] = [
        TfidfEncoder(settings.dim) if name == TFIDF else SentenceEncoder(name, device=device)
        for name in settings.encoders
    ]
    return parts[0] if len(parts) == 1 else JoinedEncoder(parts)


def load_encoder(folder: Path) -> TextEncoder:
    """Restore any encoder from what its `save` wrote; nothing in the folder is executed.

    Raises `DataError` if the folder is damaged or of an unknown kind.
    """
    description = _description(folder)
    if description.get("kind") != KIND:
        return _load_one(folder, description)
    columns, others = _joined(folder, description)
    folders = [folder / str(number) for number in range(len(columns))]
    parts = [_load_one(part, _description(part)) for part in folders]
    if [part.encode([]).shape[1] for part in parts] != columns:
        raise DataError(f"{folder / 'encoder.json'}: the encoders in it have other columns than {columns}")
    return JoinedEncoder(parts, others)


def leading_columns(folder: Path) -> int | None:
    """How many columns of its embeddings are the first encoder's, where a folder holds several; None for a single one.

    Raises `DataError` if the folder is damaged.
    """
    description = _description(folder)
    return _joined(folder, description)[0][0] if description.get("kind") == KIND else None


def _joined(folder: Path, description: dict[str, Any]) -> tuple[list[int], float]:
    """Columns of each encoder, and the length of all but the first."""
    columns, others = description.get("columns"), description.get("others", 0)
    if (
        not isinstance(columns, list)
        or not 1 <= len(columns) <= MOST_ENCODERS
        or any(type(count) is not int or count < 0 for count in columns)
        or not (type(others) is float and 0 < others <= 1)
    ):
        raise DataError(
            f"{folder / 'encoder.json'}: not a description of several encoders",
            "if another version of h2rec made it, train again in a new folder",
        )
    return columns, others


def _load_one(folder: Path, description: dict[str, Any]) -> TextEncoder:
    kind = description.get("kind")
    if not isinstance(kind, str) or kind not in _LOADERS:
        raise DataError(f"{folder / 'encoder.json'}: unknown kind of encoder {kind!r}")
    return _LOADERS[kind](folder)


def _description(folder: Path) -> dict[str, Any]:
    description = read_json(folder / "encoder.json")
    return description if isinstance(description, dict) else {}

"""Several encoders as one: their embeddings of a text, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from h2rec.files import content_key, write_json
from h2rec.text.protocol import MOSTLY, TextEncoder

Vectors = npt.NDArray[np.float32]
KIND = "joined"


class JoinedEncoder:
    """Embeddings of several encoders side by side, all of the same weight.

    A sentence encoder knows what words mean, and blurs the names of brands and models; the words themselves tell these
    apart.
    """

    maker: str | None = None  # each part has a cache of its own

    def __init__(self, parts: Sequence[TextEncoder]) -> None:
        self.parts = tuple(parts)

    @property
    def name(self) -> str:
        return " + ".join(part.name for part in self.parts)

    @property
    def fingerprint(self) -> str:
        return content_key({"kind": KIND, "parts": [part.fingerprint for part in self.parts]})

    def unknown_share(self, texts: Sequence[str]) -> Vectors:
        share: Vectors = np.minimum.reduce([part.unknown_share(texts) for part in self.parts])
        return share

    def fit(self, texts: Sequence[str]) -> Self:
        for part in self.parts:
            part.fit(texts)
        return self

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self.join(texts, [part.encode(texts) for part in self.parts])

    def join(self, texts: Sequence[str], embeddings: Sequence[Vectors]) -> Vectors:
        """Put each part's embeddings of the texts, `[n, m]`, side by side, at unit length or zero.

        A part to which half of a text is unknown leaves it to the others, where one knows more: to a sentence encoder
        all texts of an unknown script are one, whatever numbers they hold.
        """
        unknown = np.stack([part.unknown_share(texts) for part in self.parts])
        known = (unknown < MOSTLY) | ((unknown.min(axis=0) >= MOSTLY) & (unknown < 1))
        vectors = np.concatenate(embeddings, axis=1)
        stop = 0
        for rows, told in zip(embeddings, known, strict=True):
            start, stop = stop, stop + rows.shape[1]
            vectors[~told, start:stop] = 0
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(np.finfo(np.float32).tiny)
        return vectors

    def save(self, folder: Path) -> None:
        write_json(folder / "encoder.json", {"kind": KIND, "parts": len(self.parts)})
        for number, part in enumerate(self.parts):
            (folder / str(number)).mkdir()
            part.save(folder / str(number))


def leading_columns(encoder: TextEncoder) -> int | None:
    """How many columns of its embeddings are the first encoder's, where it is several; None for a single one."""
    return encoder.parts[0].encode([]).shape[1] if isinstance(encoder, JoinedEncoder) else None

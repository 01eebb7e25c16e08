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
OTHERS = 0.5
"""Length of the embeddings of all encoders but the first, whose length is 1: which words texts have in common says less
surely what goes with what than what they mean."""


class JoinedEncoder:
    """Embeddings of several encoders side by side, all but the first at half length.

    A sentence encoder knows what words mean, and blurs the names of brands and models; the words themselves tell these
    apart.
    """

    maker: str | None = None  # each part has a cache of its own

    def __init__(self, parts: Sequence[TextEncoder], others: float = OTHERS) -> None:
        """`others`: length of the embeddings of all parts but the first, at most 1."""
        self.parts = tuple(parts)
        self.others = float(others)

    @property
    def name(self) -> str:
        return " + ".join(part.name for part in self.parts)

    @property
    def fingerprint(self) -> str:
        return content_key({"others": self.others, "parts": [part.fingerprint for part in self.parts]})

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
        lengths = np.where(known, np.array([1, *[self.others] * (len(known) - 1)], np.float32)[:, None], 0)
        vectors: Vectors = np.concatenate(embeddings, axis=1)
        starts = np.cumsum([rows.shape[1] for rows in embeddings])[:-1]
        for columns, told in zip(np.split(vectors, starts, axis=1), lengths, strict=True):
            np.multiply(columns, told[:, None], out=columns)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(np.finfo(np.float32).tiny)
        return vectors

    def save(self, folder: Path) -> None:
        columns = [part.encode([]).shape[1] for part in self.parts]
        write_json(folder / "encoder.json", {"kind": KIND, "columns": columns, "others": self.others})
        for number, part in enumerate(self.parts):
            (folder / str(number)).mkdir()
            part.save(folder / str(number))

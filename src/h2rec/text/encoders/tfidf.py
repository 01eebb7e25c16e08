"""TF-IDF and a truncated SVD (latent semantic analysis): no download, seconds to fit."""

import heapq
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from h2rec.errors import DataError
from h2rec.files import array_hash, content_key, read_json, write_json
from h2rec.text.words import words as words_of

_SEED = 0
_MOST_WORDS = 50_000
"""The most frequent words, 51 MB of a bundle at 256 dimensions; rarer ones are in too few texts to relate them."""
_LEAST_LENGTH = 0.01
"""A text of whose words, of length 1, less than this lies in the main directions says nothing."""


class TfidfEncoder:
    """Latent semantic analysis of the catalogue's words; a text without any word seen in `fit` is embedded as zeros.

    The embedding has fewer than `dim` dimensions if the catalogue has fewer texts or words.
    """

    name = "tfidf"
    maker: str | None = None  # encoding is faster than reading a cache

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.words: list[str] | None = None
        self.idf = np.empty(0, np.float32)
        self.components = np.empty((0, 0), np.float32)

    @property
    def fingerprint(self) -> str:
        return content_key(
            {
                "kind": "tfidf",
                "words": self._fitted_words(),
                "idf": array_hash(self.idf),
                "components": array_hash(self.components),
            }
        )

    def unknown_share(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        known = set(self._fitted_words())
        words = [words_of(text) for text in texts]
        shares = [sum(word not in known for word in row) / len(row) if row else 1 for row in words]
        return np.array(shares, np.float32)

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn words, their weights and the main directions; where there is no word all embeddings are empty."""
        self.__dict__.pop("_fitted_vectorizer", None)
        counts = Counter(word for text in texts for word in set(words_of(text)))
        # Of equally frequent words the first by alphabet, on every machine.
        most = heapq.nsmallest(_MOST_WORDS, counts, key=lambda word: (-counts[word], word))
        self.words = sorted(most)
        if not self.words:
            self.idf, self.components = np.empty(0, np.float32), np.empty((0, 0), np.float32)
            return self
        vectorizer = _vectorizer(self.words)
        weights = vectorizer.fit_transform(texts)
        self.idf = vectorizer.idf_.astype(np.float32)
        self.components = _main_directions(weights, self.dim)
        return self

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if len(texts) == 0 or not self._fitted_words():
            return np.zeros((len(texts), len(self.components)), np.float32)
        vectors: npt.NDArray[np.float32] = (
            self._fitted_vectorizer.transform(texts) @ self.components.T
        ).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.zeros_like(vectors)
        np.divide(vectors, lengths, out=unit, where=lengths > _LEAST_LENGTH)
        return unit

    def save(self, folder: Path) -> None:
        write_json(folder / "encoder.json", {"kind": "tfidf", "dim": self.dim, "words": self._fitted_words()})
        save_file({"idf": self.idf, "components": self.components}, folder / "encoder.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        description = read_json(folder / "encoder.json")
        path = folder / "encoder.safetensors"
        try:
            arrays = load_file(path)
            encoder = cls(int(description["dim"]))
            encoder.words = [str(word) for word in description["words"]]
            encoder.idf, encoder.components = arrays["idf"], arrays["components"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder}: can't read the TF-IDF encoder ({error})") from None
        words = len(encoder.words)
        if encoder.idf.shape != (words,) or encoder.components.shape[1:] != (words,):
            raise DataError(f"{folder}: the words and weights of the TF-IDF encoder do not fit together")
        return encoder

    def _fitted_words(self) -> list[str]:
        if self.words is None:
            raise RuntimeError("the TF-IDF encoder is not fitted: call fit(texts) first")
        return self.words

    @cached_property
    def _fitted_vectorizer(self) -> Any:
        vectorizer = _vectorizer(self._fitted_words())
        vectorizer.idf_ = self.idf
        return vectorizer


def _main_directions(weights: Any, dim: int) -> npt.NDArray[np.float32]:
    """Directions of the largest variance, `[up to dim, words]`."""
    if weights.shape[1] == 1:
        return np.ones((1, 1), np.float32)  # scikit-learn wants two words or more
    from sklearn.decomposition import TruncatedSVD

    with np.errstate(invalid="ignore"):  # texts that are all alike have no shares of their variance
        decomposition = TruncatedSVD(min(dim, *weights.shape), random_state=_SEED).fit(weights)
    # safetensors writes bytes in memory order, whatever the order of the axes.
    return np.ascontiguousarray(decomposition.components_, dtype=np.float32)


def _vectorizer(words: list[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # imported late: two seconds

    return TfidfVectorizer(
        sublinear_tf=True, analyzer=words_of, lowercase=False, vocabulary=words, dtype=np.float32
    )

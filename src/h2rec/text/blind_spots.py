"""Texts that an encoder can't read or can't distinguish."""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from h2rec.text.protocol import TextEncoder

logger = logging.getLogger(__name__)

OTHER_ENCODERS = (
    "text.encoder: tfidf knows the words of every script, and "
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2 those of 50 languages"
)
_MOSTLY = 0.5
_SHOWN = 3


def understood(
    ids: Sequence[str], texts: Sequence[str], vectors: npt.NDArray[np.float32], encoder: TextEncoder
) -> npt.NDArray[np.bool_]:
    """Which texts the encoder understood, bool `[n]`; warns of the others, with counts and examples.

    A text is not understood if its vector is zero, or none of its words or tokens is known. Also warns of texts that
    are mostly unknown, and of different texts with one vector.
    """
    if len(texts) == 0:
        return np.zeros(0, np.bool_)
    unknown = encoder.unknown_share(texts)
    known = vectors.any(axis=1) & (unknown < 1)
    if not known.all():
        count = int((~known).sum())
        logger.warning(
            "%s of %s texts hold no word that the encoder %s knows, such as those of %s: "
            "they count as items without text; %s",
            f"{count:,}",
            f"{len(texts):,}",
            encoder.name,
            _examples(ids, np.flatnonzero(~known)),
            OTHER_ENCODERS,
        )
    mostly = np.flatnonzero(known & (unknown > _MOSTLY))
    if len(mostly):
        logger.warning(
            "more than half of %s of %s texts is unknown to the encoder %s, such as those of %s; %s",
            f"{len(mostly):,}",
            f"{len(texts):,}",
            encoder.name,
            _examples(ids, mostly),
            OTHER_ENCODERS,
        )
    _warn_of_equal_vectors(ids, texts, vectors, known)
    return known


def _warn_of_equal_vectors(
    ids: Sequence[str], texts: Sequence[str], vectors: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]
) -> None:
    rows_of: dict[bytes, dict[str, int]] = {}
    for row in np.flatnonzero(known).tolist():
        rows_of.setdefault(vectors[row].tobytes(), {}).setdefault(texts[row], row)
    groups = [list(rows.values()) for rows in rows_of.values() if len(rows) > 1]
    if groups:
        largest = max(groups, key=len)
        logger.warning(
            "%s different texts share their embedding with another one, such as those of %s: "
            "the encoder can't tell them apart",
            f"{sum(map(len, groups)):,}",
            _examples(ids, np.array(largest)),
        )


def _examples(ids: Sequence[str], rows: npt.NDArray[np.integer]) -> str:
    return ", ".join(repr(ids[row]) for row in rows[:_SHOWN]) + (", .." if len(rows) > _SHOWN else "")

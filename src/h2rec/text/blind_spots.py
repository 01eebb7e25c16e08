"""Texts that an encoder can't read or can't distinguish."""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from h2rec.text.encoders.joined import JoinedEncoder
from h2rec.text.protocol import MOSTLY, TextEncoder
from h2rec.text.settings import TFIDF

logger = logging.getLogger(__name__)

_SHOWN = 3
_NOTHING_KNOWN = (
    "%s of %s texts hold no word that the encoder %s knows, such as those of %s: "
    "they count as items without text; %s"
)
_MOSTLY_UNKNOWN = "more than half of %s of %s texts is unknown to the encoder %s, such as those of %s; %s"


def understood(
    ids: Sequence[str], texts: Sequence[str], vectors: npt.NDArray[np.float32], encoder: TextEncoder
) -> npt.NDArray[np.bool_]:
    """Which texts the encoder understood, bool `[n]`; warns of the others, with counts and examples.

    A text is not understood if its vector is zero, or none of its words or tokens is known. Also warns of texts that
    are mostly unknown, and of different texts with one vector.
    """
    if len(texts) == 0:
        return np.zeros(0, np.bool_)
    parts = encoder.parts if isinstance(encoder, JoinedEncoder) else (encoder,)
    shares = [part.unknown_share(texts) for part in parts]
    unknown = np.minimum.reduce(shares)
    known: npt.NDArray[np.bool_] = vectors.any(axis=1) & (unknown < 1)
    told: list[tuple[str, npt.NDArray[np.bool_], TextEncoder, str]] = [
        (_NOTHING_KNOWN, ~known, encoder, other_encoders(encoder)),
        (_MOSTLY_UNKNOWN, known & (unknown > MOSTLY), encoder, other_encoders(encoder)),
    ]
    if len(parts) > 1:
        read = "the others read them"
        told += [
            (_MOSTLY_UNKNOWN, (unknown <= MOSTLY) & (share > MOSTLY), part, read)
            for part, share in zip(parts, shares, strict=True)
        ]
    for message, which, whose, hint in told:
        if which.any():
            rows = np.flatnonzero(which)
            logger.warning(
                message, f"{len(rows):,}", f"{len(texts):,}", whose.name, _examples(ids, rows), hint
            )
    _warn_of_equal_vectors(ids, texts, vectors, known)
    return known


def other_encoders(encoder: TextEncoder) -> str:
    """Name encoders that know more languages than this one."""
    model = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
    if isinstance(encoder, JoinedEncoder):
        return f"text.encoder: [{model}, tfidf] knows 50 languages"
    words = "" if encoder.name == TFIDF else "tfidf knows the words of every script, and "
    return f"text.encoder: {words}{model} knows 50 languages"


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

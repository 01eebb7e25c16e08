"""Items that share their whole tuple, and whether a quantizer could have separated them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import Embeddings

SAME_EMBEDDING = 1e-5
"""Squared distance over squared length up to which embeddings count as the same: encoders round."""
SHOWN_GROUPS = 10
COMPARED_CONTENTS = 2000
"""Most embeddings of a tuple that are compared up to rounding; among more, any difference counts."""
SHOWN_ITEMS = 6


@dataclass(frozen=True)
class SharedTuple:
    """Items with the same codes."""

    codes: tuple[int, ...]
    """The tuple."""
    items: int
    """How many share it."""
    distinct: int | None
    """How many different contents (texts or embeddings) they have; None when neither is known."""
    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    """The first few of them; empty when not known."""


@dataclass(frozen=True)
class CollisionCount:
    """Collisions of a catalogue."""

    items: int
    distinct_tuples: int
    """Items, and different tuples among their codes."""
    colliding: int
    """Items that share their tuple with another."""
    unavoidable: int | None
    """Those that share it only with items of the same content, which no quantizer can separate; None without texts and
    embeddings."""
    same_words: int | None
    """Of the others, those that share it only with items of the same words in another order; None without texts."""
    largest: tuple[SharedTuple, ...]
    """The fullest tuples."""

    @property
    def avoidable(self) -> int | None:
        """Items that share their tuple with one of another content: collisions due to the quantizer."""
        return None if self.unavoidable is None else self.colliding - self.unavoidable

    @property
    def rate(self) -> float:
        """Share of the items that share their tuple with another."""
        return self.colliding / max(1, self.items)


def count_collisions(
    semantic_ids: SemanticIds,
    embeddings: Embeddings | None = None,
    texts: Sequence[str] | None = None,
    item_ids: Sequence[str] | None = None,
) -> CollisionCount:
    """Count collisions; texts `[N]` or embeddings `[N, m]` show which items have the same content.

    Texts that differ only in case or white space are the same content, and so are nearly equal embeddings.
    """
    group, size = semantic_ids.tuple_groups()
    colliding = np.flatnonzero(size > 1)
    by_group = colliding[np.argsort(group[colliding], kind="stable")]
    bounds = np.flatnonzero(np.diff(group[by_group], prepend=-1, append=-1))
    known = embeddings is not None or texts is not None
    unavoidable = same_words = 0
    shared = []
    for begin, end in pairwise(bounds):
        rows = by_group[begin:end]
        distinct = _distinct_contents(rows, embeddings, texts) if known else None
        if distinct == 1:
            unavoidable += len(rows)
        elif texts is not None and len({_words(texts[row]) for row in rows}) == 1:
            same_words += len(rows)
        shared.append((rows, distinct))
    # Among tuples of the same size, those that the quantizer could have split come first.
    shared.sort(key=lambda entry: (-len(entry[0]), -(entry[1] or 0)))
    largest = tuple(
        SharedTuple(
            codes=tuple(semantic_ids.codes[rows[0]].tolist()),
            items=len(rows),
            distinct=distinct,
            item_ids=() if item_ids is None else tuple(item_ids[row] for row in rows[:SHOWN_ITEMS]),
            titles=() if texts is None else tuple(shortened(texts[row]) for row in rows[:SHOWN_ITEMS]),
        )
        for rows, distinct in shared[:SHOWN_GROUPS]
    )
    return CollisionCount(
        items=len(semantic_ids),
        distinct_tuples=int(group.max(initial=-1)) + 1,
        colliding=len(colliding),
        unavoidable=unavoidable if known else None,
        same_words=None if texts is None else same_words,
        largest=largest,
    )


def shortened(text: str, length: int = 80) -> str:
    """Return the start of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _words(text: str) -> tuple[str, ...]:
    return tuple(sorted(re.findall(r"\w+", text.casefold())))


def _distinct_contents(
    rows: npt.NDArray[np.int64], embeddings: Embeddings | None, texts: Sequence[str] | None
) -> int:
    # Items with the same text, or with the same embedding up to rounding, are one content. A group may be a whole
    # catalogue, with too many pairs to compare: equal texts and equal vectors are merged first.
    if texts is not None:
        rows = np.array([*{" ".join(texts[row].casefold().split()): row for row in rows.tolist()}.values()])
    if embeddings is None:
        return len(rows)
    vectors = np.unique(np.asarray(embeddings[rows]), axis=0)
    if len(vectors) > COMPARED_CONTENTS:
        return len(vectors)
    leaders = vectors[:1]
    for vector in vectors[1:]:
        if (np.square(leaders - vector).sum(axis=1) > SAME_EMBEDDING * np.square(vector).sum()).all():
            leaders = np.concatenate([leaders, vector[None]])
    return len(leaders)

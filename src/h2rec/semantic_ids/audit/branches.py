"""The code tree, coarse to fine, each branch labelled with the words typical of its items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.utils.extmath import randomized_svd

from h2rec.semantic_ids.audit.shared import shortened
from h2rec.semantic_ids.codes import CodeArray, SemanticIds

DEPTH = 3
CHILDREN = (12, 6)
"""Most children shown of a branch of the first and of the second level."""
WORDS = 4
EXAMPLES = 4
THEMES = 12

Rows = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Branch:
    """Items that share their first codes.

    Parameters
    ----------
    codes
        The codes shared, one to `DEPTH` of them.
    items
        How many items.
    words
        Words frequent here and rarer in the branch above, most typical first.
    examples
        Texts of a few items.
    children
        Fullest branches one level down.
    theme
        Branches of the first level with like words have the same number.
    """

    codes: tuple[int, ...]
    items: int
    words: tuple[str, ...]
    examples: tuple[str, ...]
    children: tuple["Branch", ...]
    theme: int = 0


@dataclass(frozen=True)
class Theme:
    """First-level branches with like words: words typical of them all, and how many items they hold."""

    words: tuple[str, ...]
    items: int


@dataclass(frozen=True)
class Vocabulary:
    """Which words each text has: `has` is sparse `[N, V]` of 0 and 1."""

    words: npt.NDArray[np.object_]
    has: csr_array


@dataclass(frozen=True, eq=False)
class Labelled:
    """Codes and texts of the same `N` items; no vocabulary where no word occurs twice."""

    codes: CodeArray
    texts: Sequence[str]
    vocabulary: Vocabulary | None


def code_tree(
    semantic_ids: SemanticIds, texts: Sequence[str]
) -> tuple[tuple[Branch, ...], tuple[Theme, ...]]:
    """Return the branches of the first level, fullest first, and the themes that they belong to."""
    vocabulary = _vocabulary(texts)
    rows = np.arange(len(semantic_ids))
    roots = _children(Labelled(semantic_ids.codes, texts, vocabulary), (), rows, None)
    members = [rows[semantic_ids.codes[:, 0] == branch.codes[0]] for branch in roots]
    numbers = _themes(vocabulary, members)
    everything = _shares(vocabulary, rows)
    themes = []
    for number in range(int(numbers.max(initial=-1)) + 1):
        of_theme = np.concatenate([part for part, n in zip(members, numbers, strict=True) if n == number])
        themes.append(Theme(_typical_words(vocabulary, of_theme, everything), len(of_theme)))
    numbered = (
        Branch(b.codes, b.items, b.words, b.examples, b.children, int(number))
        for b, number in zip(roots, numbers, strict=True)
    )
    return tuple(numbered), tuple(themes)


def _children(items: Labelled, prefix: tuple[int, ...], rows: Rows, limit: int | None) -> tuple[Branch, ...]:
    """Return the fullest branches below a prefix that the given rows share."""
    codes = items.codes[rows, len(prefix)]
    loads = np.bincount(codes)
    fullest = np.argsort(-loads, kind="stable")[:limit]
    above = _shares(items.vocabulary, rows)
    branches = []
    for code in fullest[loads[fullest] > 0].tolist():
        inside = rows[codes == code]
        path = (*prefix, code)
        deeper = len(path) < min(DEPTH, items.codes.shape[1]) and len(inside) > 1
        branches.append(
            Branch(
                codes=path,
                items=len(inside),
                words=_typical_words(items.vocabulary, inside, above),
                examples=tuple(shortened(items.texts[row], 60) for row in inside[:EXAMPLES].tolist()),
                children=_children(items, path, inside, CHILDREN[len(prefix)]) if deeper else (),
            )
        )
    return tuple(branches)


def _vocabulary(texts: Sequence[str]) -> Vocabulary | None:
    counter = CountVectorizer(
        stop_words="english",
        binary=True,
        min_df=2,
        max_features=20_000,
        token_pattern=r"(?u)\b[^\W\d_]{3,}\b",
    )
    try:
        has = counter.fit_transform(texts)
    except ValueError:  # no word occurs twice
        return None
    return Vocabulary(
        np.array(counter.get_feature_names_out(), dtype=object), csr_array(has, dtype=np.float32)
    )


def _shares(vocabulary: Vocabulary | None, rows: Rows) -> Shares | None:
    """Share of the rows that have each word, `[V]`."""
    if vocabulary is None:
        return None
    counts: Shares = np.asarray(vocabulary.has[rows].sum(axis=0), dtype=np.float64).reshape(-1)
    return counts / max(1, len(rows))


def _typical_words(vocabulary: Vocabulary | None, rows: Rows, above: Shares | None) -> tuple[str, ...]:
    inside = _shares(vocabulary, rows)
    if vocabulary is None or inside is None or above is None:
        return ()
    # The word's part in the divergence of this branch from the one above: frequent here, rarer there.
    # Below the surface all items of a branch may have the same words; then the frequent ones must do.
    score = inside * (np.log(np.maximum(inside, 1e-9) / np.maximum(above, 1e-9)) + 0.05)
    best = np.argsort(-score, kind="stable")[:WORDS]
    return tuple(vocabulary.words[best[score[best] > 0]].tolist())


def _themes(vocabulary: Vocabulary | None, members: list[Rows]) -> npt.NDArray[np.int64]:
    """Group the first-level branches by their words; a number for each."""
    if vocabulary is None or len(members) <= THEMES:
        return np.zeros(len(members), dtype=np.int64)
    shares = np.stack([share for rows in members if (share := _shares(vocabulary, rows)) is not None])
    weighted = np.sqrt(shares)
    weighted -= weighted.mean(axis=0)
    left, values, _ = randomized_svd(weighted, n_components=min(30, len(members) - 1), random_state=0)
    points = left * values
    grouping = AgglomerativeClustering(THEMES, metric="euclidean", linkage="ward").fit(points)
    return np.asarray(grouping.labels_, dtype=np.int64)

"""The code tree, coarse to fine, each branch labelled with the words typical of its items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.audit.shared import shortened
from h2rec.semantic_ids.codes import SemanticIds

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
    """Items that share their first codes."""

    codes: tuple[int, ...]
    """The codes shared, one to `DEPTH` of them."""
    items: int
    """How many items."""
    words: tuple[str, ...]
    """Words frequent here and rarer in the branch above, most typical first."""
    examples: tuple[str, ...]
    """Texts of a few items."""
    children: tuple["Branch", ...]
    """Fullest branches one level down."""

    @property
    def size(self) -> str:
        """How many items, in words."""
        return f"{self.items:,} item{'' if self.items == 1 else 's'}"

    theme: int = 0
    """Branches of the first level with like words have the same number."""


@dataclass(frozen=True)
class Theme:
    """First-level branches with like words: words typical of them all, and how many items they hold."""

    words: tuple[str, ...]
    items: int


class _Words:
    """Which words each of `N` texts has; no words where none occurs twice."""

    def __init__(self, texts: Sequence[str]) -> None:
        # Imported late: two seconds, which a command that makes no codes need not wait.
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import CountVectorizer

        counter = CountVectorizer(
            stop_words="english",
            binary=True,
            min_df=2,
            max_features=20_000,
            token_pattern=r"(?u)\b[^\W\d_]{3,}\b",
        )
        try:
            self.has = csr_array(counter.fit_transform(texts), dtype=np.float32)  # [N, V] of 0 and 1
            self.words = np.array(counter.get_feature_names_out(), dtype=object)
        except ValueError:  # no word occurs twice
            self.has, self.words = csr_array((len(texts), 0), dtype=np.float32), np.array([], dtype=object)

    def shares(self, rows: Rows) -> Shares:
        """Share of the rows that have each word, `[V]`."""
        counts: Shares = np.asarray(self.has[rows].sum(axis=0), dtype=np.float64).reshape(-1)
        return counts / max(1, len(rows))

    def typical(self, rows: Rows, above: Shares) -> tuple[str, ...]:
        """Words frequent in the rows and rarer in the branch above, most typical first."""
        inside = self.shares(rows)
        # The word's part in the divergence of this branch from the one above: frequent here, rarer there.
        # Where all items of a branch have the same words, the frequent ones remain.
        score = inside * (np.log(np.maximum(inside, 1e-9) / np.maximum(above, 1e-9)) + 0.05)
        best = np.argsort(-score, kind="stable")[:WORDS]
        return tuple(self.words[best[score[best] > 0]].tolist())

    def themes(self, members: list[Rows]) -> npt.NDArray[np.int64]:
        """Group sets of rows by their words; a number for each."""
        if len(self.words) == 0 or len(members) <= THEMES:
            return np.zeros(len(members), dtype=np.int64)
        from sklearn.cluster import AgglomerativeClustering
        from sklearn.utils.extmath import randomized_svd

        weighted = np.sqrt(np.stack([self.shares(rows) for rows in members]))
        weighted -= weighted.mean(axis=0)
        left, values, _ = randomized_svd(weighted, n_components=min(30, len(members) - 1), random_state=0)
        grouping = AgglomerativeClustering(THEMES, metric="euclidean", linkage="ward").fit(left * values)
        return np.asarray(grouping.labels_, dtype=np.int64)


def code_tree(
    semantic_ids: SemanticIds, texts: Sequence[str]
) -> tuple[tuple[Branch, ...], tuple[Theme, ...]]:
    """Return the branches of the first level, fullest first, and the themes that they belong to."""
    words, codes = _Words(texts), semantic_ids.codes

    def children(prefix: tuple[int, ...], rows: Rows, limit: int | None) -> tuple[Branch, ...]:
        """Fullest branches below a prefix that the given rows share."""
        following = codes[rows, len(prefix)]
        loads = np.bincount(following)
        above = words.shares(rows)
        branches = []
        for code in np.argsort(-loads, kind="stable")[:limit].tolist():
            if loads[code] == 0:
                break
            inside, path = rows[following == code], (*prefix, code)
            deeper = len(path) < min(DEPTH, semantic_ids.levels) and len(inside) > 1
            examples = tuple(shortened(texts[row], 60) for row in inside[:EXAMPLES].tolist())
            below = children(path, inside, CHILDREN[len(prefix)]) if deeper else ()
            branches.append(Branch(path, len(inside), words.typical(inside, above), examples, below))
        return tuple(branches)

    rows = np.arange(len(semantic_ids))
    roots = children((), rows, None)
    members = [rows[codes[:, 0] == branch.codes[0]] for branch in roots]
    numbers = words.themes(members)
    everything = words.shares(rows)
    themes = []
    for number in range(int(numbers.max(initial=-1)) + 1):
        inside = np.concatenate([rows for rows, n in zip(members, numbers, strict=True) if n == number])
        themes.append(Theme(words.typical(inside, everything), len(inside)))
    numbered = (replace(root, theme=int(n)) for root, n in zip(roots, numbers, strict=True))
    return tuple(numbered), tuple(themes)

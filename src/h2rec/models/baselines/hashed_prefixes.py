"""PG-SID: every prefix of an item's code tuple has a row in one hashed table; an item is their sum.

Zheng et al., "Enhancing Embedding Representation Stability in Recommendation Systems with Semantic ID", 2025
(arXiv 2504.02137), prefix n-grams; after the n-grams of Singh et al., RecSys 2024 (arXiv 2306.08121). Items
that share a prefix share its row on purpose; the hash adds accidental sharing: of ``n`` prefixes in ``R`` rows, ``n`` a
good deal smaller, about ``n / R`` share one.
"""

from typing import Self

import numpy as np

from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.tables import TableBranch
from h2rec.models.features import ItemFeatures
from h2rec.models.row_sum import RowArray, RowSum
from h2rec.models.settings import BranchModelSettings
from h2rec.semantic_ids.codes import CodeArray

PRIME = 2**31 - 1
MULTIPLIER = 1_000_003
ROWS = 262_144
"""Rows of the table: several for each prefix of our catalogues, or many would share one by accident."""


class HashedPrefixesBranch(TableBranch):
    """A backbone over sums of hashed prefixes."""

    reads_codes = True

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        rows = prefix_rows(features.require_codes("a branch of hashed prefixes").codes, ROWS)
        return cls(settings, model, RowSum(rows, ROWS, model.dim, stored=False))


def prefix_rows(codes: CodeArray, row_count: int) -> RowArray:
    """Hash the prefixes of every item's codes to rows 1..R.

    A prefix ``(c_1 .. c_p)`` is the polynomial ``h_p = h_{p-1} * 1000003 + c_p + 1  (mod 2^31 - 1)`` with
    ``h_0 = 0``, and its row is ``h_p mod R + 1``. Levels and codebook sizes need no bound: plain products of
    codebook sizes would overflow, and a table of 2^n rows would forget the coarse codes of a 2^m codebook.

    `codes`: `[N, L]`.
    `row_count`: R.

    Returns `[N, L]`, the prefix of length p in column ``p - 1``.
    """
    rows = np.zeros(codes.shape, dtype=np.int64)
    state = np.zeros(len(codes), dtype=np.int64)
    for level, column in enumerate(codes.T.astype(np.int64)):
        state = (state * MULTIPLIER + column + 1) % PRIME
        rows[:, level] = state % row_count + 1
    return rows

"""Whether the arms got the users that they were meant to get: a sample-ratio mismatch voids an experiment."""

from collections.abc import Mapping
from typing import Any

from scipy import stats

MISMATCH = 1e-3
"""A p-value below says that the assignment or the log is broken (Fabijan et al. 2019)."""


def sample_ratio(users: Mapping[str, int], shares: Mapping[str, float] | None) -> dict[str, Any]:
    """Compare numbers of users by arm with their shares, equal if None, by a chi-square test.

    Returns `users`, `expected`, `statistic`, `p`, `mismatch`.
    """
    wanted = [1.0 if shares is None else shares[arm] for arm in users]
    total = sum(users.values())
    expected = [total * share / sum(wanted) for share in wanted]
    found = stats.chisquare(list(users.values()), expected)
    return {
        "users": dict(users),
        "expected": dict(zip(users, expected, strict=True)),
        "statistic": float(found.statistic),
        "p": float(found.pvalue),
        "mismatch": bool(found.pvalue < MISMATCH),
    }

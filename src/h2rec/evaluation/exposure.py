"""Which items the recommended lists show: coverage, tail share, concentration and popularity."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from h2rec.evaluation.groups import Bools, Ints


def exposure(top: Ints, ks: Sequence[int], head: Bools, train_counts: Ints) -> dict[str, float]:
    """Measure the recommended lists, cut at each `k`.

    Parameters
    ----------
    top
        Recommended lists, `[cases, at least max(ks)]`, 0 where a list ends early.
    head
        Which items are head items, `[N + 1]`, padding first.
    train_counts
        Training interactions of each item, `[N + 1]`, padding first.

    Returns ``coverage@k``: share of the catalogue that is in some list. ``tail_share@k``: share of the listed places
    that tail items get. ``gini@k``: Gini coefficient of places over all items, 0 if each gets the same, near 1 if few
    get all. ``popularity@k``: mean training count over the listed places.
    """
    figures = {}
    for k in ks:
        places = np.bincount(top[:, :k].ravel(), minlength=len(head)).astype(np.float64)
        places[0] = 0
        total = max(places.sum(), 1.0)
        figures[f"coverage@{k}"] = float((places[1:] > 0).mean())
        figures[f"tail_share@{k}"] = float(places[~head].sum() / total)
        figures[f"gini@{k}"] = gini(places[1:])
        figures[f"popularity@{k}"] = float(places @ train_counts / total)
    return figures


def gini(amounts: npt.NDArray[np.float64]) -> float:
    """Gini coefficient of non-negative amounts `[n]`: half the relative mean absolute difference."""
    ordered = np.sort(amounts)
    total = ordered.sum()
    if total == 0:
        return 0.0
    place = np.arange(1, len(ordered) + 1)
    return float(((2 * place - len(ordered) - 1) * ordered).sum() / (len(ordered) * total))

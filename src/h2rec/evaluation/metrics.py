"""Accuracy, from ranks alone.

With one target per case (leave-one-out), Recall@k equals Hit@k. Both names are understood; only ``hit@k`` is written.
NDCG@k is ``1 / log2(1 + rank)`` within the list, as its ideal is 1.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from h2rec.errors import ConfigError

Floats = npt.NDArray[np.float64]
Block = dict[str, float | int | None]
"""``cases`` and the metrics of one slice; a metric of no cases is None."""


def per_case(ranks: npt.NDArray[np.integer], metric: str) -> Floats:
    """Value of a metric for every case, float64 `[cases]`.

    `ranks`: rank of the target, `[cases]`, 1 is best; `metric`: ``hit@k``, ``recall@k``, ``ndcg@k`` or ``mrr``.

    Raises `ConfigError` if there is no such metric.
    """
    kind, _, cutoff = metric_name(metric).partition("@")
    if kind == "mrr":
        return 1.0 / ranks
    gain = 1.0 / np.log2(1.0 + ranks) if kind == "ndcg" else 1.0
    return np.where(ranks <= int(cutoff), gain, 0.0)


def metric_name(metric: str) -> str:
    """Name under which a metric is written: ``hit@10`` for ``recall@10``.

    Raises `ConfigError` if there is no such metric.
    """
    match = re.fullmatch(r"mrr|(hit|recall|ndcg)@[1-9]\d*", metric)
    if match is None:
        raise ConfigError(f"unknown metric '{metric}'", "valid are hit@k, recall@k, ndcg@k and mrr")
    return re.sub("^recall", "hit", metric)


def summarize(ranks: npt.NDArray[np.integer], ks: Sequence[int], weights: Floats | None = None) -> Block:
    """Mean metrics of some cases.

    `ranks`: rank of the target, `[cases]`; `ks`: cut-offs; `weights`: of the cases, not negative, equal if None.
    """
    names = ["mrr", *(f"{metric}@{k}" for metric in ("hit", "ndcg") for k in ks)]
    block: Block = {"cases": len(ranks)}
    if len(ranks) == 0 or (weights is not None and not weights.any()):
        return block | dict.fromkeys(names)
    for name in names:
        block[name] = float(np.average(per_case(ranks, name), weights=weights))
    return block


def metric_value(metrics: Mapping[str, Any], name: str) -> float:
    """Look up a figure by its path: ``full.overall.ndcg@10``, or ``full.groups.popularity.1.hit@10`` of a group.

    Raises `ConfigError` if there is no such figure (the nearest valid name is given), or it has no cases.
    """
    figures = dict(_flatten(metrics))
    value = figures.get(re.sub(r"(^|\.)recall@", r"\1hit@", name), "absent")
    if value == "absent":
        nearest = difflib.get_close_matches(name, figures, n=1, cutoff=0.3)
        raise ConfigError(
            f"unknown metric '{name}'", f"did you mean '{nearest[0]}'?" if nearest else "nothing was measured"
        )
    if value is None:
        raise ConfigError(f"metric '{name}' has no cases in this data", "choose another slice")
    return float(value)


def _flatten(node: Any, path: str = "") -> Iterator[tuple[str, float | None]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in ("name", "kind"):
                yield from _flatten(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for group in node:
            yield from _flatten(group, f"{path}.{group['kind']}.{group['name']}")
    else:
        yield path, node

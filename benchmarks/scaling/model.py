"""What every stage costs, from sizes alone: work in FLOPs, bytes and rows, and what a unit of each costs here.

A stage is a sum of terms. The amount of a term follows from the number of items N, the width d and the stage's
settings; what a unit of it takes (the inverse of FLOP/s, bytes/s) is fitted on the points of `FITTED`, by non-negative
least squares of relative errors, and nothing else is. The other measured points check it.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

RESULTS = Path(__file__).parent / "results" / "measured.json"
BLIND = Path(__file__).parent / "results" / "blind.json"

FITTED = {(10_000, 64), (30_000, 128), (100_000, 64), (300_000, 128)}
"""Sizes and widths that constants are fitted on."""
FITTED_SCANS = FITTED | {(100_000, 128), (1_000_000, 64)}
FITTED_LISTS = {(10_000, 64), (10_000, 128), (100_000, 128)}
FITTED_SMALL = {(10_000, 64), (30_000, 64), (100_000, 128)}
"""The same for stages that are measured up to 100,000 items."""

TOKENS, NEGATIVES, LAYERS, LAZY = 2048, 2048, 2, 50_000
PROBES, SAMPLE, ROUNDS, POINTS, SINGLE_UP_TO = 48, 131_072, 10, 256, 128
CASES = 256
CACHE = 20e6
"""Bytes that a core has of the cache that it shares (32 MiB): 17 MB are read as fast as 8, and 26 MB no more."""
LENGTH, LISTED, LEVELS = 10, 100, 4

Terms = dict[str, float]


def encoder_flops(width: int) -> float:
    """Products of one position through the encoder: four of attention and two behind it in a layer, d x d each."""
    return 2.0 * LAYERS * 6 * width**2


def training_step(items: int, width: int) -> Terms:
    """Forward and twice as much backward; the optimizer goes over a small table whole, over a large one by its rows."""
    touched = items if items <= LAZY else min(items, TOKENS + NEGATIVES)
    products = 3 * TOKENS * (encoder_flops(width) + 2.0 * NEGATIVES * width)
    return {
        "training FLOPs": products,
        "training scores": TOKENS * NEGATIVES,
        "state bytes": 28.0 * touched * width,
    }


def scores(items: int, width: int) -> Terms:
    """Products in 8 bits, passes over the scores, and the best looked up and scored again."""
    return {"scan FLOPs": 2.0 * items * width, "scores looked at": items, "looked up": width, "users": 1.0}


def ranking(items: int, width: int) -> Terms:
    """A test case read, and ranked among all items."""
    read = LENGTH * encoder_flops(width)
    return {"read FLOPs": read, "rank FLOPs": 2.0 * items * width, "rank scores": items}


def scan_alone(items: int, width: int) -> Terms:
    """One user: vectors are read in 8 bits, which takes time where the cache does not hold them; the rest as before."""
    read = 1.0 * items * width
    return {
        "bytes of memory": read * (read > CACHE),
        "scores gone over": items,
        "looked up alone": width,
        "calls": 1.0,
    }


def lists_count(items: int) -> int:
    """Inverted lists of a catalogue."""
    return max(1, min(round(math.sqrt(2 * items)), items // 64))


def codes_count(columns: int) -> int:
    """Codes of four bits of an indexed vector, which has a column for its length, and an even number of them."""
    size = columns + 1 + (columns + 1) % 2
    return size if size <= SINGLE_UP_TO else size // 2


def ivf_search(items: int, width: int) -> Terms:
    """All centres, and the items of the lists that are looked into, by their codes."""
    lists = lists_count(items)
    return {
        "centre FLOPs": 2.0 * lists * width,
        "codes looked up": min(PROBES, lists) / lists * items * codes_count(width),
        "ivf questions": 1.0,
    }


def ivf_build(items: int, width: int) -> Terms:
    """A start; centres from a sample, in rounds; then every item to its list, and its codes."""
    lists = lists_count(items)
    pairs = lists * (min(items, SAMPLE, POINTS * lists) * ROUNDS + items)
    return {"distance FLOPs": 2.0 * pairs * width, "encoded numbers": items * width, "builds": 1.0}


def bundle_bytes(items: int, width: int) -> Terms:
    """Vectors once as weights and once as served, codes, and the table of items."""
    return {"bytes": 8.0 * items * width + 4.0 * LEVELS * items, "item rows": items, "bundles": 1.0}


def bundle_work(items: int, width: int) -> Terms:
    """A bundle read and checked, or written, whole."""
    moved = bundle_bytes(items, width)["bytes"]
    return {"bundle bytes": moved, "bundle rows": items, "bundles touched": 1.0}


def nightly(items: int, width: int) -> Terms:
    """A user's list in a batch, beside the scan that it takes."""
    return {"encoded": width, "excluded": items, "night users": 1.0}


@dataclass(frozen=True)
class Stage:
    """What is told of a stage."""

    unit: str
    terms: Callable[[int, int], Terms]
    fitted: frozenset[tuple[int, int]]
    """Sizes and widths that its constants are fitted on."""
    includes: str | None = None
    """Another stage that is part of it, and has constants of its own."""


def _stage(
    unit: str,
    terms: Callable[[int, int], Terms],
    fitted: set[tuple[int, int]] = FITTED,
    includes: str | None = None,
) -> Stage:
    return Stage(unit, terms, frozenset(fitted), includes)


STAGES = {
    "training step": _stage("CPU seconds a step of 2,048 tokens", training_step),
    "full ranking": _stage("CPU seconds a case", ranking),
    "exact scan, 32 at once": _stage("CPU seconds a user", scores, FITTED_SCANS),
    "exact scan, alone": _stage("CPU seconds a user", scan_alone, FITTED_SCANS),
    "ivf search": _stage("CPU seconds a user", ivf_search),
    "ivf build": _stage("CPU seconds", ivf_build),
    "bundle size": _stage("bytes", bundle_bytes, FITTED_SMALL),
    "bundle load": _stage("CPU seconds", bundle_work, FITTED_SMALL),
    "bundle write": _stage("CPU seconds", bundle_work, FITTED_SMALL),
    "nightly list": _stage("CPU seconds a user", nightly, FITTED_LISTS, "exact scan, 32 at once"),
}


class Costs:
    """What stages cost at any size, by constants from measured points.

    `constants`: for each stage what a unit of each term costs, from the points that may be fitted on.
    """

    def __init__(self, measured: Iterable[dict[str, Any]]) -> None:
        self.constants: dict[str, Terms] = {}
        points = [*measured]
        for name, stage in STAGES.items():  # what is part of another stage stands before it
            chosen = [row for row in points if row["stage"] == name and size_of(row) in stage.fitted]
            amounts = [stage.terms(*size_of(row)) for row in chosen]
            values = np.array([row["value"] for row in chosen])
            rest = values - [self.included(name, *size_of(row)) for row in chosen]
            matrix = np.array([[*of.values()] for of in amounts]) / values[:, None]
            scale = matrix.max(axis=0)
            solved, _ = nnls(matrix / scale, rest / values)
            self.constants[name] = dict(zip(amounts[0], (solved / scale).tolist(), strict=True))

    def included(self, name: str, items: int, width: int) -> float:
        """What the stage costs that is part of this one."""
        part = STAGES[name].includes
        return 0.0 if part is None else self.of(part, items, width)

    def of(self, name: str, items: int, width: int) -> float:
        """The cost of a stage at a size."""
        constants = self.constants[name]
        own = sum(constants[term] * amount for term, amount in STAGES[name].terms(items, width).items())
        return own + self.included(name, items, width)


def size_of(row: dict[str, Any]) -> tuple[int, int]:
    """Items and width of a measured point."""
    return row["items"], row["width"]


def checked(
    measured: list[dict[str, Any]], others: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Every measured point with its prediction, its relative error, and whether it was fitted on.

    `others`: points to tell of instead of those that constants come from.
    """
    costs, rows = Costs(measured), []
    for name, stage in STAGES.items():
        for row in measured if others is None else others:
            if row["stage"] == name:
                guess, known = costs.of(name, *size_of(row)), size_of(row) in stage.fitted
                rows.append({**row, "predicted": guess, "error": guess / row["value"] - 1, "fitted": known})
    return rows


def main() -> None:
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))["measured"]
    unseen = json.loads(BLIND.read_text(encoding="utf-8"))["measured"]
    for row in [*checked(measured), *checked(measured, unseen)]:
        mark = "fitted" if row["fitted"] else "" if abs(row["error"]) <= 0.25 else "OUT"
        print(
            f"{row['stage']:24} {row['items']:9,} x {row['width']:3} {row['value']:12.5g} {row['predicted']:12.5g} "
            f"{row['error']:+7.1%} {mark}"
        )


if __name__ == "__main__":
    main()

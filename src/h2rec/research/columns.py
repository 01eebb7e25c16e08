"""A column of a table: means over seeds, places, and tests of its rows against one of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

Record = dict[str, Any]


def over_seeds(values: Sequence[float | None]) -> Record:
    """``mean`` and ``spread`` (standard deviation) of one figure over ``seeds``; None where there is no value."""
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "spread": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "seeds": len(values),
    }


def mark_places(column: Sequence[Record]) -> None:
    """Number the rows of a column by their means; equal means share a place."""
    means = sorted({round(r["mean"], 12) for r in column if r["mean"] is not None}, reverse=True)
    for record in column:
        record["place"] = None if record["mean"] is None else means.index(round(record["mean"], 12)) + 1


def tests_against(frame: pl.DataFrame) -> dict[str, Record]:
    """Results of `compare_models` (corrected within slice and metric), by ``slice/metric/row``."""
    return {
        f"{row['slice']}/{row['metric']}/{row['other']}": {
            **{name: row[name] for name in ("difference", "relative", "low", "high")},
            "p_bootstrap": row["p_bootstrap_holm"],
            "p_t": row["p_t_holm"],
            "effect_size": row["effect_size"] if math.isfinite(row["effect_size"]) else None,
        }
        for row in frame.iter_rows(named=True)
    }

"""A small shop as frames of every library, and models that are trained on it in a second."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from made_shop import THEMES

KINDS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "pandas": pl.DataFrame.to_pandas,
    "arrow": pl.DataFrame.to_arrow,
}
"""How a frame of Polars becomes one of each library."""
TYPES = {"polars": "polars", "pandas": "pandas", "arrow": "pyarrow"}
"""Where the classes of these frames come from."""
SMALL: dict[str, Any] = {
    "text": {"encoder": "tfidf", "dim": 16},
    "semantic_ids": {"levels": 2, "codebook_size": 8},
    "model": {"dim": 8, "layers": 1},
    "train": {"epochs": 1, "evaluate_every": 1},
    "runtime": {"threads": 1, "device": "cpu"},
}
ITEMS = (1042, 77, 310, *range(2000, 2037))


def made_frames(users: int = 60) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and items: ids are whole numbers, times are datetimes."""
    random = np.random.default_rng(0)
    rows = [
        (user, ITEMS[(start + len(THEMES) * step) % len(ITEMS)], 1_700_000_000 + 86_400 * step + user)
        for user in range(users)
        for start in [int(random.integers(len(ITEMS)))]
        for step in range(int(random.integers(4, 9)))
    ]
    events = pl.DataFrame(rows, schema=["customer_id", "sku", "ordered_at"], orient="row")
    titles = [f"{THEMES[n % len(THEMES)]} number {n}" for n in range(len(ITEMS))]
    items = pl.DataFrame({"sku": ITEMS, "title": titles})
    return events.with_columns(pl.from_epoch("ordered_at")), items


def is_of(kind: str, frame: Any) -> bool:
    """Whether a frame is one of a library."""
    return type(frame).__module__.partition(".")[0] == TYPES[kind]


def plain(frame: Any) -> list[dict[str, Any]]:
    """Rows of a frame of any of the libraries."""
    return pl.DataFrame(frame).to_dicts()

"""The main job on the built-in data: SASRec and H2Rec side by side, start to served bundle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from h2rec.frames import read_parquet
from h2rec.run.baselines import COMPARED, lifts_over, verdicts
from h2rec.run.config import RunConfig
from h2rec.run.learning import EVALUATION_SEED
from h2rec.run.pipeline import Pipeline
from h2rec.runtime import random_stream

NAMES = {"sasrec_warm": "SASRec", "h2rec": "H2Rec"}
"""Presets that are compared, and what they are called."""
PRESETS = tuple(NAMES)

_SHARED: dict[str, Any] = {
    "data": {"source": "ml-100k"},
    "semantic_ids": {"levels": 4, "codebook_size": 32},
    # Half the default width, for both: ten minutes on two cores instead of twenty.
    "model": {"dim": 128},
}


def quickstart_config(preset: str) -> RunConfig:
    """Configuration of one model of the quick start, by its preset."""
    # Nobody is served by the model to compare with.
    bundle = {"refit": preset == PRESETS[-1]}
    return RunConfig.parse({**_SHARED, "preset": preset, "bundle": bundle}, source="quick start")


def quickstart_pipelines(out: Path) -> dict[str, Pipeline]:
    """One pipeline a model, which share the data, the text and the semantic IDs."""
    return {
        name: Pipeline(quickstart_config(name), out / name, stages=out / "stages").begin() for name in PRESETS
    }


def example_users(pipeline: Pipeline, count: int = 3) -> list[tuple[str, list[str]]]:
    """Some users, drawn with a fixed seed: user id and whole history as item ids, oldest first."""
    dataset = pipeline.dataset
    rows = random_stream(EVALUATION_SEED, "examples").choice(dataset.user_count, count, replace=False)
    item_ids = dataset.items["item_id"].to_numpy()
    return [
        (str(dataset.user_ids[int(row)]), item_ids[np.asarray(dataset.histories[int(row)]) - 1].tolist())
        for row in rows
    ]


def what_was_gained(pipelines: dict[str, Pipeline]) -> Iterator[str]:
    """Sentences on how H2Rec stands beside SASRec, at the top of the list and for a hundred candidates."""
    plain, ours = (
        read_parquet(pipelines[name].evaluation_stage.folder / "ranks.parquet").filter(
            pl.col("split") == "test"
        )
        for name in PRESETS
    )
    lifts = lifts_over(ours, {PRESETS[0]: plain}, pipelines[PRESETS[1]].head, COMPARED)[PRESETS[0]]
    for metric in COMPARED:
        of_metric = {part: {metric: figures[metric]} for part, figures in lifts.items()}
        yield from verdicts({PRESETS[0]: {"lift": of_metric}}, NAMES)

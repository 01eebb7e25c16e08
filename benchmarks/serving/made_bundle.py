"""A bundle of a given size with random weights, for load tests: what is served takes as long as a trained one.

python benchmarks/serving/made_bundle.py OUT --items 20000
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.settings import parse_model
from h2rec.retrieval.bundle import BundleParts, write_bundle
from h2rec.run.presets import preset_values
from h2rec.semantic_ids.codes import SemanticIds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--preset", default="h2rec_two_branches")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    count, random = arguments.items, np.random.default_rng(arguments.seed)
    ids = SemanticIds(random.integers(0, 128, (count, 4)).astype(np.int32), (128,) * 4)
    settings = parse_model(preset_values(arguments.preset)["model"], default="branches")
    counts = np.sort(random.zipf(1.5, count + 1).clip(max=10_000))[::-1]
    head = np.arange(count + 1) <= count // 5
    items = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(count)],
            "title": [f"made item {row} of kind {row % 97}" for row in range(count)],
            "category": [f"kind {row % 97}" for row in range(count)],
        }
    )
    write_bundle(
        arguments.out,
        BundleParts(
            model=build_model(settings, ItemFeatures(count, ids), seed=arguments.seed),
            settings=settings,
            items=items,
            train_counts=counts,
            head=head,
            semantic_ids=ids,
            collisions="keep",
            encoder=None,
            quantizer=None,
            text=None,
            text_fields=None,
            provenance={"made": "random weights, for load tests"},
        ),
    )


if __name__ == "__main__":
    main()

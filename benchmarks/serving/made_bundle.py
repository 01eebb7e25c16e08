"""A bundle of a given size with random weights, for load tests: what is served takes as long as a trained one.

Histories to count from, codes and text vectors are random, too: five interactions an item, ten a user.

python benchmarks/serving/made_bundle.py OUT --items 20000
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from h2rec.data.histories import Histories
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
    parser.add_argument("--preset", default="h2rec")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    count, random = arguments.items, np.random.default_rng(arguments.seed)
    ids = SemanticIds(random.integers(0, 128, (count, 4)).astype(np.int32), (128,) * 4)
    settings = parse_model(preset_values(arguments.preset)["model"], default="branches")
    length, users = 10, 5 * count // 10
    drawn = (random.random(users * length) ** 3 * count).astype(np.int64) + 1
    train = Histories(np.arange(0, users * length + 1, length), drawn.astype(np.int32))
    counts = train.counts(count)
    head = np.arange(count + 1) <= count // 5
    features = ItemFeatures(
        count,
        ids,
        text=random.normal(size=(count, 64)).astype(np.float32),
        train_counts=counts,
        train=train,
    )
    model = build_model(settings, features, seed=arguments.seed)
    model.after_training(features)
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
            model=model,
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

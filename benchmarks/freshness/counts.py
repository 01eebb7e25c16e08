"""How long new orders take to get into the counts of a bundle, from the file to the bundle on disk.

python benchmarks/freshness/counts.py --items 20000 --events 1000000 --new 10000
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from h2rec.batching.pair_counts import PairCounts
from h2rec.data.event_log import EventLog
from h2rec.data.histories import Histories, offsets_of
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import parse_model
from h2rec.retrieval.bundle import BundleParts, write_bundle
from h2rec.retrieval.log import TrainingLog, reference_items
from h2rec.retrieval.manifest import Lineage
from h2rec.run.new_events import Learned, read_events
from h2rec.run.presets import preset_values
from h2rec.run.provenance import origin
from h2rec.run.update import update
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.settings import TrainSettings

START, DAY = 1_700_000_000.0, 86_400.0
RESULTS = Path(__file__).parent / "results" / "counts.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=1_000_000, help="Interactions that the bundle knows.")
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="Keep the figures beside this script.")
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    with TemporaryDirectory() as room:
        folder = Path(room)
        made_bundle(folder, asked.items, asked.events, random)
        users = asked.events // 10
        path = folder / "new.csv"
        pl.DataFrame(
            {
                "user_id": [f"u{user}" for user in random.integers(0, users, asked.new)],
                "item_id": [f"i{item}" for item in popular(asked.items, asked.new, random) - 1],
                "timestamp": START + 400 * DAY + random.integers(0, DAY, asked.new),
            }
        ).write_csv(path)
        seconds = []
        for number in range(asked.repeat):
            began = time.perf_counter()
            update(
                folder / "bundle",
                lambda learned: read_events(open_table(path), learned, ColumnSettings()),
                folder / f"next{number}",
                budget=0,
                now=START + 500 * DAY,
            )
            seconds.append(round(time.perf_counter() - began, 3))
    figures = vars(asked) | {"seconds": seconds, "best": min(seconds)} | origin()
    figures.pop("keep")
    print(json.dumps(figures, indent=1))
    if asked.keep:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def popular(items: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Items from 1, the first most often, as in a shop."""
    return (items ** random.random(count)).astype(np.int64)


def made_bundle(
    folder: Path, count: int, events: int, random: np.random.Generator, dim: int | None = None
) -> None:
    """A bundle with random weights and counts of made histories, in `folder`/bundle."""
    ids = SemanticIds(random.integers(0, 128, (count, 4)).astype(np.int32), (128,) * 4)
    model = preset_values("h2rec")["model"] | ({} if dim is None else {"dim": dim})
    for name in ("similar_text", "similar_vectors"):  # nothing of these is counted
        model["branches"].pop(name)
    settings = parse_model(model, default="branches")
    users = events // 10
    train = Histories(offsets_of(np.full(users, 10)), popular(count, users * 10, random).astype(np.int32))
    counts = train.counts(count)
    network = build_model(settings, ItemFeatures(count, ids, train_counts=counts, train=train), seed=0)
    times = START + np.sort(random.integers(0, 300 * DAY, (users, 10)), axis=1).flatten().astype(np.float64)
    learned = Learned(
        loss=LossSettings(),
        train=TrainSettings(),
        epochs=12,
        head_share=0.2,
        time_order="column 'timestamp' (seconds)",
        columns=ColumnSettings(),
        separator=None,
        time_format=None,
        min_rating=None,
    )
    (folder / "log").mkdir()
    TrainingLog(
        EventLog(pl.Series("user_id", [f"u{user}" for user in range(users)]), train, times),
        PairCounts.of(train),
        learned.model_dump(mode="json"),
        CatalogueScorer(network).item_matrix.numpy()[reference_items(count)],
    ).save(folder / "log")
    write_bundle(
        folder / "bundle",
        BundleParts(
            model=network,
            settings=settings,
            items=pl.DataFrame({"item_id": [f"i{row}" for row in range(count)]}),
            train_counts=counts,
            head=np.arange(count + 1) <= count // 5,
            semantic_ids=ids,
            collisions="keep",
            encoder=None,
            quantizer=None,
            text=None,
            text_fields=None,
            log=folder / "log",
            lineage=Lineage(trained="2024-01-01", events=len(times), until=float(times.max()), items=count),
            provenance={"made": "random weights, for benchmarks"},
        ),
    )


if __name__ == "__main__":
    main()

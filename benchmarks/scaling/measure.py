"""Measure what the cost model predicts: CPU seconds (cores may be shared) and bytes, at sizes that fit here.

One thread; the least of several tries, as what disturbs a timing only adds to it.

    python -m benchmarks.scaling.measure
    python -m benchmarks.scaling.measure --only scan ivf          # these stages have changed
    python -m benchmarks.scaling.measure --only scan ivf --again  # the same code once more, at another hour
    python -m benchmarks.scaling.measure --blind                  # sizes that the model has never seen, to judge it by
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from benchmarks.scaling import model
from benchmarks.training.synthetic import Shop, make_codes, make_histories

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.files import write_json
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import parse_model
from h2rec.retrieval.answers import Query
from h2rec.retrieval.bundle import Bundle, BundleParts, write_bundle
from h2rec.retrieval.index import IndexSettings, ItemIndex
from h2rec.retrieval.recommender import Recommender
from h2rec.retrieval.scoring import ItemScorer
from h2rec.run.presets import merge, preset_values
from h2rec.run.provenance import origin
from h2rec.runtime import set_threads
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

SIZES = [(count, width) for count in (10_000, 30_000, 100_000, 300_000) for width in (64, 128)]
SMALL = [size for size in SIZES if size[0] <= 100_000]
LARGEST = (1_000_000, 64)
UNSEEN = [(18_000, 128), (70_000, 64), (220_000, 96)]
"""Sizes that no term of the model was made for."""
UNSEEN_BY_SCANS = [(25_000, 96), (150_000, 64), (450_000, 128)]
"""The others were seen when the terms of scans, and of lists made by scans, were made."""
STEPS, USERS = 12, 32


def least(work: Callable[[], Any], times: int) -> float:
    """CPU seconds of the quickest of some tries."""
    seconds = []
    for _ in range(times):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def vectors(items: int, width: int) -> tuple[np.ndarray, torch.Tensor]:
    """Items and users around the same centres."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((500, width), np.float32)

    def drawn(count: int) -> np.ndarray:
        noise = random.standard_normal((count, width), np.float32)
        return centres[random.integers(0, len(centres), count)] + 0.5 * noise

    return drawn(items + 1), torch.from_numpy(drawn(USERS))


def built(items: int, width: int) -> tuple[Any, Any, Shop]:
    """SASRec of a width with random weights, its settings, and a shop of so many steps."""
    lengths = np.full(STEPS * model.TOKENS // 50, 51, np.int64)
    shop = Shop(make_histories(len(lengths), items, lengths, 0), items, make_codes(items, 0))
    section = merge(preset_values("sasrec_warm")["model"], {"dim": width, "warm_start": False})
    settings = parse_model(section, default="branches")
    features = ItemFeatures(
        items, shop.codes, train_counts=shop.histories.counts(items), train=shop.histories
    )
    return build_model(settings, features, seed=0), settings, shop


def training(items: int, width: int) -> dict[str, float]:
    """A step of the training, without the first epoch, in which memory is given out."""
    made, _, shop = built(items, width)
    features = ItemFeatures(
        items, shop.codes, train_counts=shop.histories.counts(items), train=shop.histories
    )
    seconds = []

    def done(_: dict[str, Any]) -> None:
        seconds.append(time.process_time())

    train = TrainSettings(epochs=4, patience=None, batch_tokens=model.TOKENS)
    trainer = Trainer(made, features, LossSettings(), train, on_epoch=done)
    trainer.fit()
    steps = int(trainer.optimizer.state_of(next(iter(made.parameters())))["step"]) / 4
    return {"training step": min(np.diff(seconds)) / steps}


def scans(items: int, width: int) -> dict[str, float]:
    """The exact scan of many users, and of one."""
    table, users = vectors(items, width)
    index = ItemIndex(ItemScorer(table, (width,)), IndexSettings(kind="exact"))
    many, alone = users[:32], users[:1]
    index.search(many, model.LISTED)
    times = max(1, 300_000 // items)
    return {
        "exact scan, 32 at once": least(lambda: index.search(many, model.LISTED), 8) / len(many),
        "exact scan, alone": least(lambda: [index.search(alone, model.LISTED) for _ in range(times)], 5)
        / times,
    }


def ranked(items: int, width: int) -> dict[str, float]:
    """Cases ranked among all items."""
    scorer, random = CatalogueScorer(built(items, width)[0]), np.random.default_rng(0)
    histories = Histories.from_lists(random.integers(1, items + 1, (model.CASES, model.LENGTH)).tolist())
    holdout = Holdout(
        np.arange(model.CASES), histories, random.integers(1, items + 1, model.CASES).astype(np.int32)
    )
    settings = EvaluateSettings(protocols=("full",), repeats="excluded")
    return {"full ranking": least(lambda: rank(scorer, holdout, settings), 3) / model.CASES}


def inverted_lists(items: int, width: int) -> dict[str, float]:
    """Inverted lists built, and asked by 32 users at once."""
    table, users = vectors(items, width)
    scorer, indexes = ItemScorer(table, (width,)), []
    # An index is built for where users lie.
    sample = torch.from_numpy(table[1:4097])
    settings = IndexSettings(kind={"name": "ivf", "probes": model.PROBES})
    seconds = least(lambda: indexes.append(ItemIndex(scorer, settings, lambda: sample)), 1)
    index = indexes[0].vector_index
    wanted = model.LISTED
    return {
        "ivf build": seconds,
        "ivf search": least(lambda: index.search(users.numpy(), wanted), 8) / USERS,
    }


def bundles(items: int, width: int, folder: Path) -> dict[str, float]:
    """A bundle written, its size, loaded, and asked for many users' lists."""
    made, settings, shop = built(items, width)
    table = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(items)],
            "title": [f"made item {row} of kind {row % 97}" for row in range(items)],
        }
    )
    parts = BundleParts(
        model=made,
        settings=settings,
        items=table,
        train_counts=shop.histories.counts(items),
        head=np.arange(items + 1) <= items // 5,
        semantic_ids=shop.codes,
        collisions="keep",
        encoder=None,
        quantizer=None,
        text=None,
        text_fields=None,
        provenance={"made": "random weights"},
    )
    path = folder / f"{items}-{width}"
    measured = {
        "bundle write": least(lambda: write_bundle(path, parts), 3),
        "bundle size": float(sum(file.stat().st_size for file in path.rglob("*") if file.is_file())),
        "bundle load": least(lambda: Bundle.load(path), 3),
    }
    recommender, random = (
        Recommender(Bundle.load(path), IndexSettings(kind="exact")),
        np.random.default_rng(0),
    )
    chosen = random.integers(0, items, (256, model.LENGTH))
    queries = [Query([f"i{item}" for item in row], model.LISTED) for row in chosen]
    recommender.id_lists(queries)
    return measured | {"nightly list": least(lambda: recommender.id_lists(queries), 3) / len(queries)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", help="groups to measure; values of the others stay")
    parser.add_argument(
        "--again", action="store_true", help="of code that has not changed: keep lesser values"
    )
    parser.add_argument("--blind", action="store_true", help="measure other sizes, which check the model")
    asked = parser.parse_args()
    only, results = asked.only, model.BLIND if asked.blind else model.RESULTS
    sizes_of_all, largest = (UNSEEN, []) if asked.blind else (SIZES, [LARGEST])
    of_scans = UNSEEN_BY_SCANS if asked.blind else [*SIZES, LARGEST]
    small = of_scans[:2] if asked.blind else SMALL
    set_threads(1)
    goes_on = only or asked.again
    known = old_rows(results) if goes_on else {}
    origins = json.loads(results.read_text(encoding="utf-8"))["origins"] if goes_on else []
    with tempfile.TemporaryDirectory() as scratch:
        stages: dict[str, tuple[list[tuple[int, int]], Callable[[int, int], dict[str, float]]]] = {
            "scan": (of_scans, scans),
            "bundle": (small, lambda items, width: bundles(items, width, Path(scratch))),
            "ranking": ([*sizes_of_all, *largest], ranked),
            "training": (sizes_of_all, training),
            "ivf": (sizes_of_all, inverted_lists),
        }
        for group, (sizes, work) in stages.items():
            for items, width in sizes if not only or group in only else []:
                for stage, value in work(items, width).items():
                    key = (stage, items, width)
                    # A value of former code may be less, and is no longer true.
                    known[key] = min(value, known.get(key, value)) if asked.again else value
                    print(*key, value, known[key], flush=True)
            rows = [
                {"stage": stage, "items": items, "width": width, "value": value}
                for (stage, items, width), value in known.items()
            ]
            write_json(results, {"origins": [*origins, origin()], "measured": rows})


def old_rows(results: Path) -> dict[tuple[str, int, int], float]:
    """What was measured before."""
    rows = json.loads(results.read_text(encoding="utf-8"))["measured"]
    return {(row["stage"], row["items"], row["width"]): row["value"] for row in rows}


if __name__ == "__main__":
    main()

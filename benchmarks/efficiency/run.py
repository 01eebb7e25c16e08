"""What models cost by catalogue size and history length: parameters, memory, training, ranking.

Run:  python -m benchmarks.efficiency.run [--items 10000 --items 100000] [--lengths 50] [--models h2rec]

SASRec, LLM-ESR, two hash-ID branches, H2Rec's two branches and the main table's H2Rec.
Catalogues, codes, texts and histories are made: what a step costs does not depend on what was learned. Every cell runs
in a process of its own (its peak memory is its own), on one thread; times are CPU seconds of that process, which other
work on the machine disturbs little. Finished cells are kept: the same command goes on where it was stopped.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.keeping import without_paths

from h2rec.batching.sequences import cut_windows
from h2rec.data.histories import Histories, offsets_of
from h2rec.data.splits import Holdout
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.files import read_json, write_json
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import parse_model
from h2rec.run.presets import merge, preset_values
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "efficiency.json"
MODELS = {
    "sasrec": "sasrec",
    "llm_esr": "llm_esr",
    "two_hid": "two_hid",
    "h2rec": "h2rec_two_branches",
    # The H2Rec of the suite `main`.
    "h2rec_hybrid": "h2rec",
}
"""Presets whose models are measured, by the names that the results have."""
ITEMS = (10_000, 100_000, 1_000_000)
LENGTHS = (20, 50, 200)
TARGETS = 100_000
"""Training targets of an epoch: the same work for every history length."""
RANKED_USERS = 1000
TEXT_SIZE = 384
SCORES_AT_ONCE = 16_000_000


def made_histories(users: int, length: int, items: int, random: np.random.Generator) -> Histories:
    """Histories of one length over items whose popularity falls like one over the rank."""
    drawn = np.minimum(np.floor(np.exp(random.random(users * length) * np.log(items))), items).astype(
        np.int32
    )
    return Histories(offsets_of(np.full(users, length)), drawn)


def measure(model: str, items: int, length: int, targets: int) -> dict[str, Any]:
    """Train two epochs, rank a thousand users, and tell what it took; the first epoch warms up."""
    set_threads(1)
    random = np.random.default_rng(0)
    users = max(2, targets // (length - 1))
    train = made_histories(users, length, items, random)
    codes = SemanticIds(random.integers(0, 128, (items, 4)).astype(np.int32), (128,) * 4)
    text = random.standard_normal((items, TEXT_SIZE), dtype=np.float32) if model == "llm_esr" else None
    # Where tables start from changes nothing of what they cost.
    asked = {"max_length": length, "warm_start": False}
    settings = parse_model(merge(preset_values(MODELS[model])["model"], asked), default="branches")
    known_codes = codes if settings.reads_codes else None
    features = ItemFeatures(items, known_codes, text, train_counts=train.counts(items), train=train)
    built = build_model(settings.for_training(), features, seed=0)
    ends = []

    def validated() -> dict[str, float]:
        ends.append(time.process_time())
        return {schedule.select: 0.0}

    schedule = TrainSettings(epochs=2, evaluate_every=1, patience=None)
    # Validation is asked for after every epoch: between two of them lies one.
    Trainer(built, features, LossSettings(), schedule, validate=validated).fit()
    training_peak = peak_memory()
    trained = cut_windows(train, length).target_count
    cases = Holdout(
        np.arange(RANKED_USERS),
        made_histories(RANKED_USERS, length, items, random),
        random.integers(1, items + 1, RANKED_USERS).astype(np.int32),
    )
    evaluation = EvaluateSettings(protocols=["full"], repeats="excluded")
    parameters = sum(p.numel() for p in built.parameters())
    # With what is counted; which weights it has changes nothing of the cost.
    built = build_model(settings, features, seed=0)
    started = time.process_time()
    rank(CatalogueScorer(built), cases, evaluation, top_k=100)
    return {
        "model": model,
        "items": items,
        "length": length,
        "parameters": parameters,
        "frozen_bytes": sum(b.numel() * b.element_size() for b in built.buffers()),
        "targets": trained,
        "epoch_seconds": ends[1] - ends[0],
        "ranking_seconds_per_1000_users": (time.process_time() - started) * 1000 / RANKED_USERS,
        "training_peak_bytes": training_peak,
        "peak_bytes": peak_memory(),
    }


def peak_memory() -> int:
    """Most memory that this process ever held, in bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", action="append", choices=list(MODELS))
    parser.add_argument("--items", action="append", type=int)
    parser.add_argument("--lengths", action="append", type=int)
    parser.add_argument("--targets", type=int, default=TARGETS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(measure(**json.loads(options.cell))))
        return
    results = read_json(options.out) if options.out.exists() else {"cells": []}
    failed = 0
    for items in options.items or ITEMS:
        for length in options.lengths or LENGTHS:
            for model in options.models or MODELS:
                cell = {"model": model, "items": items, "length": length, "targets": options.targets}
                if any(cell == done["asked"] for done in results["cells"]):
                    continue
                command = [sys.executable, "-m", "benchmarks.efficiency.run", "--cell", json.dumps(cell)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
                if done.returncode != 0:
                    print(
                        f"{model}, {items:,} items, length {length}: failed ({done.returncode})", flush=True
                    )
                    failed += 1
                    continue
                measured = json.loads(done.stdout.splitlines()[-1])
                origin = provenance(0) | {"torch": torch.__version__}
                results["cells"].append({"asked": cell, "commit": origin["commit"], **measured})
                results.setdefault("provenance", origin)
                command = without_paths(origin.pop("command"))
                results["commands"] = list(dict.fromkeys([*results.get("commands", []), command]))
                write_json(options.out, results)
                print(measured, flush=True)
    if failed:
        sys.exit(f"{failed} cells are missing; the same command tries them again")


if __name__ == "__main__":
    main()

"""What each of several workers does in a test, started by torchrun: trains models and writes the losses."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h2rec import distributed
from h2rec.data.histories import Histories
from h2rec.losses.settings import LossSettings
from h2rec.models import MODELS
from h2rec.models.features import ItemFeatures
from h2rec.models.weights import Tensors, weights_of
from h2rec.run.presets import merge, preset_values
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training import trainer as training
from h2rec.training.jobs import SPREAD, TrainingJob, assist
from h2rec.training.settings import TrainSettings

SELECT = "full.overall.ndcg@100"

ITEMS = 30
PREFIXES = {"branches": {"ids": None, "prefixes": {"kind": "prefixes"}}}
CASES = {
    "h2rec": {},
    "lazy": {"preset": "h2rec", "lazy_rows": 10},
    "paper": {},
    "two_branches": {"preset": "h2rec_two_branches"},
    "bert4rec": {},
    "llm_esr": {},
    "own_negatives": {"preset": "h2rec", "loss": {"negatives": {"count": 5, "shared": False}}},
    "spread": {"preset": "h2rec_two_branches", "spread": True, "lazy_rows": 10},
    "spread_prefixes": {"preset": "h2rec", "spread": True, "model": PREFIXES},
    "one_row_a_batch": {"preset": "h2rec", "batch_tokens": 1},
}
"""Presets, and forms of them whose steps several workers could get wrong."""


def features() -> ItemFeatures:
    """Walks of unequal length on a ring of items."""
    random = np.random.default_rng(0)
    walks = [
        [(start + step) % ITEMS + 1 for step in range(int(random.integers(2, 12)))] for start in range(ITEMS)
    ]
    train = Histories.from_lists(walks)
    codes = SemanticIds(random.integers(0, 5, (ITEMS, 3)).astype(np.int32), (5, 5, 5))
    text = random.normal(size=(ITEMS, 24)).astype(np.float32)
    return ItemFeatures(ITEMS, codes, text, train_counts=train.counts(ITEMS), train=train)


def job(name: str, checkpoint: Path | None = None, epochs: int = 2) -> TrainingJob:
    """Return the training of a case."""
    case = CASES[name]
    values = preset_values(case.get("preset", name))
    model = merge(values["model"], case.get("model", {}))
    kind = MODELS.get(model.get("name", "branches")).settings_class
    return TrainingJob(
        kind.parse({**model, "dim": 8, "max_length": 6, "dropout": 0.0}).for_training(),
        features(),
        LossSettings.parse({"negatives": {"count": 8}} | values.get("loss", {}) | case.get("loss", {})),
        TrainSettings.parse(
            {
                "epochs": 2,
                "evaluate_every": 1,
                "learning_rate": 0.01,
                "batch_tokens": case.get("batch_tokens", 40),
            }
        ),
        torch.device("cpu"),
        np.arange(ITEMS + 1) % 2 == 1,
        checkpoint,
        epochs,
    )


def set_up(name: str) -> None:
    """Set what a case needs beside its settings."""
    training.LAZY_ROWS = CASES[name].get("lazy_rows", 50_000)
    os.environ[SPREAD] = "1" if CASES[name].get("spread") else "0"


def log_of(name: str, checkpoint: Path | None = None, epochs: int = 2) -> list[dict[str, Any]]:
    """Train a case, validated by the sum of its measured weights, and return the record of every epoch."""
    set_up(name)
    trainer = job(name, checkpoint, epochs).start(lambda model: lambda: {SELECT: summed(weights_of(model))})
    result = trainer.fit()
    best = result.progress.log[(result.progress.best_epoch or 0) - 1]
    assert summed(result.weights) == best["valid"][SELECT]
    return result.progress.log


def summed(weights: Tensors) -> float:
    """Sum of all weights, each row of a table by a factor of its own."""
    total = 0.0
    for tensor in weights.values():
        flat = tensor.double().reshape(len(tensor), -1) if tensor.dim() else tensor.double().reshape(1, 1)
        total += float((flat.sum(1) * torch.arange(1, len(flat) + 1)).sum())
    return total


def main(out: str, checkpoint: str, *cases: str) -> None:
    """Train some cases; then one halfway, for another number of workers to go on with."""
    torch.set_num_threads(1)
    distributed.join()
    logs = {}
    for name in cases:
        set_up(name)
        if distributed.rank():
            distributed.receive().start().fit()
        else:
            logs[name] = log_of(name)
    set_up("spread")
    if distributed.rank():
        assist()
    else:
        log_of("spread", Path(checkpoint), epochs=1)
        Path(out).write_text(json.dumps(logs))
    distributed.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])

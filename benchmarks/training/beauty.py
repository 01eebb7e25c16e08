"""Beauty ready to train on: the data, the codes and a trainer for each model and loss."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2rec.experiments.config import RunConfig
from h2rec.experiments.pipeline import Pipeline
from h2rec.models.build import build_model
from h2rec.training.objective import TrainingObjective
from h2rec.training.trainer import Trainer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
PARITY = ROOT / "benchmarks" / "parity"
RUNS = ROOT / "runs" / "training"
DATASETS = Path(os.environ.get("H2REC_DATASETS", ROOT.parent / "shared" / "datasets"))
SEED = 0
# The peers' environments and what is exchanged with them are those of the parity benchmark.
sys.path.insert(0, str(PARITY))

PER_TARGET = {"count": 512, "shared": False}
ONE_NEGATIVE = {"count": 1, "shared": False}


@dataclass(frozen=True)
class Variant:
    """A model and a loss whose epoch is timed."""

    model: dict[str, Any]
    loss: dict[str, Any]
    says: str


VARIANTS = {
    "sasrec": Variant({"name": "sasrec"}, {}, "SASRec, sampled softmax, 512 negatives a batch (default)"),
    "h2rec": Variant({"name": "h2rec"}, {}, "H2Rec, as configured by default"),
    "h2rec-deep": Variant({"name": "h2rec", "sid_layers": 2}, {}, "H2Rec, two layers in the SID branch too"),
    "sasrec-softmax": Variant({"name": "sasrec"}, {"ranking": "softmax"}, "SASRec, full softmax"),
    "sasrec-per-target": Variant(
        {"name": "sasrec"}, {"negatives": PER_TARGET}, "SASRec, sampled softmax, 512 negatives a target"
    ),
    "sasrec-bpr": Variant(
        {"name": "sasrec"}, {"ranking": "bpr", "negatives": ONE_NEGATIVE}, "SASRec, BPR, 1 negative a target"
    ),
    "sasrec-bce": Variant(
        {"name": "sasrec"}, {"ranking": "bce", "negatives": ONE_NEGATIVE}, "SASRec, BCE, 1 negative a target"
    ),
    "sasrec-gbce": Variant({"name": "sasrec"}, {"ranking": "gbce"}, "SASRec, gBCE, 512 negatives a batch"),
    "h2rec-plain": Variant(
        {"name": "h2rec"},
        {"beta": 0.0, "gamma": 0.0, "branch": 0.0, "joint": 1.0},
        "H2Rec, joint ranking loss alone",
    ),
}


def config(name: str) -> RunConfig:
    """D = 64, 2 layers, length 50, one thread. Encoder and quantizer are the quick ones: an epoch costs the same."""
    folder, variant = DATASETS / "beauty", VARIANTS[name]
    return RunConfig.parse(
        {
            "data": {"interactions": str(folder / "beauty.inter"), "items": str(folder / "beauty.item")},
            "text": {"encoder": "tfidf"},
            "semantic_ids": {"quantizer": "rqkmeans"},
            "model": {"dim": 64, "layers": 2, "max_length": 50, **variant.model},
            "loss": variant.loss,
            "train": {"epochs": 1, "seed": SEED, "patience": None},
            "runtime": {"threads": 1, "device": "cpu"},
        }
    )


def pipeline(name: str) -> Pipeline:
    """Return the pipeline of a variant; its stages up to the codes are shared by all."""
    return Pipeline(config(name), RUNS / name, RUNS / "stages")


def trainer(name: str) -> Trainer:
    """Return a trainer whose `fit` trains one epoch, without validation and checkpoints."""
    made = pipeline(name)
    model = build_model(made.config.model, made.features, seed=SEED)
    codes = None if made.semantic_ids is None else made.semantic_ids.padded()
    objective = TrainingObjective(made.config.loss, made.split.train, made.dataset.item_count, codes)
    return Trainer(model, objective, made.split.train, made.config.train, head=made.head)

"""Beauty ready to train on: the data, the codes and a trainer for each model and loss."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2rec.models.build import build_model
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
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
    """A preset and a loss whose epoch is timed; all but what they ask for is as it is by default."""

    preset: str
    loss: dict[str, Any]
    says: str
    model: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "sasrec": Variant("sasrec_warm", {}, "SASRec, sampled softmax, 512 negatives a batch (default)"),
    "h2rec": Variant("h2rec_two_branches", {}, "H2Rec, two branches"),
    "h2rec-deep": Variant(
        "h2rec_two_branches",
        {},
        "H2Rec, two layers in the branch of codes too",
        {"branches": {"codes": {"layers": 2}}},
    ),
    "sasrec-softmax": Variant("sasrec_warm", {"ranking": "softmax"}, "SASRec, full softmax"),
    "sasrec-per-target": Variant(
        "sasrec_warm", {"negatives": PER_TARGET}, "SASRec, sampled softmax, 512 negatives a target"
    ),
    "sasrec-bpr": Variant(
        "sasrec_warm", {"ranking": "bpr", "negatives": ONE_NEGATIVE}, "SASRec, BPR, 1 negative a target"
    ),
    "sasrec-bce": Variant(
        "sasrec_warm", {"ranking": "bce", "negatives": ONE_NEGATIVE}, "SASRec, BCE, 1 negative a target"
    ),
    "sasrec-gbce": Variant("sasrec_warm", {"ranking": "gbce"}, "SASRec, gBCE, 512 negatives a batch"),
    "h2rec-plain": Variant(
        "h2rec_two_branches",
        {"joint": 1.0},
        "H2Rec, joint ranking loss alone",
        {"ties": {"alignment": {"beta": 0.0}, "masking": {"gamma": 0.0}}},
    ),
}


def config(name: str) -> RunConfig:
    """D = 64, 2 layers, length 50, one thread. Encoder and quantizer are the quick ones: an epoch costs the same."""
    folder, variant = DATASETS / "beauty", VARIANTS[name]
    return RunConfig.parse(
        {
            "preset": variant.preset,
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
    prepared = pipeline(name)
    model = build_model(prepared.config.model, prepared.features, seed=SEED)
    return Trainer(model, prepared.features, prepared.config.loss, prepared.config.train, head=prepared.head)

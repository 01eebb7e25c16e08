"""Full ranking of Beauty's test cases (22k users, 12k items): ours against RecBole's full-sort evaluation.

One thread each, one after the other. Each side ranks with its own SASRec of the same size (what an evaluation costs),
and with the very same user and item vectors (what the ranking alone costs, and whether the metrics agree). RecBole
does not exclude the history for sequential models, so the metrics are compared without, and ours is timed with, too.
Seconds are of CPU, the least of some repetitions.

Run: python benchmarks/training/ranking.py [--envs FOLDER]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beauty import RESULTS, ROOT, RUNS, SEED, trainer

sys.path.insert(0, str(ROOT / "benchmarks" / "parity"))
from compare import environment  # noqa: E402
from exchange import write_cases  # noqa: E402

from beauty import pipeline  # noqa: E402  isort: skip
from h2rec.data.histories import Histories, IntArray  # noqa: E402
from h2rec.data.splits import Holdout  # noqa: E402
from h2rec.evaluation.metrics import summarize  # noqa: E402
from h2rec.evaluation.ranking import rank  # noqa: E402
from h2rec.evaluation.settings import EvaluateSettings  # noqa: E402
from h2rec.experiments.provenance import provenance  # noqa: E402
from h2rec.files import read_json, write_json  # noqa: E402
from h2rec.models.scorer import CatalogueScorer  # noqa: E402

KS = [1, 5, 10, 20, 50, 100, 200, 500]
REPEATS = 3
DEFAULT_METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision"]

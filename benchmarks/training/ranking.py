"""Full ranking of Beauty's test cases (22k users, 12k items): ours against RecBole's full-sort evaluation.

One thread each, one after the other. Each side ranks with its own SASRec of the same size (what an evaluation costs),
and with the very same user and item vectors (what the ranking alone costs, and whether the metrics agree). RecBole
does not exclude the history for sequential models, so the metrics are compared without, and ours is timed with, too.
Seconds are of CPU, the least of some repetitions.

Run: python benchmarks/training/ranking.py [--envs FOLDER]
"""

import sys

from beauty import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "parity"))


KS = [1, 5, 10, 20, 50, 100, 200, 500]
REPEATS = 3
DEFAULT_METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision"]

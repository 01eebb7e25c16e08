"""Full ranking of Beauty's test cases (22k users, 12k items): ours against RecBole's full-sort evaluation.

One thread each, ours before and after RecBole's. Each side ranks with its own SASRec of the same size (what an
evaluation costs), and with the very same user and item vectors looked up (what the ranking alone costs, and whether the
metrics agree). RecBole does not exclude the history for sequential models, so the metrics are compared without that,
and ours is timed with it, too. RecBole is timed at its default batch of 4096 users and at 256 (faster here), with its
default metrics, at 10, and with all the cut-offs that ours reports; all of ours come from one rank a case. Seconds are
of CPU; of ours the median.

Run: python benchmarks/training/ranking.py [--envs FOLDER]
"""

import argparse
import resource
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from beauty import RESULTS, RUNS, SEED, pipeline, trainer
from peers import cores, finish, fresh_folder, start_peer

from h2rec.data.histories import Histories, IntArray
from h2rec.data.splits import Holdout
from h2rec.evaluation.metrics import summarize
from h2rec.evaluation.ranking import NO_RANK, rank
from h2rec.evaluation.scorer import Scorer
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.files import read_json, write_json
from h2rec.models.scorer import CatalogueScorer
from h2rec.run.provenance import provenance

KS = [1, 5, 10, 20, 50, 100, 200, 500]
DEFAULTS = {"metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision"], "topk": [10], "eval_batch_size": 4096}
COMPARED = {"metrics": ["NDCG", "Hit"], "topk": KS}
SMALL = {"eval_batch_size": 256}
ASKED = [
    {"vectors": vectors, **DEFAULTS, **metrics, **batch}
    for vectors in ("own", "given")
    for batch in ({}, SMALL)
    for metrics in ({}, COMPARED)
]
REPEATS = 3


class LookedUp:
    """Scores from stored user vectors, one for each case in the order of the holdout."""

    def __init__(self, users: torch.Tensor, items: torch.Tensor) -> None:
        self.users, self.items = users, items
        self.item_count = len(items) - 1

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Scores of all items, `[n, N + 1]`."""
        return self.users[torch.from_numpy(rows)] @ self.items.T


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envs", type=Path, default=RUNS / "envs", help="Where the peers' environments are.")
    options = parser.parse_args()
    out = fresh_folder("ranking")
    made = trainer("sasrec")
    made.fit()
    cases = pipeline("sasrec").split.test
    scorer = CatalogueScorer(made.model)
    rows = (np.arange(start, min(start + 512, len(cases))) for start in range(0, len(cases), 512))
    users = torch.cat([scorer.user_vectors(cases.histories, some) for some in rows])
    np.savez(out / "vectors.npz", users=users.numpy(), items=scorer.item_matrix.numpy())
    given = LookedUp(users, scorer.item_matrix)

    ours = [row for _ in range(REPEATS) for row in our_rankings(scorer, given, cases)]
    peer = out / "recbole"
    started = start_peer(
        "recbole",
        "peer_recbole_ranking.py",
        out / "cases.npz",
        peer,
        {"asked": ASKED},
        envs=options.envs.resolve(),
        core=cores(1)[0],
    )
    finish({peer: started})
    outcome = read_json(peer / "outcome.json")
    ours += [row for _ in range(REPEATS) for row in our_rankings(scorer, given, cases)]

    settings = EvaluateSettings(protocols=["full"], repeats="allowed")
    metrics = summarize(rank(given, cases, settings).by_protocol["full"], KS)
    theirs = outcome["rows"][-1]["found"]
    differences = {
        f"{name}@{k}": abs(metrics[f"{name}@{k}"] - theirs[f"{name}@{k}"])
        for name in ("hit", "ndcg")
        for k in KS
    }
    seconds = {
        f"{vectors}{', history excluded' if excluded else ''}": median(
            row["cpu_seconds"] for row in ours if (row["vectors"], row["excluded"]) == (vectors, excluded)
        )
        for vectors in ("own", "given")
        for excluded in (False, True)
    }
    ratios = [
        {
            "vectors": row["vectors"],
            "users_at_once": row["eval_batch_size"],
            "cut_offs": len(row["topk"]),
            "recbole_cpu_seconds": row["cpu_seconds"],
            "ratio": row["cpu_seconds"] / seconds[row["vectors"]],
        }
        for row in outcome["rows"]
    ]
    record = {
        "provenance": provenance(SEED),
        "users": len(cases),
        "items": scorer.item_count,
        "ours": seconds,
        "ours_peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "recbole": outcome,
        "ratios": ratios,
        "metrics": metrics,
        "largest_difference": max(differences.values()),
        "rows": ours,
    }
    write_json(RESULTS / "ranking.json", record)
    print(*ratios, seconds, record["largest_difference"], sep="\n")


def our_rankings(scorer: Scorer, given: Scorer, cases: Holdout) -> list[dict[str, Any]]:
    rows = []
    for vectors, one in (("own", scorer), ("given", given)):
        for excluded in (False, True):
            settings = EvaluateSettings(protocols=["full"], repeats="excluded" if excluded else "allowed")
            cpu, wall = time.process_time(), time.perf_counter()
            ranks = rank(one, cases, settings).by_protocol["full"]
            summarize(ranks[ranks != NO_RANK], KS)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            rows.append({"vectors": vectors, "excluded": excluded, "cpu_seconds": cpu, "seconds": wall})
    return rows


if __name__ == "__main__":
    main()

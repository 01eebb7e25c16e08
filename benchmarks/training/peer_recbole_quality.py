"""Train RecBole's SASRec epoch by epoch and rank the validation targets after each. Runs in RecBole's own environment.

Run: python peer_recbole_quality.py CASES.npz SETTINGS.json OUT

Started by `time_to_quality.py`. `curve.json` grows with every epoch: CPU seconds of training so far, validation
apart, and NDCG@10. It stops after `patience` epochs without a better one.
"""

import json
import time

import numpy as np
from run_recbole import arguments, prepared, ranks_of, versions, written


def main() -> None:
    given = arguments()
    experiment = prepared(given.settings, written(given))
    curve, seconds, best, stale = [], 0.0, 0.0, 0
    for epoch in range(given.settings["epochs"]):
        started = time.process_time()
        experiment.model.train()
        experiment.trainer._train_epoch(experiment.train_data, epoch)
        seconds += time.process_time() - started
        ranks = ranks_of(experiment.model, experiment.test_data, experiment.dataset, given.cases)
        ndcg = float(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean())
        curve.append({"epoch": epoch + 1, "cpu_seconds": seconds, "ndcg@10": ndcg})
        (given.out / "curve.json").write_text(json.dumps({"curve": curve, "versions": versions()}))
        best, stale = (ndcg, 0) if ndcg > best else (best, stale + 1)
        if stale >= given.settings["patience"]:
            break


if __name__ == "__main__":
    main()

"""Train RecBole's SASRec epoch by epoch and rank the validation targets after each. Runs in RecBole's own environment.

Run: python peer_recbole_quality.py CASES.npz SETTINGS.json OUT

Started by `time_to_quality.py`. `curve.json` grows with every epoch: CPU seconds of training so far, validation
apart, and NDCG@10. It stops after `patience` epochs without a better one.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import recbole
import torch
from exchange import read_cases
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from run_recbole import configured, ranks_of, write_atomic


def main() -> None:
    cases_path, settings_path, out = (Path(argument).resolve() for argument in sys.argv[1:4])
    cases, settings = read_cases(cases_path), json.loads(settings_path.read_text())
    torch.set_num_threads(1)
    folder = out / "cases"
    folder.mkdir(exist_ok=True)
    write_atomic(cases, folder, settings["max_length"])
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    config = configured(settings, folder)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    curve, seconds, best, stale = [], 0.0, 0.0, 0
    for epoch in range(settings["epochs"]):
        started = time.process_time()
        model.train()
        trainer._train_epoch(train_data, epoch)
        seconds += time.process_time() - started
        ranks = ranks_of(model, test_data, dataset, cases)
        ndcg = float(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean())
        curve.append({"epoch": epoch + 1, "cpu_seconds": seconds, "ndcg@10": ndcg})
        versions = {"recbole": recbole.__version__, "torch": torch.__version__}
        (out / "curve.json").write_text(json.dumps({"curve": curve, "versions": versions}))
        best, stale = (ndcg, 0) if ndcg > best else (best, stale + 1)
        if stale >= settings["patience"]:
            break


if __name__ == "__main__":
    main()

"""Time an epoch of RecBole's SASRec, or a share of it. Runs in RecBole's own environment, started by `epochs.py`.

Its own data loader and trainer, full softmax.
"""

import json
import math
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import recbole
import torch
from exchange import read_cases
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from run_recbole import configured, write_atomic


def main() -> None:
    cases_path, settings_path, out = (Path(argument).resolve() for argument in sys.argv[1:4])
    settings = json.loads(settings_path.read_text())
    torch.set_num_threads(1)
    folder = out / "cases"
    folder.mkdir()
    write_atomic(read_cases(cases_path), folder, settings["max_length"])
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    config = configured(settings, folder)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    batches = len(train_data)
    measured = min(batches, math.ceil(settings["share"] * batches))
    trainer._train_epoch(islice(train_data, 1), 0)  # warms up
    (out / "ready").touch()
    while not (out.parent / "go").exists():
        time.sleep(0.1)
    wall, cpu = time.perf_counter(), time.process_time()
    # The loader shuffles: the first batches are a random share of the targets.
    trainer._train_epoch(islice(train_data, measured), 0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # Every history is padded to the full length: batches cost the same, but for a smaller last one.
    targets = len(train_data.dataset)
    seen = min(targets, measured * settings["batch_targets"])
    record = {
        "batches": batches,
        "measured_batches": measured,
        "targets": targets,
        "share": seen / targets,
        "seconds": wall,
        "cpu_seconds": cpu,
        "epoch_seconds": wall * targets / seen,
        "epoch_cpu_seconds": cpu * targets / seen,
        "versions": {"recbole": recbole.__version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    (out / "outcome.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()

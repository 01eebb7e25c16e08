"""Time RecBole's SASRec on a card: an epoch at several batches, and its full ranking. Runs in RecBole's environment.

Run: python peer_recbole.py CASES.npz SETTINGS.json OUT

Its own data loader, trainer and evaluation, full softmax. Started by `run.py`.
"""

import json
import math
import time
from itertools import islice

import torch
from run_recbole import arguments, prepared, versions, written


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    given = arguments()
    settings, out, folder = given.settings, given.out, written(given)
    device, rows = settings["device"], []
    for batch in settings["batches"]:
        changes = {"device": torch.device(device), "use_gpu": device == "cuda", "train_batch_size": batch}
        experiment = prepared(settings, folder, **changes)
        train_data, trainer = experiment.train_data, experiment.trainer
        experiment.model.to(device)
        measured = max(1, math.ceil(settings["share"] * len(train_data)))
        trainer._train_epoch(islice(train_data, 2), 0)  # warms up
        wait(device)
        started = time.perf_counter()
        trainer._train_epoch(islice(train_data, measured), 0)
        wait(device)
        seconds = time.perf_counter() - started
        targets = len(train_data.dataset)
        share = min(targets, measured * batch) / targets
        rows.append(
            {"batch_targets": batch, "targets": targets, "epoch_seconds": seconds / share, "share": share}
        )
        print(rows[-1], flush=True)
    with torch.no_grad():
        started = time.perf_counter()
        trainer.evaluate(experiment.test_data, load_best_model=False)
        wait(device)
    ranking = time.perf_counter() - started
    (out / "outcome.json").write_text(
        json.dumps({"rows": rows, "ranking_seconds": ranking, "versions": versions()})
    )


if __name__ == "__main__":
    main()

"""Time an epoch of RecBole's SASRec, or a share of it. Runs in RecBole's own environment, started by `epochs.py`.

Its own data loader and trainer, full softmax.
"""

import math
import time
from itertools import islice

from exchange import write_epoch
from run_recbole import arguments, prepared, versions, written


def main() -> None:
    given = arguments()
    settings, out = given.settings, given.out
    experiment = prepared(settings, written(given))
    train_data, trainer = experiment.train_data, experiment.trainer
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
    write_epoch(
        out,
        batches=(measured, batches),
        targets=targets,
        share=seen / targets,
        spent=(wall, cpu),
        versions=versions(),
    )


if __name__ == "__main__":
    main()

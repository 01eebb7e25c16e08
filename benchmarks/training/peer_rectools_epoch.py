"""Time an epoch of RecTools' SASRec, or a share of it. Runs in RecTools' own environment, started by `epochs.py`.

Its own data loader and trainer, sampled softmax with 512 negatives.
"""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytorch_lightning
import rectools
import torch
from exchange import read_cases, write_epoch
from rectools.models import SASRecModel
from run_rectools import interactions

TIMES: dict[str, tuple[float, float]] = {}


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Clock(pytorch_lightning.Callback):
    """Starts when the first batch (which warms up) is done, stops with the epoch."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 0:
            (self.out / "ready").touch()
            while not (self.out.parent / "go").exists():
                time.sleep(0.1)
            TIMES["start"] = now()

    def on_train_epoch_end(self, trainer, module):
        TIMES["stop"] = now()


def main() -> None:
    cases_path, settings_path, out = (Path(argument).resolve() for argument in sys.argv[1:4])
    cases, settings = read_cases(cases_path), json.loads(settings_path.read_text())
    torch.set_num_threads(1)
    pytorch_lightning.seed_everything(settings["seed"])
    batch_size = settings["batch_sequences"]
    lengths = np.array([len(sequence) for sequence in cases.train])
    sequences = int((lengths >= 2).sum())
    targets = int(np.minimum(lengths[lengths >= 2] - 1, settings["max_length"]).sum())
    batches = math.ceil(sequences / batch_size)
    measured = min(batches - 1, math.ceil(settings["share"] * batches))

    def trainer() -> pytorch_lightning.Trainer:
        return pytorch_lightning.Trainer(
            max_epochs=1,
            limit_train_batches=measured + 1,
            accelerator="cpu",
            callbacks=[Clock(out)],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            default_root_dir=str(out),
        )

    SASRecModel(
        n_blocks=settings["layers"],
        n_heads=settings["heads"],
        n_factors=settings["dim"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["max_length"],
        loss="sampled_softmax",
        n_negatives=settings["negatives"],
        lr=settings["learning_rate"],
        batch_size=batch_size,
        epochs=1,
        train_min_user_interactions=2,
        dataloader_num_workers=0,
        get_trainer_func=trainer,
    ).fit(interactions(cases.train))
    wall, cpu = (stop - start for start, stop in zip(TIMES["start"], TIMES["stop"], strict=True))
    # Every sequence is padded to the full length: batches cost the same, but for a smaller last one.
    seen = min(sequences - batch_size, measured * batch_size)
    write_epoch(
        out,
        batches=(measured, batches),
        targets=targets,
        share=seen / sequences,
        spent=(wall, cpu),
        versions={"rectools": rectools.__version__, "torch": torch.__version__, "numpy": np.__version__},
    )


if __name__ == "__main__":
    main()

"""Train a model of RecTools 0.19 on given cases and write the ranks of the targets. Runs in RecTools' own environment.

Run: python run_rectools.py CASES.npz SETTINGS.json OUT
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning
import rectools
import torch
from exchange import Cases, Stopwatch, read_cases, write_outcome
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

NAMES = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}
DEPTH = 1000
"""Items asked for; a target that is not among them has the rank behind them."""


def interactions(sequences: list[np.ndarray]) -> Dataset:
    """Sequences as RecTools' interactions, one a day."""
    lengths = [len(sequence) for sequence in sequences]
    step = np.concatenate([np.arange(length) for length in lengths])
    frame = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(sequences)), lengths),
            Columns.Item: np.concatenate(sequences),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(step, unit="D"),
        }
    )
    return Dataset.construct(frame)


def ranks_of(model, cases: Cases) -> np.ndarray:
    """Rank of each target among the items outside the history."""
    ranked = model.recommend(
        users=np.arange(len(cases.targets)), dataset=interactions(cases.history), k=DEPTH, filter_viewed=True
    )
    ranks = np.full(len(cases.targets), DEPTH + 1)
    hit = ranked[ranked[Columns.Item].to_numpy() == cases.targets[ranked[Columns.User].to_numpy()]]
    ranks[hit[Columns.User].to_numpy()] = hit[Columns.Rank].to_numpy()
    return ranks


def main() -> None:
    cases_path, settings_path, out = (Path(argument).resolve() for argument in sys.argv[1:4])
    cases, settings = read_cases(cases_path), json.loads(settings_path.read_text())
    torch.set_num_threads(settings["threads"])
    pytorch_lightning.seed_everything(settings["seed"])

    def trainer() -> pytorch_lightning.Trainer:
        return pytorch_lightning.Trainer(
            max_epochs=settings["epochs"],
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            default_root_dir=str(out),
        )

    mean_targets = np.mean([len(sequence) - 1 for sequence in cases.train if len(sequence) > 1])
    model = NAMES[settings["model"]](
        n_blocks=settings["layers"],
        n_heads=settings["heads"],
        n_factors=settings["dim"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["max_length"],
        loss="softmax",
        lr=settings["learning_rate"],
        # It counts sequences where the others count targets.
        batch_size=max(1, round(settings["batch_targets"] / mean_targets)),
        epochs=settings["epochs"],
        train_min_user_interactions=2,
        dataloader_num_workers=0,
        get_trainer_func=trainer,
        **({"mask_prob": settings["mask_share"]} if settings["model"] == "bert4rec" else {}),
    )
    watch = Stopwatch()
    model.fit(interactions(cases.train))
    took = watch.per_epoch(settings["epochs"])
    versions = {"rectools": rectools.__version__, "torch": torch.__version__, "numpy": np.__version__}
    write_outcome(out, ranks_of(model, cases), took, versions)


if __name__ == "__main__":
    main()

"""Train a model of RecBole 1.2.1 on given cases and write the ranks of the targets. Runs in RecBole's own environment.

Run: python run_recbole.py CASES.npz SETTINGS.json OUT
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import recbole
import torch
from exchange import Cases, Stopwatch, read_cases, write_outcome
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

NAMES = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec"}


def write_atomic(cases: Cases, folder: Path, max_length: int) -> None:
    """Write one file a split, every training target a row: what RecBole's own augmentation would make."""

    def rows(sequences, targets_from):
        for user, sequence in enumerate(sequences):
            for end in range(targets_from(sequence), len(sequence)):
                yield user, sequence[max(0, end - max_length) : end], sequence[end]

    whole = [np.append(history, target) for history, target in zip(cases.history, cases.targets, strict=True)]
    splits = {"train": rows(cases.train, lambda s: 1), "test": rows(whole, lambda s: len(s) - 1)}
    for name, split in splits.items():
        with (folder / f"cases.{name}.inter").open("w") as stream:
            stream.write("user_id:token\titem_id_list:token_seq\titem_id:token\n")
            for user, history, target in split:
                stream.write(f"u{user}\t{' '.join(map(str, history))}\t{target}\n")
    # RecBole wants a validation file; it is never ranked.
    (folder / "cases.valid.inter").write_bytes((folder / "cases.test.inter").read_bytes())


def configured(settings: dict, folder: Path) -> Config:
    sizes = {
        "sasrec": {
            "n_layers": settings["layers"],
            "n_heads": settings["heads"],
            "hidden_size": settings["dim"],
            "inner_size": 4 * settings["dim"],
            "hidden_dropout_prob": settings["dropout"],
            "attn_dropout_prob": settings["dropout"],
        },
        "gru4rec": {
            "embedding_size": settings["dim"],
            "hidden_size": settings["dim"],
            "num_layers": settings["layers"],
            "dropout_prob": settings["dropout"],
        },
    }
    sizes["bert4rec"] = sizes["sasrec"] | {
        "mask_ratio": settings["mask_share"],
        "transform": "mask_itemseq",
        "ft_ratio": 0.5,
    }
    return Config(
        model=NAMES[settings["model"]],
        dataset="cases",
        config_dict=sizes[settings["model"]]
        | {
            "data_path": str(folder.parent),
            "benchmark_filename": ["train", "valid", "test"],
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
            "alias_of_item_id": ["item_id_list"],
            "MAX_ITEM_LIST_LENGTH": settings["max_length"],
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "epochs": settings["epochs"],
            "train_batch_size": settings["batch_targets"],
            "eval_batch_size": 256,
            "learning_rate": settings["learning_rate"],
            "eval_step": 0,
            "eval_args": {"order": "TO", "group_by": None, "mode": "full", "split": {"LS": "valid_and_test"}},
            "seed": settings["seed"],
            "reproducibility": True,
            "use_gpu": False,
            "show_progress": False,
            "checkpoint_dir": str(folder / "saved"),
        },
    )


def ranks_of(model, test_data, dataset, cases: Cases) -> np.ndarray:
    """Rank of each target among all items outside the history; ties count against the model."""
    tokens = dataset.field2id_token["item_id"]
    item_of_column = np.array([0 if token == "[PAD]" else int(token) for token in tokens])
    column_of_item = np.zeros(cases.item_count + 1, dtype=np.int64)
    column_of_item[item_of_column] = np.arange(len(item_of_column))
    users = dataset.field2id_token["user_id"]
    ranks = np.zeros(len(cases.targets), dtype=np.int64)
    model.eval()
    with torch.no_grad():
        for interaction, *_ in test_data:
            scores = model.full_sort_predict(interaction).view(len(interaction), -1)[:, : len(tokens)].numpy()
            for row, token in zip(scores, interaction["user_id"].numpy(), strict=True):
                case = int(str(users[token])[1:])
                target = column_of_item[cases.targets[case]]
                row[0] = -np.inf
                seen = column_of_item[cases.history[case]]
                row[seen[seen != target]] = -np.inf
                ranks[case] = (row >= row[target]).sum()
    return ranks


class Arguments(NamedTuple):
    """What a script that runs here is given."""

    cases: Cases
    settings: dict
    out: Path


def arguments() -> Arguments:
    """Read `CASES.npz SETTINGS.json OUT` from the command line, and take them off it: RecBole reads it too."""
    cases, settings, out = (Path(argument).resolve() for argument in sys.argv[1:4])
    sys.argv = sys.argv[:1]
    parsed = Arguments(read_cases(cases), json.loads(settings.read_text()), out)
    torch.set_num_threads(parsed.settings.get("threads", 1))
    return parsed


class Prepared(NamedTuple):
    """RecBole ready to train and to rank."""

    dataset: Any
    train_data: Any
    test_data: Any
    model: Any
    trainer: Any


def written(given: Arguments) -> Path:
    """Write the cases as RecBole's files, and return their folder."""
    folder = given.out / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(given.cases, folder, given.settings["max_length"])
    return folder


def prepared(settings: dict, folder: Path, **changes: Any) -> Prepared:
    """Build RecBole's data, model and trainer from written cases; changes are keys of its own configuration."""
    config = configured(settings, folder)
    for name, value in changes.items():
        config[name] = value
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return Prepared(dataset, train_data, test_data, model, trainer)


def versions() -> dict[str, str]:
    """Versions of what was measured."""
    return {"recbole": recbole.__version__, "torch": torch.__version__, "numpy": np.__version__}


def main() -> None:
    given = arguments()
    experiment = prepared(given.settings, written(given))
    watch = Stopwatch()
    experiment.trainer.fit(experiment.train_data, verbose=False, saved=False)
    took = watch.per_epoch(given.settings["epochs"])
    write_outcome(
        given.out,
        ranks_of(experiment.model, experiment.test_data, experiment.dataset, given.cases),
        took,
        versions(),
    )


if __name__ == "__main__":
    main()

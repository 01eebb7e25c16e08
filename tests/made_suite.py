"""A suite of two rows on a small shop."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from h2rec.research.workers import _on_cores
from made_shop import write_shop


def write_suite(folder: Path) -> Path:
    """Write a suite of SASRec and two branches of H2Rec, one epoch each; return its file."""
    base = yaml.safe_load(write_shop(folder, users=40).read_text())
    base["model"].pop("name", None)
    data = base.pop("data")
    suite = {
        "base": base | {"preset": "h2rec_two_branches"},
        "data": {"shop": {"data": data}},
        "models": {
            "weak": {"preset": "sasrec_warm", "train": {"epochs": 1}},
            "H2Rec": {"train": {"epochs": 1}},
        },
        "seeds": [0],
        "metrics": ["hit@5", "ndcg@10"],
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


def rewritten(path: Path, **changes: Any) -> Path:
    """Change parts of a suite's file."""
    values = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def one_by_one(
    work: Callable[..., Any],
    tasks: Mapping[Any, tuple[Any, ...]],
    jobs: int,
    *,
    cores: Sequence[int] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Do what `side_by_side` does in this process, for tests that are about something else."""
    with _on_cores(cores):
        for task, handed in tasks.items():
            called, arguments = pickle.loads(pickle.dumps((work, handed)))
            try:
                outcome = called(*arguments)
            except Exception as error:
                outcome = error
            yield task, outcome

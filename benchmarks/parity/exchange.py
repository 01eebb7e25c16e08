"""What all sides of the comparison read and write: one split in, ranks out; numpy alone, so that it runs anywhere."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Cases:
    """Training sequences and test cases of one data set, items numbered from 1.

    Parameters
    ----------
    train, history
        One array of items a user: what trains, and what precedes the target (a superset of it).
    targets
        The item to rank for each user.
    """

    item_count: int
    train: list[np.ndarray]
    history: list[np.ndarray]
    targets: np.ndarray


def write_cases(path: Path, item_count: int, train: tuple, history: tuple, targets: np.ndarray) -> None:
    """Write CSR pairs (offsets, items) of training sequences and histories, and targets; row for row the same users."""
    np.savez(
        path,
        item_count=item_count,
        train_offsets=train[0],
        train_items=train[1],
        history_offsets=history[0],
        history_items=history[1],
        targets=targets,
    )


def read_cases(path: Path) -> Cases:
    """Read what `write_cases` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        train, history = (
            np.split(stored[f"{name}_items"], stored[f"{name}_offsets"][1:-1])
            for name in ("train", "history")
        )
        return Cases(int(stored["item_count"]), train, history, stored["targets"])


class Stopwatch:
    """Wall and CPU seconds of this process since it was made; a busy machine disturbs the latter least."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def per_epoch(self, epochs: int) -> dict[str, float]:
        """Return what an epoch took on average."""
        return {
            "seconds_per_epoch": (time.perf_counter() - self._wall) / epochs,
            "cpu_seconds_per_epoch": (time.process_time() - self._cpu) / epochs,
        }


def write_outcome(
    folder: Path, ranks: np.ndarray, per_epoch: dict[str, float], versions: dict[str, str]
) -> None:
    """Write the ranks of the targets (in the order of the cases) and what the training took."""
    np.save(folder / "ranks.npy", ranks.astype(np.int64))
    outcome = per_epoch | {"versions": versions}
    (folder / "outcome.json").write_text(json.dumps(outcome))


def write_epoch(
    out: Path,
    *,
    batches: tuple[int, int],
    targets: int,
    share: float,
    spent: tuple[float, float],
    versions: dict[str, str],
) -> None:
    """Write what some batches cost, and what an epoch would; `batches` measured and in all, `spent` wall and CPU s."""
    measured, total = batches
    wall, cpu = spent
    record = {
        "batches": total,
        "measured_batches": measured,
        "targets": targets,
        "share": share,
        "seconds": wall,
        "cpu_seconds": cpu,
        "epoch_seconds": wall / share,
        "epoch_cpu_seconds": cpu / share,
        "versions": versions,
    }
    (out / "outcome.json").write_text(json.dumps(record))

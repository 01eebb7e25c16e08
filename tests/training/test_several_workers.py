"""Several workers train what one does: the same batches, and gradients of the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.run import __file__ as TORCHRUN

import fellow_workers
from fellow_workers import CASES, features, job, log_of
from h2rec.batching.sequences import Batch
from h2rec.training import trainer as training
from h2rec.training.batches import TrainingBatches
from h2rec.training.jobs import SPREAD


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr(training, "LAZY_ROWS", training.LAZY_ROWS)
    monkeypatch.setenv(SPREAD, "0")


@pytest.fixture(scope="module")
def of_one():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "LAZY_ROWS", training.LAZY_ROWS)
        patch.setenv(SPREAD, "0")
        return {name: log_of(name) for name in CASES}


def trained_by(workers, folder, cases):
    """Losses by case that so many workers come to."""
    out = folder / "logs.json"
    command = [sys.executable, TORCHRUN, "--nproc-per-node", str(workers), fellow_workers.__file__]
    paths = os.pathsep.join([str(Path(fellow_workers.__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    ended = subprocess.run(
        [*command, str(out), str(folder / "checkpoint"), *cases],
        check=False, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(out.read_text())


def figures(log):
    """What a record says of the training, but for a ratio of means, which is no mean of the workers' ratios."""
    apart = ("seconds", "valid_seconds", "valid", "mca_to_hid_norm")
    return [{name: value for name, value in record.items() if name not in apart} for record in log]


@pytest.mark.parametrize(("workers", "cases"), [(2, CASES), (3, ("paper",))])
def test_several_workers_have_the_losses_of_one_and_their_training_goes_on_with_one(
    workers, cases, of_one, tmp_path
):
    logs = trained_by(workers, tmp_path, cases)
    assert list(logs) == list(cases)
    for name in cases:
        for ours, alone in zip(figures(logs[name]), figures(of_one[name]), strict=True):
            assert ours == pytest.approx(alone, rel=1e-3, abs=1e-5), name
    # One worker goes on where several stopped.
    resumed = log_of("spread", tmp_path / "checkpoint")
    assert [record["epoch"] for record in resumed] == [1, 2]
    for ours, alone in zip(figures(resumed), figures(of_one["spread"]), strict=True):
        assert ours == pytest.approx(alone, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ["h2rec", "bert4rec", "one_row_a_batch"])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_parts_are_the_rows_of_the_batch_balanced_by_targets(name, workers):
    made = job(name)
    made = TrainingBatches(made.start().model, features().train, made.train, torch.device("cpu"))
    random = np.random.default_rng(0)
    for rows in made.draw(random):
        whole = made.make(rows, random)
        parts = [whole.part_of(worker, workers) for worker in range(workers)]
        own = [part for part in parts if part.share]
        assert sum(part.share for part in parts) == pytest.approx(1)
        for column in ("lengths", "users"):
            torch.testing.assert_close(
                torch.cat([getattr(part, column) for part in own]), getattr(whole, column)
            )
        for part in parts:
            assert part.whole is whole
            assert len(part.items) >= 1
            width = part.items.shape[1]
            assert width == int(part.lengths.max())
            targets = whole.targets[whole.targets > 0][part.part.places]
            torch.testing.assert_close(part.targets[part.targets > 0], targets)
            if part.share:
                torch.testing.assert_close(part.items, whole.items[part.rows][:, :width])
            else:
                assert part.rows.start == part.rows.stop
            # No worker is further from its share than by the targets of a row.
            row = int((whole.targets > 0).sum(1).max()) / part.part.target_count
            assert abs(part.share - 1 / workers) <= row


def test_a_worker_without_rows_has_one_that_does_not_count():
    items = torch.tensor([[1, 2], [3, 0]])
    whole = Batch(items, torch.tensor([2, 1]), items)
    shares = [whole.part_of(worker, 4).share for worker in range(4)]
    assert sorted(shares) == pytest.approx([0, 0, 1 / 3, 2 / 3])

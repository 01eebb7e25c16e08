"""Starts what is measured, each process on a core of its own: the peers in their environments, and ours."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from beauty import HERE, PARITY, RUNS, SEED, pipeline
from compare import SETTINGS as PARITY_SETTINGS
from compare import environment
from exchange import write_cases

from h2rec.errors import H2RecError
from h2rec.files import write_json

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SETTINGS: dict[str, Any] = PARITY_SETTINGS | {
    "model": "sasrec",
    "epochs": 1,
    "seed": SEED,
    "batch_sequences": 128,
    "negatives": 512,
}
"""What all sides share; batches are the peers' defaults."""
FASTEST = {"batch_targets": 512, "batch_sequences": 32}
"""The peers' batches with the shortest epoch on the machine that this was written on."""


def cores(wanted: int) -> list[int]:
    """Cores to pin `wanted` processes to, distinct as far as there are enough."""
    usable = sorted(os.sched_getaffinity(0))
    return [usable[i % len(usable)] for i in range(wanted)]


def fresh_folder(name: str) -> Path:
    """Empty a benchmark's folder and put our split of Beauty into it, as `cases.npz`."""
    out = RUNS / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    save_cases(out / "cases.npz")
    return out


def save_cases(path: Path) -> None:
    """Write our split of Beauty for the peers."""
    split = pipeline("sasrec").split
    if len(split.test) != len(split.train):
        raise H2RecError("every user must have a test case: use 5-core data")
    pairs = ((np.asarray(h.offsets), np.asarray(h.items)) for h in (split.train, split.test.histories))
    write_cases(path, split.item_count, *pairs, np.asarray(split.test.targets))


def start_peer(
    peer: str, script: str, cases: Path, folder: Path, settings: dict[str, Any], *, envs: Path, core: int
) -> subprocess.Popen[bytes]:
    """Start a peer's script in its own environment, on one core; it writes `outcome.json` into the folder."""
    folder.mkdir(parents=True)
    write_json(folder / "settings.json", SETTINGS | settings)
    words = [environment(peer, envs), HERE / script, cases, folder / "settings.json", folder]
    return _start(words, folder, core, {"PYTHONPATH": str(PARITY), "CUDA_VISIBLE_DEVICES": ""})


def start_ours(script: str, words: list[str], folder: Path, *, core: int) -> subprocess.Popen[bytes]:
    """Start one of our scripts on one core."""
    folder.mkdir(parents=True)
    return _start([sys.executable, HERE / script, *words], folder, core, {})


def _start(words: list[Any], folder: Path, core: int, env: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | ONE_THREAD | env,
        )
    os.sched_setaffinity(process.pid, {core})
    return process


def finish(processes: dict[Path, subprocess.Popen[bytes]]) -> None:
    """Wait until all processes are ready, let them start together, and wait until they end well."""
    (folder,) = {path.parent for path in processes}
    while not all((path / "ready").exists() for path in processes):
        for path, process in processes.items():
            if process.poll():
                raise H2RecError(f"{path.name} failed", f"see {path / 'log.txt'}")
        time.sleep(0.1)
    (folder / "go").touch()
    for path, process in processes.items():
        if process.wait():
            raise H2RecError(f"{path.name} failed", f"see {path / 'log.txt'}")

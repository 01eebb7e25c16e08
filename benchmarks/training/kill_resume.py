"""Kill one training 20 times (SIGKILL), run it to the end, and compare its weights with those of an unbroken run.

`h2rec train` on the Scientific data (H2Rec, CPU, one thread). Half of the kills come at random moments after the start
of the process, half while a checkpoint is being written.

Run: python benchmarks/training/kill_resume.py [--kills 20]
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from beauty import DATASETS, RESULTS, RUNS, SEED

from h2rec.files import file_hash, write_json
from h2rec.run.provenance import provenance

LONGEST_WAIT = 20.0


def config(folder: Path, epochs: int) -> Path:
    data = DATASETS / "scientific"
    values = {
        "data": {"interactions": str(data / "scientific.inter"), "items": str(data / "scientific.item")},
        "text": {"encoder": "tfidf"},
        "semantic_ids": {"quantizer": "rqkmeans"},
        "preset": "h2rec_two_branches",
        "model": {"dim": 32, "layers": 1},
        "train": {"epochs": epochs, "patience": None, "evaluate_users": 500, "seed": SEED},
        "runtime": {"threads": 1, "device": "cpu"},
    }
    path = folder / "killed.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def start(path: Path, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "h2rec", "train", str(path), "--out", str(out)]
    with (out / "said.txt").open("ab") as said:
        return subprocess.Popen(words, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "1"})


def last_epoch(out: Path) -> int:
    names = [path.name for path in out.glob("checkpoints/*/epoch-*")]
    return int(max(names, default="epoch-0").removeprefix("epoch-"))


def being_written(out: Path) -> list[Path]:
    return list(out.glob("checkpoints/*/.*.partial"))


def kill_once(path: Path, out: Path, stream: random.Random, *, at_checkpoint: bool) -> dict[str, Any]:
    before, left_over = last_epoch(out), set(being_written(out))
    process = start(path, out)
    wait = stream.uniform(0, LONGEST_WAIT)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() < began + wait + 300 * at_checkpoint:
        # The random moment first: checkpoints are aimed at from then on.
        if at_checkpoint and time.monotonic() > began + wait and set(being_written(out)) - left_over:
            break
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return {
        "aimed_at_checkpoint": at_checkpoint,
        "seconds_after_start": round(time.monotonic() - began, 2),
        "epoch_before": before,
        "epoch_after": last_epoch(out),
        "in_the_middle_of_writing": bool(set(being_written(out)) - left_over),
        "was_running": process.returncode == -signal.SIGKILL,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    folder = RUNS / "kill_resume"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = config(folder, options.epochs)
    stream = random.Random(SEED)
    kills = []
    for number in range(options.kills):
        kills.append(kill_once(path, folder / "broken", stream, at_checkpoint=number % 2 == 1))
        print(kills[-1], flush=True)
    hashes = {}
    for name in ("broken", "unbroken"):
        if start(path, folder / name).wait():
            sys.exit(f"the {name} run failed: see {folder / name / 'said.txt'}")
        (weights,) = (folder / name).glob("stages/train-*/model.safetensors")
        hashes[name] = file_hash(weights)
    record = {
        "provenance": provenance(SEED),
        "epochs": options.epochs,
        "kills": kills,
        "kills_while_running": sum(kill["was_running"] for kill in kills),
        "kills_while_writing": sum(kill["in_the_middle_of_writing"] for kill in kills),
        "weights_sha256": hashes,
        "same_bytes": hashes["broken"] == hashes["unbroken"],
    }
    write_json(RESULTS / "kill_resume.json", record)
    print({name: record[name] for name in ("kills_while_running", "kills_while_writing", "same_bytes")})


if __name__ == "__main__":
    main()

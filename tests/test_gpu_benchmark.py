"""The benchmark for a card is known to work before there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu" / "run.py"


def rehearsed(out, *words):
    command = [sys.executable, str(SCRIPT), "--cpu-rehearsal", "--out", str(out), *words]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return ended, json.loads(out.read_text())["stages"]


def test_the_rehearsal_measures_all_but_the_peer_and_goes_on_with_what_is_missing(tmp_path):
    ended, stages = rehearsed(tmp_path / "out.json")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert stages["agreement"]["agrees"]
    asked = {(row["preset"], row["precision"], row["compiled"]) for row in stages["epochs"]["rows"]}
    assert {("h2rec", "bfloat16", False), ("sasrec", "float32", True)} <= asked
    assert all(row["targets_a_second"] > 0 for row in stages["epochs"]["rows"])
    assert stages["ranking"]["h2rec"]["users_a_second"] > 0
    assert {row["recall@100_of_the_cpu"] for row in stages["million"]["rows"][:3]} == {1.0}
    assert "RecBole is not there" in stages["recbole"]["missing"]
    assert "NOT MEASURED: recbole: RecBole is not there" in ended.stdout
    # What is whole is kept, also where no time is left for the rest.
    again, kept = rehearsed(tmp_path / "out.json", "--seconds", "0")
    assert again.returncode == 1
    assert again.stdout.count("measured before") == 4
    assert {name: stages[name] for name in list(stages)[:4]} == {name: kept[name] for name in list(kept)[:4]}
    assert "no time was left" in kept["recbole"]["missing"]

"""A worker that is killed ends the others, and any number of workers goes on from the checkpoint."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from torch.distributed.run import __file__ as TORCHRUN

from h2rec import distributed
from h2rec.cli.main import main
from made_shop import write_shop

KILLED = """
import os, signal, sys
from h2rec.cli.main import main
from h2rec.training.trainer import Trainer

whole = Trainer._step

def step(self, batch, random, step, number, diagnosis):
    if os.environ["RANK"] == "1" and step == 7 and "broken" in sys.argv[-1]:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, batch, random, step, number, diagnosis)

Trainer._step = step
main(sys.argv[1:])
"""


def by_workers(folder, *words):
    """Carry a command out with two workers; the second one is killed where the output is called broken."""
    script = folder / "killed.py"
    script.write_text(KILLED)
    return subprocess.run(
        [sys.executable, TORCHRUN, "--nproc-per-node", "2", str(script), *words],
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip


def log_of(out):
    (path,) = out.glob("stages/train-*/training.json")
    return [
        {k: v for k, v in record.items() if "seconds" not in k}
        for record in json.loads(path.read_text())["log"]
    ]


def test_kill_nine_of_a_worker_and_go_on_with_as_many_or_with_one(tmp_path, capsys):
    write_shop(tmp_path)
    words = ["train", str(tmp_path / "shop.yaml")]
    for setting in ("model.dropout=0", "train.patience=null", "train.batch_tokens=64"):
        words += ["--set", setting]
    with pytest.raises(SystemExit):
        main([*words, "--out", str(tmp_path / "alone")])
    alone = log_of(tmp_path / "alone")
    killed = by_workers(tmp_path, *words, "--out", str(tmp_path / "broken"))
    assert killed.returncode != 0
    assert killed.stderr.count("error: another worker ended") == 1
    assert "start the same command again" in killed.stderr
    shutil.copytree(tmp_path / "broken", tmp_path / "again")
    shutil.copytree(tmp_path / "broken", tmp_path / "with_one")

    again = by_workers(tmp_path, *words, "--out", str(tmp_path / "again"))
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stderr.count("resumed after epoch 1") == 1
    assert again.stdout.count("weights: ") == 1
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "with_one")])
    assert ended.value.code == 0
    assert "resumed on 1 workers and begun on 2" in capsys.readouterr().err
    for out in ("again", "with_one"):
        for ours, record in zip(log_of(tmp_path / out), alone, strict=True):
            for name in ("epoch", "targets", "loss", "valid"):
                assert ours[name] == pytest.approx(record[name], rel=1e-4), out


def test_a_command_that_trains_nothing_together_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(distributed, "launched", lambda: True)
    monkeypatch.setattr(distributed, "join", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main(["compare", "suite.yaml"])
    assert ended.value.code == 2
    assert "several workers can't share 'h2rec compare'" in capsys.readouterr().err

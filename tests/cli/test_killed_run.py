"""A run that is killed at any moment goes on with the same command and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time

from made_shop import write_shop


def start(folder, out):
    words = [sys.executable, "-m", "h2rec", "train", str(folder / "shop.yaml"), "--out", str(out)]
    words += ["--set", "train.epochs=40", "--set", "train.patience=null"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ))


def weights(out):
    (path,) = out.glob("stages/train-*/model.safetensors")
    return path.read_bytes()


def test_kill_nine_and_go_on(tmp_path):
    write_shop(tmp_path, users=400)
    unbroken = start(tmp_path, tmp_path / "unbroken")
    broken = start(tmp_path, tmp_path / "broken")
    deadline = time.monotonic() + 120
    while (
        not list((tmp_path / "broken").glob("checkpoints/*/epoch-00000[3-9]")) and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert not list((tmp_path / "broken").glob("stages/train-*")), (
        "the training was over before it was killed"
    )
    again = start(tmp_path, tmp_path / "broken")
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert b"resumed after epoch" in said
    assert unbroken.wait(timeout=120) == 0
    assert weights(tmp_path / "broken") == weights(tmp_path / "unbroken")

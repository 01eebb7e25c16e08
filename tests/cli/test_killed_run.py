"""A run that is killed at any moment goes on with the same command and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time

from made_shop import write_shop


def start(command, folder, out, *settings):
    words = [sys.executable, "-m", "h2rec", command, str(folder / "shop.yaml"), "--out", str(out)]
    words += [word for setting in settings for word in ("--set", setting)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ))


def killed_and_gone_on(command, folder, *settings, stage, checkpoint):
    """Kill a run once its checkpoint is there, start it again beside an unbroken one; what the second start said."""
    unbroken = start(command, folder, folder / "unbroken", *settings)
    broken = start(command, folder, folder / "broken", *settings)
    while not list((folder / "broken").glob(f"checkpoints/{checkpoint}")) and broken.poll() is None:
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert not list((folder / "broken").glob(f"stages/{stage}-*")), "it was over before it was killed"
    again = start(command, folder, folder / "broken", *settings)
    _, said = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert unbroken.wait(timeout=600) == 0
    return said.decode()


def content(out, file):
    (path,) = out.glob(f"stages/{file}")
    return path.read_bytes()


def test_kill_nine_in_the_training_and_go_on(tmp_path):
    write_shop(tmp_path, users=200)
    settings = "train.epochs=40", "train.patience=null"
    said = killed_and_gone_on("train", tmp_path, *settings, stage="train", checkpoint="*/epoch-00000[3-9]")
    assert "resumed after epoch" in said
    weights = "train-*/model.safetensors"
    assert content(tmp_path / "broken", weights) == content(tmp_path / "unbroken", weights)


def test_kill_nine_in_the_tokenizer_and_go_on(tmp_path):
    write_shop(tmp_path)
    settings = "semantic_ids.quantizer={name: rqvae, epochs: 1000}"
    said = killed_and_gone_on(
        "tokenize", tmp_path, settings, stage="semantic_ids", checkpoint="semantic_ids-*.safetensors"
    )
    assert "RQ-VAE resumed after epoch" in said
    for file in ("quantizer/quantizer.safetensors", "codes.npy", "semantic_ids.json"):
        made = f"semantic_ids-*/{file}"
        assert content(tmp_path / "broken", made) == content(tmp_path / "unbroken", made)
    assert not list((tmp_path / "broken" / "checkpoints").iterdir())

"""A run that is killed in the middle of its work goes on with the same command and ends with the same bytes."""

import os
import signal
import subprocess
import sys

import pytest

from h2rec.cli.main import main
from made_shop import write_shop

KILLED = """
import os, signal, sys
from h2rec.cli.main import main
from h2rec.semantic_ids.quantizers.rqvae_fitting import Fitting
from h2rec.training.trainer import Trainer

def killed_in(kind, name, is_time):
    whole = getattr(kind, name)
    def until_then(*arguments):
        if is_time(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments)
    setattr(kind, name, until_then)

# In the second batch of the third epoch, where there are checkpoints of those before.
second = []
killed_in(Trainer, "_step", lambda *asked: asked[4] == 1 and (second.append(1) or len(second) == 3))
killed_in(Fitting, "_revive", lambda self, batch, epoch: epoch == 2)
main(sys.argv[1:])
"""


def finished(folder, command, out, *settings):
    words = [command, str(folder / "shop.yaml"), "--out", str(folder / out)]
    words += [word for setting in settings for word in ("--set", setting)]
    if out == "broken":
        killed = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, env=dict(os.environ))
        assert killed.returncode == -signal.SIGKILL
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return folder / out


def content(out, file):
    (path,) = out.glob(f"stages/{file}")
    return path.read_bytes()


def test_kill_nine_in_the_training_and_go_on(tmp_path, capsys):
    write_shop(tmp_path)
    settings = "train.epochs=4", "train.patience=null", "train.batch_tokens=128"
    unbroken, broken = (finished(tmp_path, "train", out, *settings) for out in ("unbroken", "broken"))
    assert "resumed after epoch 2" in capsys.readouterr().err
    weights = "train-*/model.safetensors"
    assert content(broken, weights) == content(unbroken, weights)


def test_kill_nine_in_the_tokenizer_and_go_on(tmp_path, capsys):
    write_shop(tmp_path)
    settings = "semantic_ids.quantizer={name: rqvae, epochs: 20}"
    unbroken, broken = (finished(tmp_path, "tokenize", out, settings) for out in ("unbroken", "broken"))
    assert "RQ-VAE resumed after epoch 1" in capsys.readouterr().err
    for file in ("quantizer/quantizer.safetensors", "codes.npy", "semantic_ids.json"):
        made = f"semantic_ids-*/{file}"
        assert content(broken, made) == content(unbroken, made)
    assert not list((broken / "checkpoints").iterdir())

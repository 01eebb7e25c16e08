"""A full disk and a read-only folder: a clear error, and nothing that was finished is lost."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from h2rec.cli.main import main
from h2rec.run.stages import StageStore
from h2rec.training import trainer
from made_shop import write_shop

STAGES = ("data", "text", "semantic_ids", "audit", "train", "blend", "evaluate")


@contextmanager
def full_disk(room=100):
    """No file may grow beyond some bytes: what the system refuses then, it refuses on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def command(capsys, folder, out):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(folder / "shop.yaml"), "--out", str(out)])
    return ended.value.code, " ".join(capsys.readouterr().err.split())


def finished(out):
    return {path.name for path in (out / "stages").iterdir() if not path.name.startswith(".")}


def weights(out):
    (path,) = out.glob("stages/train-*/model.safetensors")
    return path.read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.raises(SystemExit):
        main(["evaluate", str(write_shop(folder)), "--out", str(folder / "out")])
    return folder / "out"


@pytest.mark.parametrize("full_at", STAGES)
def test_a_disk_that_fills_up_ends_a_stage_and_no_more(full_at, unbroken, tmp_path, monkeypatch, capsys):
    write_shop(tmp_path)
    out = tmp_path / "out"
    run = StageStore.run

    def run_without_room(self, name, depends_on, work):
        if name != full_at:
            return run(self, name, depends_on, work)
        with full_disk():
            return run(self, name, depends_on, work)

    with monkeypatch.context() as patched:
        patched.setattr(StageStore, "run", run_without_room)
        code, said = command(capsys, tmp_path, out)
    assert code == 2
    assert "can't write" in said
    assert "check free space" in said
    assert "Traceback" not in said
    assert "Logging error" not in said
    before = finished(out) if (out / "stages").exists() else set()
    assert {name.rpartition("-")[0] for name in before} == set(STAGES[: STAGES.index(full_at)])
    assert not list(out.rglob("*.partial")), "what could not be written takes no room"
    code, said = command(capsys, tmp_path, out)
    assert code == 0
    assert said.count("reused") >= len(before)
    assert weights(out) == weights(unbroken)


def test_a_disk_that_fills_up_in_training_keeps_the_last_checkpoint(unbroken, tmp_path, monkeypatch, capsys):
    write_shop(tmp_path)
    out = tmp_path / "out"
    save = trainer.save_checkpoint

    def save_without_room(folder, model, optimizer, best, progress):
        with full_disk() if progress.epoch == 2 else full_disk(resource.RLIM_INFINITY):
            save(folder, model, optimizer, best, progress)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "save_checkpoint", save_without_room)
        code, said = command(capsys, tmp_path, out)
    assert code == 2
    assert "can't write" in said
    assert [path.name for path in out.glob("checkpoints/*/*")] == ["epoch-000001"]
    code, said = command(capsys, tmp_path, out)
    assert code == 0
    assert "resumed after epoch 1" in said
    assert weights(out) == weights(unbroken)


WITHOUT_PRIVILEGE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # even root may then write only where the permissions say so
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
EVALUATE = """
import sys
from h2rec.cli.main import main
for out in sys.argv[2:]:
    try:
        main(["evaluate", sys.argv[1], "--out", out])
    except SystemExit as ended:
        print("ended:", ended.code)
"""


def run_without_privilege(folder, *outs):
    words = [sys.executable, "-c", WITHOUT_PRIVILEGE, EVALUATE, str(folder / "shop.yaml"), *map(str, outs)]
    return subprocess.run(words, check=False, capture_output=True, text=True, env=dict(os.environ))


@pytest.mark.skipif(sys.platform != "linux", reason="takes a privilege away as Linux does")
def test_a_read_only_folder_is_told_plainly(unbroken, tmp_path):
    write_shop(tmp_path)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    # Inside a folder that can't be written, and into a run that was finished and may not be changed.
    shutil.copytree(unbroken, shelf / "done")
    whole = {path.name: path.read_bytes() for path in (shelf / "done").rglob("*.*") if path.is_file()}
    (shelf / "done").chmod(0o555)
    (shelf / "done" / "stages").chmod(0o555)
    shelf.chmod(0o555)
    try:
        ended = run_without_privilege(tmp_path, shelf / "new", shelf / "done")
        assert ended.stdout.split() == ["ended:", "2"] * 2, ended.stderr
        assert ended.stderr.count("can't write") == 2
        assert ended.stderr.count("Permission denied") == 2
        assert "Traceback" not in ended.stderr
        assert whole == {
            path.name: path.read_bytes() for path in (shelf / "done").rglob("*.*") if path.is_file()
        }
    finally:
        for path in (shelf, shelf / "done", shelf / "done" / "stages"):
            path.chmod(0o755)

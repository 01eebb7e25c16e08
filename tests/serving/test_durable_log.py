"""The log of an experiment: durable, rotated, whole rows only."""

import errno
import json
import os
import threading

import pytest

from h2rec.errors import StorageError
from h2rec.serving.experiment import log as module
from h2rec.serving.experiment.log import DurableLog
from h2rec.serving.experiment.settings import LogSettings


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def make(tmp_path):
    clock = Clock()
    made = []

    def log(kind="impressions", **values):
        made.append(DurableLog(LogSettings(folder=tmp_path / "logs", **values), kind, clock))
        return made[-1]

    log.clock = clock
    yield log
    for one in made:
        one.close()


def names(tmp_path):
    return sorted(path.name.rpartition("Z-")[2] for path in (tmp_path / "logs").iterdir())


def rows(tmp_path):
    return [
        json.loads(line)["n"]
        for path in sorted((tmp_path / "logs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for line in path.read_text().splitlines()
    ]


def test_rows_are_with_the_system_when_write_returns(make, tmp_path):
    log = make()
    assert list((tmp_path / "logs").iterdir()) == []
    log.write([{"n": 1}, {"n": 2}])
    assert rows(tmp_path) == [1, 2]  # read from outside, nothing closed
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name == f"impressions-{os.getpid()}-20270115T080000Z-1.jsonl.part"
    log.close()
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name.endswith("Z-1.jsonl")
    log.write([{"n": 3}])
    assert names(tmp_path) == ["1.jsonl", "2.jsonl.part"]


def test_files_are_rotated_by_size_and_by_age(make, tmp_path):
    log = make(max_mb=0.00005, max_minutes=10)
    log.write([{"n": 1, "long": "x" * 60}])
    log.write([{"n": 2}])
    assert names(tmp_path) == ["1.jsonl", "2.jsonl.part"]
    make.clock.now += 599
    log.rotate_if_due()
    assert names(tmp_path) == ["1.jsonl", "2.jsonl.part"]
    make.clock.now += 1
    log.rotate_if_due()
    log.rotate_if_due()
    assert names(tmp_path) == ["1.jsonl", "2.jsonl"]
    log.write([{"n": 3}])
    assert rows(tmp_path) == [1, 2, 3]


def test_no_file_of_another_writer_is_taken(make, tmp_path):
    first, second = make(), make()
    first.write([{"n": 1}])
    second.write([{"n": 2}])
    first.close()
    third = make()
    third.write([{"n": 3}])
    assert names(tmp_path) == ["1.jsonl", "2.jsonl.part", "3.jsonl.part"]


def test_threads_write_whole_rows(make, tmp_path):
    log = make(max_mb=0.001)
    threads = [
        threading.Thread(target=lambda start=start: [log.write([{"n": start + n}]) for n in range(100)])
        for start in range(0, 800, 100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rows(tmp_path)) == list(range(800))
    assert len(names(tmp_path)) > 5


@pytest.mark.parametrize("truncated", [True, False])
def test_a_full_disk_leaves_no_half_row_before_others(make, tmp_path, monkeypatch, truncated):
    log = make()
    log.write([{"n": 1}])
    write = os.write

    def full(descriptor, data):
        if len(data) > 4:
            return write(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    def refused(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        if not truncated:
            patch.setattr(module.os, "ftruncate", refused)
        with pytest.raises(StorageError, match="No space left on device"):
            log.write([{"n": 2}])
    log.write([{"n": 3}])
    texts = [path.read_text() for path in sorted((tmp_path / "logs").iterdir())]
    if truncated:
        assert texts == ['{"n": 1}\n{"n": 3}\n']
    else:
        assert texts == ['{"n": 1}\n{"n": 2}', '{"n": 3}\n']
        assert names(tmp_path) == ["1.jsonl.part", "2.jsonl.part"]


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't make"):
        DurableLog(LogSettings(folder=tmp_path / "file"), "impressions")


def test_fsync_waits_for_the_disk(make, monkeypatch):
    synced = []
    monkeypatch.setattr(module.os, "fsync", synced.append)
    make().write([{"n": 1}])
    assert synced == []
    log = make(fsync=True)
    log.write([{"n": 1}])
    assert len(synced) == 2  # the name of the file, and the row
    log.write([{"n": 2}])
    assert len(synced) == 3

"""A small suite, run once for all tests that look at what suites leave."""

import fcntl
import os
import shutil

import pytest

from h2rec.experiments.suite.suite import Suite


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The shipped suite `tiny`, finished."""
    own = tmp_path_factory.getbasetemp()
    # One for all workers: those that come later wait, and take a copy of their own.
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own / "run"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, (folder / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setenv("H2REC_CACHE", str(folder / "cache"))
        assert Suite.load("tiny", folder / "tiny").run(jobs=1) == {}
        shutil.copytree(folder / "tiny", own / "tiny")
    return Suite.load("tiny", own / "tiny")

"""A small suite, run once for all tests that look at what suites leave."""

import os

import pytest

from h2rec.experiments.suite.suite import Suite


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The shipped suite `tiny`, finished."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one for all workers: those that come later wait, and reuse what is there
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("H2REC_CACHE", str(folder / "cache"))
        suite = Suite.load("tiny", folder / "tiny")
        assert suite.run(jobs=1) == {}
    return suite

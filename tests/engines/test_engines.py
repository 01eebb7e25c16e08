"""Engines by name."""

import sys
import time

import pytest

from h2rec.engines import LOCAL, EngineName, open_engine
from h2rec.errors import ConfigError, MissingExtraError


def test_one_machine_needs_no_other_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert open_engine(EngineName.LOCAL) is LOCAL
    with pytest.raises(MissingExtraError, match="the engine 'ray' needs the extra 'ray'"):
        open_engine(EngineName.RAY)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nobody.invalid:6379", "head:number"]
)
def test_a_cluster_that_is_not_there_is_told_at_once(address, monkeypatch):
    """Ray itself waits for a minute or two."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="can't be reached"):
        open_engine(EngineName.RAY)
    assert time.monotonic() - began < 20


def test_parts_are_done_one_after_the_other_when_they_are_asked_for():
    done = []
    results = LOCAL.map(done.append, [1, 2, 3])
    assert done == []
    next(results)
    assert done == [1]

"""Engines by name."""

import sys

import pytest

from h2rec.engines import LOCAL, EngineName, open_engine
from h2rec.errors import MissingExtraError


def test_one_machine_needs_no_other_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert open_engine(EngineName.LOCAL) is LOCAL
    with pytest.raises(MissingExtraError, match="the engine 'ray' needs the extra 'ray'"):
        open_engine(EngineName.RAY)


def test_parts_are_done_one_after_the_other_when_they_are_asked_for():
    done = []
    results = LOCAL.map(done.append, [1, 2, 3])
    assert done == []
    next(results)
    assert done == [1]

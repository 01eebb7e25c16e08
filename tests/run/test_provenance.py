"""Where a result comes from, as a command that can be given again."""

import sys

import pytest

from h2rec.run.provenance import provenance


@pytest.mark.parametrize("program", ["/usr/bin/h2rec", "/somewhere/h2rec/__main__.py"])
def test_the_command_is_named_without_the_folders_of_the_machine(monkeypatch, program):
    monkeypatch.setattr(sys, "argv", [program, "run", "shop.yaml", "--set", "train.epochs=2"])
    assert provenance(0)["command"] == "h2rec run shop.yaml --set train.epochs=2"

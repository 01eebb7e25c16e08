"""The tables of the pages are what the results files give."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


TABLES = ["semantic_ids", "suites", "parity", "cold_start", "serving", "training", "experiments"]


@pytest.mark.parametrize("script", [f"benchmarks.{name}.table" for name in TABLES])
def test_the_tables_are_those_of_the_results_files(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["table.py", "--check"])
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(script, run_name="__main__")
    assert ended.value.code == 0

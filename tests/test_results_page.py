"""The tables of docs/results.md are what the results files give."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "script", ["benchmarks.first_look.table", "benchmarks.suites.table", "benchmarks.efficiency.table"]
)
def test_the_tables_are_those_of_the_results_files(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["table.py", "--check"])
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(script, run_name="__main__")
    assert ended.value.code == 0

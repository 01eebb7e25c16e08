"""The guide's examples run as they stand, and its tables are what the results files give."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "semantic_ids.md"


def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    assert names["found"].semantic_ids.codes.shape == (1000, 3)
    assert (names["new"].outlyingness == 1.0).all()
    assert names["again"].codes.tolist() == names["found"].semantic_ids.codes.tolist()


def test_the_tables_are_those_of_the_results_files(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["table.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "benchmarks" / "semantic_ids" / "table.py"), run_name="__main__")
    assert ended.value.code == 0

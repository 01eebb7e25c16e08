"""The efficiency benchmark, on sizes that say nothing."""

import json
import sys
from pathlib import Path

import pytest

from h2rec.research.suite.files import SHIPPED
from h2rec.run.config import read_yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    from benchmarks.efficiency import run, table

    yield run, table
    # Run as a script by another test, a module that is loaded already would be warned of.
    for name in ("run", "table"):
        sys.modules.pop(f"benchmarks.efficiency.{name}", None)


def test_a_cell_measures_what_it_says(benchmark):
    run, _ = benchmark
    cells = {
        model: run.measure(model, items=200, length=6, targets=500)
        for model in ("sasrec", "llm_esr", "h2rec", "h2rec_hybrid")
    }
    assert {cell["targets"] for cell in cells.values()} == {500}
    assert all(cell["epoch_seconds"] > 0 for cell in cells.values())
    assert all(cell["peak_bytes"] >= cell["training_peak_bytes"] > 2**20 for cell in cells.values())
    tables = {model: cell["parameters"] - 202 * 128 for model, cell in cells.items()}
    bigger = {model: run.measure(model, items=400, length=6, targets=100) for model in ("sasrec", "h2rec")}
    # A larger catalogue costs each model one table row an item.
    assert {m: cell["parameters"] - 402 * 128 for m, cell in bigger.items()} == {m: tables[m] for m in bigger}
    assert cells["llm_esr"]["frozen_bytes"] >= 200 * 384 * 4


def test_every_model_has_a_name_and_h2rec_is_that_of_the_main_suite(benchmark):
    run, table = benchmark
    assert list(table.NAMES) == list(run.MODELS)
    assert read_yaml(SHIPPED / "main.yaml")["models"]["H2Rec"] == {"preset": run.MODELS["h2rec_hybrid"]}


def test_finished_cells_are_kept_and_make_a_table(benchmark, tmp_path, monkeypatch, capfd):
    run, table = benchmark
    out = tmp_path / "efficiency.json"
    words = [
        "run.py",
        "--items",
        "200",
        "--lengths",
        "6",
        "--targets",
        "300",
        "--models",
        "sasrec",
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", words)
    run.main()
    first = out.read_text()
    assert json.loads(first)["commands"] == ["run.py --items 200 --lengths 6 --targets 300 --models sasrec"]
    assert str(tmp_path) not in first
    assert "'model': 'sasrec'" in capfd.readouterr().out
    run.main()
    assert out.read_text() == first
    assert capfd.readouterr().out == ""
    monkeypatch.setattr(table, "RESULTS", out)
    cell = json.loads(first)["cells"][0]
    row = next(line for line in table.efficiency().splitlines() if "SASRec |" in line)
    assert f"{cell['parameters']:,}" in row
    assert "| 1.00 |" in row
    monkeypatch.setattr(table, "RESULTS", tmp_path / "none.json")
    assert table.efficiency() == ""

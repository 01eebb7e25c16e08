"""The notebooks run from start to end, and what they are kept with is what such a run shows."""

import nbformat
import pytest
from nbclient import NotebookClient

from pages import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def shown(notebook):
    """Which cells show a result, and in which forms."""
    return [
        [sorted(output.data) for output in cell.outputs if output.output_type == "execute_result"]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_it_is_kept_with(path, tmp_path, monkeypatch):
    kept = nbformat.read(path, as_version=4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fresh = nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert shown(fresh) == shown(kept)
    assert sum(map(bool, shown(fresh))) >= 4


def test_there_is_one_for_each_user():
    assert {path.stem for path in NOTEBOOKS} == {"engineer", "researcher"}

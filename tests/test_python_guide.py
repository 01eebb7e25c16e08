"""The page for people who import: the ten lines as they stand, on frames of every library, and all its other code."""

import re
from pathlib import Path

import polars as pl
import pytest

import h2rec.run.presets
from h2rec.run.presets import merge
from made_frames import KINDS, SMALL, is_of, made_frames

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Every preset small, so that the lines need no settings that a reader does not see."""
    real = h2rec.run.presets.preset_values
    monkeypatch.setattr(h2rec.run.presets, "preset_values", lambda name: merge(real(name), SMALL))
    monkeypatch.chdir(tmp_path)


def frames_of(kind):
    events, items = made_frames()
    events = events.with_columns(price=pl.col("sku") % 9 + 0.5)
    histories = pl.DataFrame({"user_id": ["ann", "bob"], "history": [[1042, 77], [310]]})
    new_items = pl.DataFrame({"sku": [9001], "title": ["tea green leaf, new"]})
    made = {"events": events, "items": items, "histories": histories, "new_items": new_items}
    return {name: KINDS[kind](frame) for name, frame in made.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_ten_lines_run_as_they_stand(kind, small):
    names = frames_of(kind)
    lines = BLOCKS[0].splitlines()
    exec("\n".join(lines[:-1]), names)
    answers = eval("model.recommend_frame(histories, k=10)", names)
    assert is_of(kind, answers)
    assert set(pl.DataFrame(answers)["user_id"]) == {"ann", "bob"}
    loaded = eval(lines[-1], names)
    assert loaded.similar_items(9001, k=2).items == names["model"].similar_items("9001", k=2).items


def test_all_other_code_runs(small):
    names = frames_of("polars")
    exec(BLOCKS[0].splitlines()[0], names)
    for block in BLOCKS[1:]:
        exec(block, names)
    assert names["growth"].added[0].like
    assert (Path("runs/shop") / "report.html").exists()
    by_price = h2rec.Transitions().fit(names["by_price"]).evaluate()
    assert "weighted by price" in repr(by_price)
    assert "; by price: " in by_price.notes[0]


def test_it_is_short_and_names_every_model():
    assert len(PAGE.splitlines()) <= 200
    assert all(f"`{name}`" in PAGE for name in h2rec._MODELS)

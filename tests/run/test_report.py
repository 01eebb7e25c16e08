"""The report of a run: pictures of its figures, which a browser shows at every width."""

import json
import re

import pytest

from browser import opened
from h2rec.run import pictures
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from made_shop import write_shop


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    config = RunConfig.load(write_shop(folder), ["model.name=h2rec", "model.dim=8", "train.epochs=2"])
    pipeline = Pipeline(config, folder / "out")
    pipeline.evaluated(baselines=True)
    return pipeline


@pytest.fixture(scope="module")
def metrics(run):
    return json.loads((run.out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def page(run):
    return (run.out / "report.html").read_text()


def test_the_report_opens_with_pictures_and_folds_the_tables(page):
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == [
        "Is it better than what is simple?", "From rare to popular items", "Who is shown", "Training", "All figures",
    ]  # fmt: skip
    assert page.index("NDCG@10 is") < page.index("<figure>") < page.index("<table>")
    assert not re.search(r"<table>", re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL))
    assert 'href="audit.html"' in page


def test_bars_are_as_long_as_the_figures(metrics):
    systems = pictures.systems_of("h2rec", metrics)
    assert list(systems) == ["h2rec", "item-to-item counts", "popularity"]
    (bars,) = pictures.standing(systems)  # no cut-off at 100 in this shop
    assert bars.title == "NDCG@10"
    values = [b[part]["ndcg@10"] for part in ("overall", "head", "tail") for b in systems.values()]
    drawn = [bar for _, group in bars.groups for bar in group]
    assert [bar.width for bar in drawn] == pytest.approx([100 * value / max(values) for value in values])
    assert [bar.text for bar in drawn] == [f"{value:.4f}" for value in values]
    assert [bar.series for bar in drawn] == [0, 1, 2] * 3


def test_differences_lie_on_their_side_of_zero_within_their_intervals():
    row = {"relative": -0.2, "low": -0.3, "high": -0.1, "p": 0.01}
    good = {"relative": 0.1, "low": -0.05, "high": 0.2, "p": 0.2}
    nothing = {"relative": None, "low": None, "high": None, "p": 0.01}
    lift = {"overall": {"ndcg@10": row}, "head": {"ndcg@10": good}, "tail": {"ndcg@10": nothing}}
    (bars,) = pictures.lifts({"pop": {"lift": lift}})
    assert bars.zero == pytest.approx(60)
    ((title, (below, above, none)),) = bars.groups
    assert (title, bars.title) == ("NDCG@10", "Against popularity")
    assert (below.start, below.width, *below.interval) == pytest.approx((20, 40, 0, 40))
    assert (above.start, above.width, *above.interval) == pytest.approx((60, 20, 50, 100))
    assert (below.unsure, above.unsure) == (False, True)
    assert (none.width, none.interval, none.text) == (0, None, "from nothing")
    assert list(pictures.lifts({"pop": {"lift": {}}})) == []


@pytest.mark.parametrize(
    ("low", "high", "cover", "ticks"),
    [
        (0, 0.0691, True, [0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]),
        (1, 12, False, [2, 4, 6, 8, 10, 12]),
        (1, 2, False, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        (4.2, 9.7, True, [4, 5, 6, 7, 8, 9, 10]),
        (0.5, 0.5, True, [0.5, 0.6]),
        (0, 0, True, [0, 0.2]),
    ],
)
def test_axes_have_round_numbers(low, high, cover, ticks):
    assert pictures.ticks_between(low, high, cover=cover) == pytest.approx(ticks)


def test_curves_lie_between_their_axes():
    log = [
        {"epoch": 1, "loss": 9.0, "valid": {"m": 0.1}},
        {"epoch": 2, "loss": 6.5},
        {"epoch": 3, "loss": 4.0, "valid": {"m": 0.3}},
    ]
    loss, valid = pictures.training(log, "m")
    points = [tuple(map(float, dot.split(","))) for dot in loss.dots[0]]
    at = {label: y for y, label in loss.y_ticks}
    assert [y for _, y in points] == pytest.approx([at["9"], (at["6"] + at["7"]) / 2, at["4"]], abs=0.06)
    assert [x for x, _ in loss.x_ticks] == pytest.approx([x for x, _ in points], abs=0.06)
    assert [label for _, label in loss.x_ticks] == ["1", "2", "3"]
    assert (valid.title, len(valid.dots[0])) == ("validation m", 2)
    assert list(pictures.training([], "m")) == []


def test_a_run_without_baselines_has_a_report_too(run, tmp_path):
    alone = Pipeline(run.config, tmp_path, run.store.root)
    alone.evaluated()
    page = (tmp_path / "report.html").read_text()
    assert "<h2>What it finds</h2>" in page
    assert "popularity (" not in page


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_scrolling_sideways(run, width):
    with opened(run.out / "report.html", width) as (page, problems):
        for closed in (True, False):
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, closed
            page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        assert problems == []
        # Every name and number of a bar has its place.
        cut = "(e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1"
        assert page.evaluate(f"[...document.querySelectorAll('.bar b, .bar span')].filter({cut}).length") == 0

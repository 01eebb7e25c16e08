"""The report of a run: pictures of its figures, which a browser shows at every width."""

import json
import re

import numpy as np
import polars as pl
import pytest

from browser import opened
from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.models.scorer import CatalogueScorer
from h2rec.run import pictures, words
from h2rec.run.config import RunConfig
from h2rec.run.examples import example_cases, examples
from h2rec.run.pipeline import Pipeline
from h2rec.run.report import write_report
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
        "Is it better than what is simple?", "From rare to popular items", "Who is shown",
        "Test users, and what they would get", "Training", "All figures",
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
    assert (none.width, none.interval, none.text) == (0, None, "–")
    assert bars.note.endswith("a dash where popularity finds nothing at all")
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
    loss, valid = pictures.training(log, "m", "validation M")
    points = [tuple(map(float, dot.split(","))) for dot in loss.dots[0]]
    at = {label: y for y, label in loss.y_ticks}
    assert [y for _, y in points] == pytest.approx([at["9"], (at["6"] + at["7"]) / 2, at["4"]], abs=0.06)
    assert [x for x, _ in loss.x_ticks] == pytest.approx([x for x, _ in points], abs=0.06)
    assert [label for _, label in loss.x_ticks] == ["1", "2", "3"]
    assert (valid.title, len(valid.dots[0])) == ("validation M", 2)
    assert list(pictures.training([], "m", "validation M")) == []


def test_users_are_shown_as_they_were_ranked(run, page):
    ranks = pl.read_parquet(run.out / "ranks.parquet").filter(pl.col("split") == "test")
    items, dataset = run.dataset.items, run.dataset
    shown = list(
        examples(
            CatalogueScorer(run.model),
            dataset,
            run.split.test,
            head=run.head,
            settings=run.evaluate_settings,
            seed=0,
        )
    )
    assert [user.among for user in shown] == ["head", "tail", "any"]
    assert len({user.user for user in shown}) == 3
    for user in shown:
        row = ranks.row(by_predicate=pl.col("user_id") == user.user, named=True)
        assert user.place == row["rank_full"]
        assert user.target == items["title"][row["target"] - 1]
        assert user.among == "any" or run.head[row["target"]] == (user.among == "head")
        history = dataset.histories[row["user"]][:-1]
        assert [*user.history] == [items["title"][int(item) - 1] for item in history[-8:]]
        assert user.earlier == max(len(history) - 8, 0)
        places = [place for place, (_, held_out) in enumerate(user.listed, 1) if held_out]
        assert places == ([user.place] if user.place <= 10 else [])
        assert len(user.listed) == 10
        assert f"<figcaption>User {user.user}</figcaption>" in page
        assert f"<mark>{user.target}</mark> at place {user.place} of all items" in page


def test_users_are_drawn_whatever_is_found_for_them():
    cases = Holdout(np.arange(6), Histories.from_lists([[1]] * 6), np.array([1, 2, 2, 2, 2, 2]))
    head = np.array([False, True, False])
    drawn = example_cases(cases, head, 0)
    assert drawn["head"] == 0
    assert len(set(drawn.values())) == 3
    assert drawn == example_cases(cases, head, 0)
    assert list(example_cases(cases, np.zeros(3, dtype=bool), 0)) == ["tail", "any"]
    assert list(example_cases(cases.select(np.array([0])), head, 0)) == ["head"]


def test_no_key_stands_where_words_belong(page, metrics):
    tables = re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)
    told = [*re.findall(r"<th>(.*?)</th>", tables), *re.findall(r"<tr><td>(.*?)</td>", tables)]
    assert {"popularity group 1 of 5, least popular", "popularity group 5 of 5, most popular"} <= set(told)
    assert {"train the model", "history of 3 items", "CPU time of the training, seconds"} <= set(told)
    assert [text for text in told if "_" in text or ":" in text.replace("(Gini;", "").replace("0:", "")] == []
    assert set(metrics["timing"]) - set(words.STAGES) == {"seconds_per_epoch"}
    assert set(metrics["cost"]) == set(words.COST)


def test_cut_offs_that_list_the_whole_catalogue_are_left_out():
    test = {"hit@59": 0.9, "mrr": 0.1, "all": [{"hit@60": 1.0, "cases": 3}, {"a@b": 1}], "hit@100": 1.0}
    told = words.telling({"data": {"items": 60}, "test": test})
    assert told["test"] == {"hit@59": 0.9, "mrr": 0.1, "all": [{"cases": 3}, {"a@b": 1}]}


def test_a_catalogue_of_ten_has_a_report(tmp_path, run):
    metrics = json.loads((run.out / "metrics.json").read_text())
    metrics["data"]["items"] = 10
    write_report(tmp_path / "report.html", run.config, metrics, run.training_log, None)
    page = (tmp_path / "report.html").read_text()
    assert "<th>Hit@5</th>" in page
    assert "@10<" not in page
    assert "Who is shown" not in page
    assert "Semantic IDs</summary>" not in page


@pytest.mark.parametrize(
    ("values", "called"),
    [
        ({}, "h2rec"),
        ({"model": {"dim": 8, "backbone": "convolution"}}, "h2rec"),
        ({"model": {"backbone": "gru4rec"}}, "h2rec with gru4rec"),
        ({"model": {"name": "gru4rec"}}, "gru4rec"),
        ({"preset": "h2rec", "model": {"name": "llm_esr"}}, "llm_esr"),
    ],
)
def test_a_run_is_called_by_the_model_that_it_is(values, called):
    assert RunConfig.parse({"data": {"interactions": "i.csv"}} | values).called == called


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

import json
import re
import sys

import pytest

from browser import opened
from h2rec.errors import MissingExtraError
from h2rec.research.suite.report import write_suite_report
from h2rec.research.suite.verdicts import standing, verdicts

PLOTS = ("sweep-0", "head-tail", "popularity", "popularity-gains", "gains", "exposure")
PLOTS += ("sharing", "alpha", "shares-rank", "shares-popularity", "codes", "training", "loss")


def test_a_page_of_an_unfinished_suite_says_so(page):
    assert "1 of 13 runs are not finished" in page.read_text()


def test_what_users_name_is_escaped(page):
    shown = page.read_text()
    assert "a &amp; b &lt;script&gt;" in shown
    assert "a & b <script>" not in shown


def test_the_page_asks_for_nothing_else(page):
    shown = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert not re.search(r"(src|href)=|url\(|@import", shown)


def test_without_plotly_the_extra_is_named(found, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtraError, match="report"):
        write_suite_report(tmp_path / "report.html", found)


def test_standing_compares_with_the_best_other_row(found):
    def place(s):
        return s["protocol"], s["slice"], s["metric"]

    of_tail = next(s for s in standing(found) if place(s) == ("full", "tail", "ndcg@10"))
    column = {
        r["model"]: r["mean"]
        for r in found["records"]
        if (r["protocol"], r["slice"], r["metric"]) == ("full", "tail", "ndcg@10")
    }
    ours = column.pop("H2Rec")
    assert of_tail["rival"] == max(column, key=column.get)
    assert of_tail["gain"] == pytest.approx(ours / max(column.values()) - 1)
    assert of_tail["place"] == 1 + sum(value > ours for value in column.values())
    said = next(s for s in verdicts(found) if re.match(r"made-shop, full, tail: .* in ndcg@10,", s))
    assert f"{of_tail['gain']:+.1%} against {of_tail['rival']}" in said


def test_sentences_lead_with_the_metric_that_selected_where_it_is_reported(found):
    told = [s["metric"] for s in standing(found) if (s["protocol"], s["slice"]) == ("full", "head")]
    assert told == ["ndcg@10"]
    curves = [curve | {"selected_by": "full.overall.hit@10"} for curve in found["curves"]]
    chosen = standing(found | {"curves": curves})
    told = [(s["protocol"], s["metric"]) for s in chosen if s["slice"] == "head"]
    assert told == [("full", "hit@10"), ("full", "ndcg@10"), ("sampled100", "ndcg@10")]


CUT = """[...document.querySelectorAll('.plot:not([hidden]) .legend')].filter((legend) => {
    const frame = legend.querySelector('.bg').getBoundingClientRect(), page = document.documentElement.clientWidth;
    const inside = (b) => b.bottom <= frame.bottom + 1 && b.right <= page;
    return ![...legend.querySelectorAll('.legendtext')].every((text) => inside(text.getBoundingClientRect()));
}).map((legend) => legend.closest('.plot').dataset.plot)"""
"""Plots with a name in the legend that is cut: below what is seen of the legend, or beyond the page."""
HEIGHTS = (
    "[...document.querySelectorAll('.plot:not([hidden]) .canvas')].map((plot) => plot._fullLayout._size.h)"
)
WIDTH = "document.documentElement.scrollWidth"


def test_a_browser_draws_it_offline_and_follows_the_choices(page, wide):
    with opened(page, 390) as (tab, problems):
        tab.wait_for_selector("body[data-drawn]")
        is_drawn = "all => all.map(f => [f.dataset.plot, f.querySelectorAll('.main-svg').length > 0])"
        drawn = tab.eval_on_selector_all(".plot:not([hidden])", is_drawn)
        assert dict(drawn) == dict.fromkeys(PLOTS, True)
        assert tab.evaluate(WIDTH) <= 390
        assert tab.evaluate(CUT) == []
        assert min(tab.evaluate(HEIGHTS)) > 210  # legends leave room for what they tell of
        tab.set_viewport_size({"width": 1280, "height": 900})
        assert tab.evaluate(WIDTH) <= 1280
        marks = "[...document.querySelectorAll('#head-tail .point')].length"
        assert tab.evaluate(marks) == len(wide["rows"])
        assert tab.locator("h3:visible", has_text="made-shop, full").count() == 1
        tab.select_option("#choose-data", "other shop")
        tab.select_option("#choose-protocol", "sampled100")
        tab.select_option("#choose-metric", "hit@10")
        assert tab.get_attribute("body", "data-drawn") == "other shop sampled100 hit@10"
        assert tab.locator("h3:visible", has_text="made-shop").count() == 0
        assert tab.locator("h3:visible", has_text="other shop, sampled100").count() == 1
        tail = next(
            r["mean"]
            for r in wide["records"]
            if [r[k] for k in ("data", "protocol", "slice", "metric", "model")]
            == ["other shop", "sampled100", "tail", "hit@10", "H2Rec"]
        )
        shown = "document.getElementById('head-tail').data.find(t => t.name === 'H2Rec').y[0]"
        assert tab.evaluate(shown) == pytest.approx(tail)
    assert problems == []


def test_a_sweep_is_drawn_in_its_order_even_where_the_first_model_has_only_a_later_value(found, tmp_path):
    partial = json.loads(json.dumps(found))
    sweep = {"SASRec, warm": ("first", 0.5), "H2Rec, no alignment": ("H2Rec", 0.0), "H2Rec": ("H2Rec", 0.5)}
    partial["rows"]["Pop"] |= {"model": "first", "key": "model.ties.alignment.beta", "value": 0.0}
    for name, (model, value) in sweep.items():
        partial["rows"][name] |= {"model": model, "key": "model.ties.alignment.beta", "value": value}
    partial["records"] = [r for r in partial["records"] if r["model"] != "Pop"]
    path = tmp_path / "report.html"
    write_suite_report(path, partial)
    with opened(path, 1280) as (tab, _):
        tab.wait_for_selector("body[data-drawn]")
        drawn = "document.getElementById('sweep-0')._fullLayout.xaxis._categories"
        assert tab.evaluate(drawn) == ["0", "0.5"]

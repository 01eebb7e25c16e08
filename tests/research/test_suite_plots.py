"""The plots of a suite's report, as a browser draws them, trace by trace against the evidence."""

import pytest

from browser import opened

CHOSEN = ("other shop", "sampled100", "hit@10")
DATA, PROTOCOL, METRIC = CHOSEN
SLICES = ("overall", "head", "tail")
POPULARITY = {"0": "least popular", "1": "2", "2": "3", "3": "4", "4": "most popular"}


@pytest.fixture(scope="module")
def drawn(page):
    """Traces and layout of every plot: none of what is chosen is what the page opens with."""
    with opened(page, 1280) as (tab, problems):
        tab.wait_for_selector("body[data-drawn]")
        for name, value in zip(("data", "protocol", "metric"), CHOSEN, strict=True):
            tab.select_option(f"#choose-{name}", value)
        assert tab.get_attribute("body", "data-drawn") == " ".join(CHOSEN)
        plots = "[...document.querySelectorAll('.plot:not([hidden]) .canvas')]"
        found = tab.evaluate(
            f"Object.fromEntries({plots}.map(p => [p.id, {{data: p.data, layout: p.layout}}]))"
        )
    assert problems == []
    return found


@pytest.fixture(scope="module")
def traces(drawn):
    return {plot: of_plot["data"] for plot, of_plot in drawn.items()}


@pytest.fixture(scope="module")
def own(wide):
    """What the evidence says of the data set and protocol that are chosen, a list a kind."""
    chosen = {"data": DATA, "protocol": PROTOCOL}
    return {
        kind: [e for e in entries if all(e.get(name, value) == value for name, value in chosen.items())]
        for kind, entries in wide.items()
        if kind in ("records", "groups", "exposure", "intent", "shares", "codes", "curves")
    }


@pytest.fixture(scope="module")
def records(own):
    return {(r["model"], r["slice"]): r for r in own["records"] if r["metric"] == METRIC}


def close(expected):
    """Equal but for the last bits, however deep the figures lie."""
    if isinstance(expected, dict):
        return {name: close(value) for name, value in expected.items()}
    return pytest.approx(expected)


def points(trace):
    """Values of a trace by where they stand; on an axis of two levels, by both."""
    return dict(zip(zip(*trace["x"], strict=True), trace["y"], strict=True))


def title(drawn, plot, axis):
    return drawn[plot]["layout"][axis]["title"]["text"]


def test_the_plot_of_head_and_tail_has_the_head_to_the_right_and_the_tail_upwards(
    traces, records, drawn, wide
):
    shown = {
        t["name"]: [*t["x"], *t["y"], *t["error_x"]["array"], *t["error_y"]["array"]]
        for t in traces["head-tail"]
    }
    expected = {}
    for row in wide["rows"]:
        head, tail = records[row, "head"], records[row, "tail"]
        expected[row] = [head["mean"], tail["mean"], head["spread"], tail["spread"]]
    assert shown == expected
    assert [title(drawn, "head-tail", axis) for axis in ("xaxis", "yaxis")] == ["head hit@10", "tail hit@10"]


def test_curves_by_popularity_are_the_groups_own_and_their_relation_to_the_tested_row(traces, own):
    groups = [g for g in own["groups"] if g["kind"] == "popularity"]
    curves, against = {}, {}
    base = {g["name"]: g[METRIC] for g in groups if g["model"] == "H2Rec"}
    for g in groups:
        curves.setdefault(g["model"], {})[POPULARITY[g["name"]]] = g[METRIC]
        change = 100 * (g[METRIC] / base[g["name"]] - 1)
        against.setdefault(g["model"], {})[POPULARITY[g["name"]]] = change
    for plot, expected in (("popularity", curves), ("popularity-gains", against)):
        shown = {t["name"]: dict(zip(t["x"], t["y"], strict=True)) for t in traces[plot]}
        assert shown == close(expected)
        assert all(list(curve) == list(POPULARITY.values()) for curve in shown.values())


def test_bars_of_the_gains_are_those_of_their_slices_with_their_intervals(traces, records, wide):
    shown, expected = {}, {}
    for t in traces["gains"]:
        bars = zip(t["y"], t["x"], t["error_x"]["arrayminus"], t["error_x"]["array"], strict=True)
        for row, value, below, above in bars:
            shown[row, t["name"]] = [value, value - below, value + above]
    for (row, part), record in records.items():
        if row != wide["tested"]:
            # Seen from the row, not from the tested one: the ends of the interval change places.
            base = records["H2Rec", part]["mean"]
            expected[row, part] = [-100 * record[name] / base for name in ("difference", "high", "low")]
    assert shown == close(expected)


def test_every_panel_of_a_sweep_is_a_slice(traces, records, drawn):
    shown = {}
    for t in traces["sweep-0"]:
        axis = t["xaxis"].replace("x", "xaxis")
        assert t["yaxis"] == t["xaxis"].replace("x", "y")
        bars = t["error_y"]["array"]
        shown[title(drawn, "sweep-0", axis)] = dict(zip(t["x"], zip(t["y"], bars, strict=True), strict=True))
    swept = {"0": "H2Rec, no alignment", "0.5": "H2Rec"}
    assert shown == {
        part: {
            value: (records[row, part]["mean"], records[row, part]["spread"]) for value, row in swept.items()
        }
        for part in SLICES
    }


def test_exposure_has_each_row_s_share_of_places_beside_what_its_tail_gains(traces, own, records):
    shown = {t["name"]: (*t["x"], *t["y"]) for t in traces["exposure"]}
    assert shown == {
        e["model"]: (e["tail_share@10"], records[e["model"], "tail"]["mean"]) for e in own["exposure"]
    }


def test_alone_and_shared_are_told_apart_where_items_share_codes(traces, own, drawn):
    groups = [g for g in own["groups"] if g["kind"] == "code_collision"]
    cases = {g["name"]: g["cases"] for g in groups}
    assert {t["name"]: dict(zip(t["x"], t["y"], strict=True)) for t in traces["sharing"]} == {
        f"{side} ({cases[side]} cases)": {g["model"]: g[METRIC] for g in groups if g["name"] == side}
        for side in ("alone", "shared")
    }
    # Where no item shares codes there is one trace, which plotly names in no legend unless it is told to.
    assert drawn["sharing"]["layout"]["showlegend"] is True


def test_alpha_is_told_of_users_whose_last_item_is_of_the_head_and_of_the_tail(traces, own):
    assert {t["name"]: points(t) for t in traces["alpha"]} == {
        f"{part} item": {
            (i["model"], str(level)): value
            for i in own["intent"]
            for level, value in enumerate(i["alpha"][f"last_{part}"], start=1)
        }
        for part in ("head", "tail")
    }


@pytest.mark.parametrize(
    ("plot", "kind", "first"), [("shares-rank", "by_rank", None), ("shares-popularity", "by_popularity", 1)]
)
def test_shares_are_each_branch_s_own(traces, own, plot, kind, first):
    expected = {}
    for s in own["shares"]:
        for place, values in s[kind].items():
            # Groups of popularity are counted from one.
            label = place if first is None else str(int(place) + first)
            for branch, value in zip(s["branches"], values, strict=True):
                expected.setdefault(branch, {})[s["model"], label] = 100 * value
    assert {t["name"]: points(t) for t in traces[plot]} == close(expected)


def test_codes_have_used_ones_and_perplexity_as_shares_of_the_codebook_once_for_equal_codes(traces, own):
    expected = {"used": {}, "perplexity": {}}
    for name, row in (("Pop +4", "Pop"), ("H2Rec", "H2Rec")):
        levels = next(c["levels"] for c in own["codes"] if c["model"] == row)
        for level in levels:
            for figure, bars in expected.items():
                bars[name, str(level["level"])] = 100 * level[figure] / level["codebook_size"]
    assert {t["name"]: points(t) for t in traces["codes"]} == close(expected)


@pytest.mark.parametrize(("plot", "part"), [("training", "valid"), ("loss", "loss")])
def test_every_run_has_its_own_line_of_training(traces, own, drawn, plot, part):
    shown = [(t["name"], [list(point) for point in zip(t["x"], t["y"], strict=True)]) for t in traces[plot]]
    runs = [c for c in own["curves"] if c[part]]
    assert shown == [(c["model"], c[part]) for c in runs]
    for trace, run in zip(traces[plot], runs, strict=True):
        assert f"seed {run['seed']}" in trace["hovertemplate"]
    assert title(drawn, "training", "yaxis") == "validation full.overall.hit@10"

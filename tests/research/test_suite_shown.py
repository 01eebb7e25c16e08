"""The tables of a suite, in its report and in the terminal, cell by cell against the evidence."""

import io
import re
from html.parser import HTMLParser
from itertools import product

import pytest
from rich.console import Console
from rich.text import Text

from h2rec.research.suite.report import write_suite_report
from h2rec.research.suite.terminal import comparison_table, contrast_table

SLICES = ("overall", "head", "tail")
PLACES = tuple(product(("made-shop", "other shop"), ("full", "sampled100")))


class Cell:
    """A cell of a page: what is read in it, its tooltip, its classes and those of what is in it."""

    def __init__(self, attributes):
        self.attributes, self.words, self.classes = attributes, [], set()

    @property
    def text(self):
        return " ".join(self.words)


class Tables(HTMLParser):
    """The tables of a page, each under its section, data set and protocol: rows of the head, rows of the body."""

    def __init__(self, page):
        super().__init__()
        self.found, self.place, self.cell = {}, (None, None, None), None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        classes = (attributes.get("class") or "").split()
        if tag == "section":
            self.place = (attributes["id"], None, None)
        elif "block" in classes:
            self.place = (self.place[0], attributes["data-data"], attributes.get("data-protocol"))
        elif tag == "table":
            self.table = self.found[self.place] = {}
        elif tag in ("thead", "tbody"):
            self.rows = self.table[tag] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.cell = Cell(attributes)
            self.rows[-1].append(self.cell)
        if self.cell:
            self.cell.classes.update(classes)

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.cell = None

    def handle_data(self, data):
        if self.cell and data.strip():
            self.cell.words.append(data.strip())

    def heads(self, *place):
        """A name for each column; of a head of two rows, the group and what is below it."""
        above, *rest = self.found[place]["thead"]
        below = iter(rest[0] if rest else ())
        return [
            f"{cell.text} {next(below).text}" if "colspan" in cell.attributes else cell.text
            for cell in above
            for _ in range(int(cell.attributes.get("colspan", 1)))
        ]

    def texts(self, *place):
        return [[cell.text for cell in row] for row in self.found[place]["tbody"]]

    def cells(self, section, names):
        """Cells of all tables of a section: by data set, protocol, the row's `names` and the column."""
        return {
            (*place[1:], *(cell.text for cell in row[:names]), column): cell
            for place in self.found
            if place[0] == section
            for row in self.found[place]["tbody"]
            for column, cell in zip(self.heads(*place)[names:], row[names:], strict=True)
        }


@pytest.fixture(scope="module")
def tables(page):
    return Tables(page.read_text().partition('id="evidence"')[0])


def significant(record):
    return "p_t" in record and record["p_t"] < 0.05 and record["p_bootstrap"] < 0.05


def better(record):
    return record["difference"] > 0


def arrow(record):
    return (" ▲" if better(record) else " ▼") if significant(record) else ""


def seen_from_rows(found):
    """Records of the rows with their tests against H2Rec, which are kept as H2Rec's own, seen from the row."""
    names = ("data", "protocol", "slice", "metric")
    for r in found["records"]:
        ours = means_of(found, *map(r.get, names))["H2Rec"]
        if r["model"] == "H2Rec":
            yield r
        else:
            yield r | {
                "difference": r["mean"] - ours,
                "relative": r["mean"] / ours - 1,
                "low": -r["high"],
                "high": -r["low"],
                "effect_size": -r["effect_size"],
            }


def column_of(record):
    return f"{record['slice']} {record['metric']}"


def means_of(found, *column):
    """Means of one column by row; a column is a data set, a protocol, a slice and a metric."""
    names = ("data", "protocol", "slice", "metric")
    return {r["model"]: r["mean"] for r in found["records"] if tuple(map(r.get, names)) == column}


def holds(tooltip, record):
    """Whether a tooltip tells the figures of a test, in this order."""
    percent, *told = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", tooltip)]
    names = ("difference", "low", "high", "p_bootstrap", "p_t", "effect_size")
    return percent == pytest.approx(100 * record["relative"], abs=0.006) and told == pytest.approx(
        [record[name] for name in names], abs=0.0006
    )


def test_every_figure_stands_in_its_row_slice_and_metric(tables, wide):
    cells, records = tables.cells("tables", 1), list(seen_from_rows(wide))
    assert {place: cell.text for place, cell in cells.items()} == {
        (r["data"], r["protocol"], r["model"], column_of(r)): (
            f"{r['mean']:.4f}{arrow(r)} ±{r['spread']:.4f}"
        )
        for r in records
    }
    for record in records:
        cell = cells[record["data"], record["protocol"], record["model"], column_of(record)]
        # The place makes it bold or underlined, the direction green or red.
        marks = {f"place{record['place']}"} | (
            {"up" if better(record) else "down"} if significant(record) else set()
        )
        assert cell.classes - {"first"} == marks
        assert cell.attributes["title"].startswith("2 seeds")
        assert record["model"] == "H2Rec" or holds(cell.attributes["title"], record)


def test_every_further_comparison_stands_in_its_rows_slice_and_metric(tables, wide):
    cells = tables.cells("contrasts", 2)
    assert {place: cell.text for place, cell in cells.items()} == {
        (r["data"], r["protocol"], r["model"], r["other"], column_of(r)): f"{r['relative']:+.1%}{arrow(r)}"
        for r in wide["contrasts"]
    }
    for r in wide["contrasts"]:
        cell = cells[r["data"], r["protocol"], r["model"], r["other"], column_of(r)]
        assert holds(cell.attributes["title"], r)


def test_the_tested_row_stands_against_the_best_other_one(tables, wide):
    names = ("data", "protocol", "slice", "metric", "model")
    records = {tuple(map(r.get, names)): r for r in wide["records"]}
    expected, tones = [], []
    for data, protocol in PLACES:
        # The metric that selected the models is one of full ranking.
        for metric, part in product(("hit@10", "ndcg@10") if protocol == "full" else ("ndcg@10",), SLICES):
            means = means_of(wide, data, protocol, part, metric)
            ours = means.pop("H2Rec")
            rival = max(means, key=means.get)
            test = records[data, protocol, part, metric, rival]
            place = f"{1 + sum(mean > ours for mean in means.values())} of {1 + len(means)}"
            figures = f"{ours:.4f}", f"{rival} {means[rival]:.4f}", f"{ours / means[rival] - 1:+.1%}"
            p = f"{max(test['p_bootstrap'], test['p_t']):.3f}"
            expected.append([data, protocol, part, metric, place, *figures, p, f"{test['effect_size']:+.3f}"])
            tones.append(({"good"} if better(test) else {"bad"}) if significant(test) else set())
    place = ("verdict", None, None)
    heads = "data set, protocol, items, metric, place, mean, best other row, against it, p, effect d z"
    assert ", ".join(tables.heads(*place)) == heads
    assert tables.texts(*place) == expected
    assert [row[7].classes for row in tables.found[place]["tbody"]] == tones


def test_what_is_said_of_the_metrics_is_true_whether_the_selecting_one_is_reported_or_not(
    page, found, tables, tmp_path
):
    def said(path):
        lede = re.search(r'id="verdict">.*?<p class="lede">(.*?), against', path.read_text(), re.DOTALL)[1]
        return re.sub("<.*?>", "", lede)

    leading = "In each protocol's leading metric and, where reported, in the one that selected the models"
    assert said(page) == f"{leading}, full.overall.hit@10"
    narrow = tmp_path / "report.html"
    write_suite_report(narrow, found)
    assert said(narrow) == f"{leading}, full.overall.ndcg@100"
    told = Tables(narrow.read_text().partition('id="evidence"')[0]).texts("verdict", None, None)
    assert {row[3] for row in told} == {"ndcg@10"}


def test_exposure_is_told_beside_the_tail_s_own_metric(tables, wide):
    names = [name for name in wide["exposure"][0] if name not in ("data", "model")]
    kinds = {
        "coverage": "catalogue shown",
        "tail_share": "tail's share of places",
        "gini": "Gini of places",
        "popularity": "mean popularity",
    }
    heads = [f"{kinds[kind]} @{depth}" for kind, depth in (name.split("@") for name in names)]
    for data in ("made-shop", "other shop"):
        tail = means_of(wide, data, "full", "tail", "ndcg@10")
        place = ("operator", data, None)
        assert tables.heads(*place) == ["row", "tail ndcg@10", *heads]
        assert tables.texts(*place) == [
            [row["model"], f"{tail[row['model']]:.4f}"]
            + [f"{row[name]:.{1 if name.startswith('popularity') else 3}f}" for name in names]
            for row in wide["exposure"]
            if row["data"] == data
        ]


def test_the_head_is_told_by_cases_and_weighted_with_the_loss_against_the_best_row(tables, wide):
    for data, protocol in PLACES:
        rows = [w for w in wide["weighted_head"] if (w["data"], w["protocol"]) == (data, protocol)]
        expected = [[row["model"]] for row in rows]
        for metric in wide["metrics"]:
            head = means_of(wide, data, protocol, "head", metric)
            best = max(row[metric] for row in rows)
            for row, told in zip(rows, expected, strict=True):
                loss = row[metric] / best - 1
                told += [f"{head[row['model']]:.4f}", f"{row[metric]:.4f}", f"{loss:+.1%}"]
        place = ("operator", data, protocol)
        columns = [(f"head {metric}", "weighted by popularity", "loss") for metric in wide["metrics"]]
        assert tables.heads(*place) == ["row", *(name for group in columns for name in group)]
        assert tables.texts(*place) == expected


def test_cost_and_parameters_stand_in_their_rows(tables, wide):
    parameters = {c["model"]: c["parameters"] for c in wide["curves"] if c["data"] == "made-shop"}
    assert tables.texts("origin", None, None) == [
        [name, f"{hours * 3600:,.0f}", f"{parameters[name]:,}"]
        for name, hours in wide["cost"]["cpu_hours_by_row"].items()
    ]


def written(table):
    """Columns of a table for the terminal, by name: each cell's text and styles, without what pads it."""
    return {
        column.header: [
            (text.plain.rstrip(), *(span.style for span in text.spans))
            for text in map(Text.from_markup, column.cells)
        ]
        for column in table.columns
    }


@pytest.mark.parametrize(("data", "protocol"), PLACES)
def test_the_terminal_s_blocks_hold_their_own_slices_with_marks_and_places(wide, data, protocol):
    rows = list(wide["rows"])
    own = [r for r in seen_from_rows(wide) if (r["data"], r["protocol"]) == (data, protocol)]
    expected = {
        "items": [(part if name == rows[0] else "",) for part in SLICES for name in rows],
        "model": [(name,) for _ in SLICES for name in rows],
    }
    styles = {1: ("bold",), 2: ("underline",)}
    for metric in wide["metrics"]:
        records = {(r["slice"], r["model"]): r for r in own if r["metric"] == metric}
        column = [records[place] for place in product(SLICES, rows)]
        signs = [(" +" if better(r) else " -") if significant(r) else "" for r in column]
        expected[metric] = [
            (f"{r['mean']:.4f} ±{r['spread']:.4f}{sign}", *styles.get(r["place"], ()))
            for r, sign in zip(column, signs, strict=True)
        ]
        assert {" +", " -", ""} >= set(signs) > {""}
        if metric == "ndcg@10":
            expected[f"{metric} against {wide['tested']}"] = [
                (f"{r['relative']:+.1%}, d {r['effect_size']:+.3f}" if "relative" in r else "",)
                for r in column
            ]
    assert written(comparison_table(wide, data, protocol)) == expected


@pytest.mark.parametrize(("data", "protocol"), PLACES)
def test_the_terminal_s_further_comparisons_have_a_star_where_they_are_significant(wide, data, protocol):
    own = [r for r in wide["contrasts"] if (r["data"], r["protocol"]) == (data, protocol)]
    told = ("hit@10", "ndcg@10") if protocol == "full" else ("ndcg@10",)
    expected = {"row": [("H2Rec, no alignment",)], "against": [("SASRec, warm",)]}
    expected |= {
        column_of(r): [(f"{r['relative']:+.1%}{' *' if significant(r) else ''}",)]
        for r in own
        if r["metric"] in told
    }
    assert written(contrast_table(wide, data, protocol)) == expected


def test_captions_say_what_the_marks_of_the_terminal_mean(wide):
    # A row may be named like markup.
    other = wide | {"tested": "H2Rec [new]"}
    marks, stars = (made(other, "made-shop", "full") for made in (comparison_table, contrast_table))
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(marks, stars)
    said = " ".join(console.export_text().split())
    assert "bold: best of its column and items, underlined: second" in said
    assert "+ or -: the row is better or worse than H2Rec [new], p < 0.05 in both corrected tests" in said
    assert "*: the two rows differ, p < 0.05 in both corrected tests" in said
    words = Text.from_markup(marks.caption)
    assert [(words.plain[s.start : s.end], s.style) for s in words.spans] == [
        ("bold", "bold"),
        ("underlined", "underline"),
    ]

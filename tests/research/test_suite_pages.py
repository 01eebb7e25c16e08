"""What of a suite goes into the documents."""

import json
import sys
from pathlib import Path

import pytest

from h2rec.research.suite.evidence import evidence
from h2rec.research.suite.results import write_results
from h2rec.research.suite.tables import cpu_time
from h2rec.research.suite.terminal import comparison_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.suites import keep, sections, table

    yield keep, table, sections
    # Run as a script by another test, a module that is loaded already would be warned of.
    for name in ("keep", "table", "sections"):
        sys.modules.pop(f"benchmarks.suites.{name}", None)


def test_kept_results_make_the_same_page_and_name_no_folder(pages, tiny, tmp_path, monkeypatch):
    keep, table, sections = pages
    found = evidence(tiny)
    place = "/home/me/runs/tiny"
    found["provenance"]["commands"] = [
        f"h2rec compare tiny --data a={place}/a.yaml --out {place} --set a.b=0.5"
    ]
    kept = keep.kept(found)
    assert kept["provenance"]["commands"] == ["h2rec compare tiny --data a=a.yaml --set a.b=0.5"]
    assert "/home" not in json.dumps(kept)
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    assert table.suites() == ""
    write_results(tmp_path / "tiny.parquet", kept)
    page = table.suites()
    assert page == sections.section([found | {"provenance": kept["provenance"]}])
    for record in found["records"]:
        assert f"{record['mean']:.4f}" in page
    best = next(r for r in found["records"] if r["place"] == 1)
    assert f"**{best['mean']:.4f}**" in page
    pop = next(r for r in found["records"] if (r["model"], r["protocol"]) == ("Pop", "full"))
    assert f"| Pop | {pop['mean']:.4f} - |" in page.replace("*", "")
    assert "12 of 12 runs" in page
    told = next(
        line for line in page.splitlines() if line.startswith("| H2Rec, no alignment | SASRec, warm |")
    )
    first = next(r for r in found["contrasts"] if r["protocol"] == "full")
    assert told.split(" | ")[2].strip("*") == f"{first['relative']:+.1%}"


def test_the_absolute_table_has_the_validation_values_that_a_file_holds(pages, tiny, tmp_path, monkeypatch):
    keep, table, _ = pages
    kept = keep.kept(evidence(tiny))
    monkeypatch.setattr(table, "RESULTS", tmp_path)

    def told():
        write_results(tmp_path / "tiny.parquet", kept)
        heads, _, *lines = table.absolute(("tiny",)).splitlines()
        place = heads.split(" | ").index("on validation, full.overall.ndcg@100")
        rows = [line.strip("| ").split(" | ") for line in lines]
        return {(row[0], row[1]): row[place] for row in rows}

    kept["curves"] += [c | {"data": "other shop", "selected_value": 0.5} for c in kept["curves"]]
    for table_of in ("records", "costs"):
        kept[table_of] += [r | {"data": "other shop"} for r in kept[table_of]]
    kept["data"]["other shop"] = kept["data"]["made-shop"]
    values = [
        c["selected_value"] for c in kept["curves"] if (c["data"], c["model"]) == ("made-shop", "H2Rec")
    ]
    assert told()["H2Rec", "made-shop"] == f"{sum(values) / 2:.4f}" != "0.5000"
    assert told()["H2Rec", "other shop"] == "0.5000"
    assert told()["Pop", "made-shop"] == "–"
    for curve in kept["curves"]:
        del curve["selected_value"]
    write_results(tmp_path / "tiny.parquet", kept)
    assert "validation" not in table.absolute(("tiny",))


def test_a_commit_with_changes_is_told_as_one(pages):
    _, table, _ = pages
    of = {
        "commits": ["0904915b59bd", "75588f963015-dirty"],
        "first": "2026-01-01T00",
        "last": "2026-01-02T00",
    }
    told = table.origin({"provenance": of})
    assert told == "commits 0904915b59bd, 75588f963015-dirty; 2026-01-01 to 2026-01-02"


def test_rows_of_fewer_seeds_are_told(pages, tiny):
    _, _, sections = pages
    found = evidence(tiny)
    assert "Of fewer seeds" not in sections.source(found)
    for record in found["records"]:
        if record["model"] == "Pop":
            record["seeds"] = 1
    assert "Of fewer seeds: Pop (1)." in sections.source(found)
    assert comparison_table(found, "made-shop", "full").title.startswith(
        "made-shop, test, full, 1 to 2 seeds a row, all against"
    )


def test_little_time_is_told_in_seconds():
    assert (cpu_time(1.5), cpu_time(0.001)) == (("1.50", "CPU hours"), ("4", "CPU seconds"))


def test_weights_of_all_branches_are_told(pages):
    _, _, sections = pages
    blend = [
        {"data": "shop", "model": "Two", "weights": {"first": [0.5, 0.8], "second": [1.0, 1.0]}},
        {"data": "shop", "model": "H2Rec", "weights": {"first": [0.3, 0.4], "kinds": [0.1, 0]}},
    ]
    told = sections.weights({"suite": "main", "blend": blend}, "shop").splitlines()[3:]
    assert told == [
        "| row | first | second | kinds |",
        "| --- | ---: | ---: | ---: |",
        "| Two | 0.5, 0.8 | 1.0, 1.0 | – |",
        "| H2Rec | 0.3, 0.4 | – | 0.1, 0 |",
    ]


def test_a_data_set_of_a_suite_is_kept_in_one_file_only(pages, tiny, tmp_path, monkeypatch):
    keep, _, _ = pages
    results = tmp_path / "results"
    monkeypatch.setattr(keep, "RESULTS", results)
    found = evidence(tiny)
    one, both = found | {"data": {"a": {}}}, found | {"data": {"a": {}, "b": {}}}
    other = found | {"suite": "another", "data": {"b": {}, "c": {}}}
    for name, run in (("one", one), ("both", both), ("other", other)):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name / "results.parquet", run)

    def kept(name):
        monkeypatch.setattr(sys, "argv", ["keep", str(tmp_path / name)])
        keep.main()
        return sorted(path.name for path in results.iterdir())

    assert kept("one") == [f"{found['suite']}-a.parquet"]
    assert kept("one") == [f"{found['suite']}-a.parquet"]  # a newer run of the same data sets takes its place
    assert kept("other") == ["another-b-c.parquet", f"{found['suite']}-a.parquet"]
    with pytest.raises(SystemExit, match=f"{found['suite']}-a.parquet holds a of this suite already"):
        kept("both")


def told_gain(record):
    """A gain as the page has it: a dash over nothing, bold where both tests are below 0.05."""
    if record["relative"] is None:
        return "–"
    percent = f"{100 * record['relative']:+.1f}%"
    return f"**{percent}**" if max(record["p_bootstrap"], record["p_t"]) < 0.05 else percent


def test_the_page_of_results_has_all_rows_what_they_cost_and_what_is_gained_over_them(
    pages, tiny, tmp_path, monkeypatch
):
    _, table, _ = pages
    found = evidence(tiny)
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    monkeypatch.setattr(table, "HEADLINE", "tiny")
    monkeypatch.setattr(table, "COLUMNS", (("overall", "ndcg@10"), ("tail", "ndcg@10")))
    assert table.absolute(("tiny",)).count("\n") == table.gains().count("\n") == 2
    write_results(tmp_path / "tiny.parquet", found)
    rows = [line.strip("| ").split(" | ") for line in table.absolute(("tiny",)).splitlines()[2:]]
    assert [row[0] for row in rows] == list(found["rows"])
    for name, data, seeds, *cells in rows:
        for cell, part in zip(cells, ("overall", "tail"), strict=False):
            record = table.column_of(found, data, "full", part, "ndcg@10")[name]
            assert cell.strip("*+- ") == f"{record['mean']:.4f}"
            assert seeds == str(record["seeds"])
        (cost,) = (c for c in found["costs"] if c["model"] == name)
        assert cells[3:5] == [f"{cost['training_cpu_seconds']:.0f}", f"{cost['floats_per_item']:.0f}"]
    told = {line.split(" | ")[0].strip("| "): line for line in table.gains().splitlines()[2:]}
    assert set(told) == set(found["rows"]) - {found["tested"]}
    for name, line in told.items():
        records = [
            table.column_of(found, "made-shop", "full", part, "ndcg@10")[name] for part in ("overall", "tail")
        ]
        assert line.strip("| ").split(" | ")[2:] == [told_gain(record) for record in records]


def test_pictures_are_drawn_of_the_same_figures_to_the_same_bytes(pages, tiny, tmp_path, monkeypatch):
    from benchmarks.suites import pictures

    found = evidence(tiny) | {"suite": "main"}
    for group in found["groups"]:
        group.setdefault("ndcg@100", group["ndcg@10"])
    for record in [r for r in found["records"] if r["metric"] == "ndcg@10"]:
        found["records"].append(record | {"metric": "ndcg@100"})
    means = {
        "Ours, share 0.0": 0.3,
        "Ours, share 0.5": 0.2,
        "Plain, share 0.0": 0.25,
        "Plain, share 0.5": 0.1,
    }
    at = {"data": "a", "protocol": "full", "slice": "tail", "metric": "ndcg@100"}
    noise = {
        "suite": "text_noise",
        "tested": "Ours, share 0.0",
        "data": {"a": {}},
        "records": [at | {"model": name, "mean": mean} for name, mean in means.items()],
    }
    among_all = {"protocol": pictures.SCOPES["all"], "metric": "hit@100"}
    ways = {"placed": 0.3, "from text": 0.2}
    cold = {"tested": "placed", "records": [among_all | {"model": n, "mean": m} for n, m in ways.items()]}
    drawn = []
    for name in ("once", "again"):
        monkeypatch.setattr(pictures, "FOLDER", tmp_path / name)
        pictures.draw([found, found | {"suite": "parts"}, noise], cold)
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {"cost.svg", "head_tail.svg", "popularity.svg", "parts.svg", "new_items.svg"}
    assert all(
        name in drawn[0]["new_items.svg"].decode() for name in ("placed", "from text", "Ours", "Plain")
    )
    assert all(
        c["model"] in drawn[0]["cost.svg"].decode() for c in found["costs"] if c["floats_per_item"] > 1
    )


def test_the_line_of_a_cost_is_what_no_cheaper_row_is_above(pages):
    from benchmarks.suites import pictures

    rows = {"dear": (9, 0.3), "cheap": (1, 0.1), "worse": (4, 0.05), "best": (4, 0.4), "counted": (0.05, 0.2)}
    at = {"data": "a", "protocol": "full", "slice": "overall", "metric": "ndcg@100"}
    results = {
        "tested": "best",
        "records": [at | {"model": name, "mean": mean} for name, (_, mean) in rows.items()],
        "costs": [
            {"data": "a", "model": name, "training_cpu_seconds": spent} for name, (spent, _) in rows.items()
        ],
    }
    figure, axis = pictures.plt.subplots()
    pictures.cost(axis, results, "a")
    assert axis.lines[0].get_xydata().tolist() == [[1, 0.1], [4, 0.1], [4, 0.4], [9, 0.4]]
    assert axis.lines[0].get_drawstyle() == "steps-post"
    assert [text.get_text() for text in axis.texts] == ["dear", "cheap", "worse", "best"]
    pictures.plt.close(figure)


def test_parts_are_drawn_by_what_the_whole_gains_over_itself_without_them(pages):
    from benchmarks.suites import pictures

    at = {"data": "a", "protocol": "full", "slice": "overall", "metric": "ndcg@100"}
    gains = {"without one": 0.02, "H2Rec": None, "with another": -0.01, "without the other": 0.5}
    records = [at | {"model": name, "mean": 0.1, "relative": gain} for name, gain in gains.items()]
    figure, axis = pictures.plt.subplots()
    pictures.without_parts(axis, {"tested": "H2Rec", "records": records}, "a")
    assert [bar.get_width() for bar in axis.patches] == [50, 2, -1]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "without the other",
        "without one",
        "with another",
    ]
    pictures.plt.close(figure)


def test_a_gain_over_next_to_nothing_is_not_told_in_percent(pages):
    _, table, _ = pages
    surely = {"p_bootstrap": 0.001, "p_t": 0.001, "difference": 0.5}
    told = {
        "**+899.0%**": {"relative": 8.99} | surely,
        "**over 10 times**": {"relative": 9.0} | surely,
        "–": {"relative": None} | surely,
    }
    for text, record in told.items():
        assert table.bold(table.gain(record)) == text
    assert table.gain({"mean": 0.1}).text == table.gain(None).text == "–"


def test_groups_of_rows_on_other_codes_stand_in_columns_of_their_own(pages, tiny):
    _, _, sections = pages
    found = evidence(tiny)
    for row in found["weighted_head"]:
        row["hit@500"] = 0.5  # told of the suites that have a page
    for group in found["groups"]:
        if (group["model"], group["kind"], group["name"]) == ("H2Rec", "code_collision", "shared"):
            group["cases"] += 7
    shared = next(g for g in found["groups"] if (g["kind"], g["name"]) == ("code_collision", "shared"))
    lines = sections.business(found, "made-shop").split("who is served")[1].splitlines()
    heads, ours, pop = (
        next(line for line in lines if line.startswith(f"| {name} |")).split(" | ")
        for name in ("row", "H2Rec", "Pop")
    )
    common = heads.index(f"codes shared ({shared['cases']:,})")
    other = heads.index(f"codes shared ({shared['cases'] + 7:,})")
    assert ours[common] == pop[other] == "–"
    assert "–" not in (ours[other], pop[common])


def test_falls_along_a_sweep_are_told_from_its_first_value(pages):
    _, _, sections = pages
    rows = {f"A, share {s}": {"model": "A", "key": "text.noise.share", "value": s} for s in (0.0, 0.5)}
    place = {"data": "a", "protocol": "full", "metric": "hit@10"}
    records = [
        place | {"slice": part, "model": name, "mean": mean}
        for part, means in (("overall", (0.4, 0.3)), ("tail", (0.2, 0.05)))
        for name, mean in zip(rows, means, strict=True)
    ]
    found = {"suite": "text_noise", "rows": rows, "records": records}
    assert sections.falls(found, "a", "hit@10").splitlines()[3:] == [
        "| model | items | 0.0 | 0.5 |",
        "| --- | --- | ---: | ---: |",
        "| A | overall | +0.0% | -25.0% |",
        "| A | tail | +0.0% | -75.0% |",
    ]
    # Nothing to tell where the first value was not run, or the metric not measured.
    assert sections.falls(found | {"records": records[1:2]}, "a", "hit@10") == ""
    assert sections.falls(found, "a", "hit@500") == ""


def test_changes_along_a_sweep_are_those_of_each_model_from_its_first_value(pages):
    _, _, sections = pages
    rows = {
        f"{model}, share {share}": {"model": model, "key": "text.noise.share", "value": share}
        for model in ("one", "other")
        for share in (0.0, 0.2, 0.4)
    }
    means = dict(zip(rows, [0.4, 0.3, 0.1, 0.0, 0.2, 0.1], strict=True))
    place = {"data": "shop", "protocol": "full", "slice": "tail", "metric": "hit@5"}
    records = [place | {"model": row, "mean": mean} for row, mean in means.items()]
    records += [record | {"metric": "mrr", "mean": 9.0} for record in records]
    changes = sections.changes_along({"rows": rows, "records": records}, "hit@5")
    told = {(c["model"], c["value"]): c["relative"] for c in changes}
    assert [told["one", share] for share in (0.0, 0.2, 0.4)] == pytest.approx([0, -0.25, -0.75])
    assert [told["other", share] for share in (0.0, 0.2, 0.4)] == [None] * 3
    # Without its first value nothing can be told of a model.
    without = [record for record in records if record["model"] != "one, share 0.0"]
    told = sections.changes_along({"rows": rows, "records": without}, "hit@5")
    assert [c["relative"] for c in told if c["model"] == "one"] == [None] * 2
    plain = {row: facts | {"key": None} for row, facts in rows.items()}
    assert sections.changes_along({"rows": plain, "records": records}, "hit@5") == []

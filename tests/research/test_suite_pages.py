"""What of a suite goes into the documents."""

import json
import sys
from pathlib import Path

import pytest

from h2rec.research.suite.evidence import evidence
from h2rec.research.suite.results import write_results

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
    assert f"| Pop | {pop['mean']:.4f} + |" in page.replace("*", "")
    assert "12 of 12 runs" in page
    told = next(
        line for line in page.splitlines() if line.startswith("| H2Rec, no alignment | SASRec, warm |")
    )
    first = next(r for r in found["contrasts"] if r["protocol"] == "full")
    assert told.split(" | ")[2].strip("*") == f"{first['relative']:+.1%}"


def test_rows_of_fewer_seeds_are_told(pages, tiny):
    _, _, sections = pages
    found = evidence(tiny)
    assert "Of fewer seeds" not in sections.source(found)
    for record in found["records"]:
        if record["model"] == "Pop":
            record["seeds"] = 1
    assert "Of fewer seeds: Pop (1)." in sections.source(found)


def test_weights_of_all_branches_are_told_but_the_last_one_s(pages):
    _, _, sections = pages
    blend = [
        {"data": "shop", "model": "Two", "weights": {"first": [0.5, 0.8], "second": [1.0, 1.0]}},
        {
            "data": "shop",
            "model": "H2Rec",
            "weights": {"codes": [0.3, 0.4], "ids": [1.0, 1.0], "popularity": [0.1, 0]},
        },
    ]
    told = sections.weights({"suite": "main", "blend": blend}, "shop").splitlines()[3:]
    assert told == [
        "| row | first | codes | popularity |",
        "| --- | ---: | ---: | ---: |",
        "| Two | 0.5, 0.8 | – | – |",
        "| H2Rec | – | 0.3, 0.4 | 0.1, 0 |",
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


def test_gains_are_told_over_every_row_but_the_tested_ones_own_forms(pages, tiny, tmp_path, monkeypatch):
    _, table, _ = pages
    found = evidence(tiny)
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    assert table.gains() == ""
    write_results(tmp_path / "tiny.parquet", found)
    monkeypatch.setattr(table, "HEADLINE", "tiny")
    monkeypatch.setattr(table, "GAINS", (("full", "ndcg@10"), ("sampled100", "hit@10")))
    page = table.gains()
    assert "H2Rec, no alignment" not in page
    told = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    assert [row[0] for row in told] == [
        "over",
        "---",
        "Pop",
        "SASRec, warm",
        "Two HID branches",
        "**the best of these**",
    ] * 2
    for block, (protocol, metric) in enumerate(table.GAINS):
        pop, sasrec, two, best = told[6 * block + 2 : 6 * block + 6]
        for column, part in enumerate(("overall", "head", "tail"), start=1):
            others = table.column_of(found, "made-shop", protocol, part, metric)
            for row in (pop, sasrec, two):
                assert row[column] == told_gain(others[row[0]])
            larger = max((others[row[0]] for row in (pop, sasrec, two)), key=lambda r: r["mean"])
            assert best[column] == told_gain(larger)


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


def test_steps_are_shown_in_the_suite_s_order(pages, tiny, tmp_path, monkeypatch):
    _, table, _ = pages
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    assert table.steps() == ""
    found = evidence(tiny) | {"suite": table.STEPS}
    monkeypatch.setattr(table, "STEP_COLUMNS", [("full", "tail", found["metrics"][0])])
    write_results(tmp_path / "steps.parquet", found)
    title, _, head, _, *lines = table.steps().splitlines()
    assert title == "### made-shop"
    assert head == f"| row | tail {found['metrics'][0]}, full |"
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == list(found["rows"])
    means = {
        r["model"]: r["mean"]
        for r in found["records"]
        if (r["protocol"], r["slice"], r["metric"]) == ("full", "tail", found["metrics"][0])
    }
    for line in lines:
        row, figure = line.strip("| ").split(" | ")
        assert figure.strip("*+- ") == f"{means[row]:.4f}"


def test_gains_by_group_are_those_over_each_row_from_the_rarest_on(pages, tmp_path, monkeypatch):
    _, table, _ = pages
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    monkeypatch.setattr(table, "GROUPED", ("Pop", "Other"))
    figures = {"Ours": (0.2, 0.3), "Pop": (0.1, 0.4), "Other": (0.2, 0.2)}
    groups = [
        {
            "data": "a",
            "model": row,
            "kind": kind,
            "protocol": protocol,
            "name": str(n),
            "ndcg@10": value + more,
        }
        for kind, protocol, more in (
            ("popularity", "full", 0),
            ("popularity", "sampled100", 7),
            ("codes", "full", 9),
        )
        for row, values in figures.items()
        for n, value in enumerate(values)
    ]
    found = {"suite": "popularity", "tested": "Ours", "data": {"a": {}}, "groups": groups}
    write_results(tmp_path / "popularity.parquet", found)
    assert table.group_gains().splitlines()[2:] == [
        "| Pop | a | +100% | -25% |",
        "| Other | a | +0% | +50% |",
    ]


def test_falls_under_noise_are_those_from_the_same_model_s_whole_texts(pages, tmp_path, monkeypatch):
    _, table, _ = pages
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    shares = (0.0, 0.2, 0.4)
    rows = {
        f"{model}, share {s}": {"model": model, "value": s} for model in ("Ours", "Other") for s in shares
    }

    def contrast(row, other, relative, p, **elsewhere):
        place = {"data": "a", "protocol": "full", "slice": "overall", "metric": "ndcg@100"} | elsewhere
        tests = {"relative": relative, "difference": relative, "p_bootstrap": 0.001, "p_t": p}
        return place | tests | {"model": row, "other": other}

    contrasts = [
        contrast("Ours, share 0.4", "Other, share 0.4", 0.7, 0.001),
        contrast("Ours, share 0.2", "Ours, share 0.0", -0.02, 0.2),
        contrast("Ours, share 0.4", "Ours, share 0.0", -0.1, 0.01),
        contrast("Ours, share 0.4", "Ours, share 0.0", -0.3, 0.01, slice="tail"),
        contrast("Ours, share 0.4", "Ours, share 0.0", -0.6, 0.01, slice="head"),
        contrast("Ours, share 0.4", "Ours, share 0.0", -0.8, 0.01, protocol="sampled100"),
        contrast("Ours, share 0.4", "Ours, share 0.0", -0.9, 0.01, metric="hit@10"),
        contrast("Other, share 0.2", "Other, share 0.0", 0.05, 0.01),
    ]
    for suite in ("text_noise", "text_noise_drop", "another"):
        found = {"suite": suite, "data": {"a": {}}, "rows": rows, "contrasts": contrasts}
        write_results(tmp_path / f"{suite}.parquet", found)
    head, _, *lines = table.noise().splitlines()
    assert head == "| model | items | data set | texts | 20% | 40% |"
    falls = {
        ("Ours", "overall"): "-2.0% | **-10.0%**",
        ("Ours", "tail"): "– | **-30.0%**",
        ("Other", "overall"): "**+5.0%** | –",
        ("Other", "tail"): "– | –",
    }
    assert lines == [
        f"| {model} | {part} | a | {kind} | {told} |"
        for (model, part), told in falls.items()
        for kind in ("swapped", "dropped")
    ]


def test_an_operator_s_questions_are_answered_by_the_full_ranking(pages, tiny, tmp_path, monkeypatch):
    _, table, _ = pages
    found = evidence(tiny)
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    monkeypatch.setattr(table, "HEADLINE", "tiny")
    monkeypatch.setattr(table, "OPERATOR_ROWS", ("nobody", "H2Rec", "Pop"))
    for row in found["weighted_head"]:
        row["hit@500"] = 0.25 if row["protocol"] == "full" else 0.75
    write_results(tmp_path / "tiny.parquet", found)
    told = [line.strip("| ").split(" | ") for line in table.operator_questions().splitlines()[2:]]
    assert [row[:2] for row in told] == [["H2Rec", "made-shop"], ["Pop", "made-shop"]]
    for name, _, *figures in told:
        (shown,) = (e for e in found["exposure"] if e["model"] == name)
        (head,) = (h for h in found["weighted_head"] if (h["model"], h["protocol"]) == (name, "full"))
        sides = {
            g["name"]: g["ndcg@10"]
            for g in found["groups"]
            if (g["model"], g["kind"], g["protocol"]) == (name, "code_collision", "full")
        }
        expected = [shown["tail_share@10"], shown["coverage@10"], shown["gini@10"], head["ndcg@10"], 0.25]
        assert figures == [f"{value:.4f}" for value in (*expected, sides["alone"], sides["shared"])]
        assert len(set(figures)) == 7 or name == "Pop"


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


def test_searches_are_counted_by_data_set(pages, tmp_path, monkeypatch):
    _, table, _ = pages
    monkeypatch.setattr(table, "TRIALS", tmp_path)
    went, stopped = ({"stopped_after": epoch, "seconds": 1350.0} for epoch in (None, 3))
    rows = {"one": {"trials": [went, stopped]}, "two": {"trials": [stopped, stopped]}}
    (tmp_path / "shop.json").write_text(json.dumps(rows))
    assert table.searches().splitlines()[2:] == ["| shop | 2 | 2 | 3 of 4 | 1.5 |"]

"""What of a suite goes into the documents."""

import json
import sys
from pathlib import Path

import pytest

from h2rec.experiments.suite.comparison import evidence

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.suites import keep, table

    yield keep, table
    # Run as a script by another test, a module that is loaded already would be warned of.
    for name in ("keep", "table"):
        sys.modules.pop(f"benchmarks.suites.{name}", None)


def test_kept_results_make_the_same_page_and_name_no_folder(pages, tiny, tmp_path, monkeypatch):
    keep, table = pages
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
    (tmp_path / "tiny.json").write_text(json.dumps(kept))
    page = table.suites()
    assert page == table.section([found | {"provenance": kept["provenance"]}])
    for record in found["records"]:
        assert f"{record['mean']:.4f}" in page
    best = next(r for r in found["records"] if r["place"] == 1)
    assert f"**{best['mean']:.4f}**" in page
    assert "| Pop | 0.3267 + |" in page.replace("*", "")
    assert "8 of 8 runs" in page
    told = next(
        line for line in page.splitlines() if line.startswith("| H2Rec, no alignment | SASRec, warm |")
    )
    first = next(r for r in found["contrasts"] if r["protocol"] == "full")
    assert told.split(" | ")[2].strip("*") == f"{first['relative']:+.1%}"


def test_a_data_set_of_a_suite_is_kept_in_one_file_only(pages, tiny, tmp_path, monkeypatch):
    keep, _ = pages
    results = tmp_path / "results"
    monkeypatch.setattr(keep, "RESULTS", results)
    found = evidence(tiny)
    one, both = found | {"data": {"a": {}}}, found | {"data": {"a": {}, "b": {}}}
    other = found | {"suite": "another", "data": {"b": {}, "c": {}}}
    for name, run in (("one", one), ("both", both), ("other", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(run))

    def kept(name):
        monkeypatch.setattr(sys, "argv", ["keep", str(tmp_path / name)])
        keep.main()
        return sorted(path.name for path in results.iterdir())

    assert kept("one") == [f"{found['suite']}-a.json"]
    assert kept("one") == [f"{found['suite']}-a.json"]  # a newer run of the same data sets takes its place
    assert kept("other") == ["another-b-c.json", f"{found['suite']}-a.json"]
    with pytest.raises(SystemExit, match=f"{found['suite']}-a.json holds a of this suite already"):
        kept("both")

"""``h2rec abtest`` from a log to a verdict and its page."""

import json

import numpy as np
import polars as pl
import pytest

from browser import opened
from h2rec.cli.main import main
from h2rec.experiments.analysis import analyse
from h2rec.experiments.plan import Plan
from made_bundles import make_bundle
from made_experiments import made_rows, write_rows


def abtest(*words):
    with pytest.raises(SystemExit) as ended:
        main(["abtest", *map(str, words)])
    return ended.value.code


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    rows = made_rows(500, 8, before=4, lift=0.6, seed=3)
    half = len(rows) // 2
    folder = tmp_path_factory.mktemp("online") / "log"
    write_rows(folder / "b.jsonl", rows[:half])
    write_rows(folder / "a.jsonl.part", rows[half:] + rows[:3])
    return folder


def test_the_log_alone_is_enough(log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert abtest(log) == 0
    printed = capsys.readouterr().out
    assert "new against control: not yet" in printed
    assert "users, and intervals need 1,000 (fewest_users)" in printed
    assert "3 duplicated: the same row; the first is" in printed
    assert "note: no plan was given" in printed
    folder = tmp_path / "runs" / "abtest-log"
    results = json.loads((folder / "results.json").read_text())
    rows = results["rows"]
    assert rows["read"] == rows["used"] + rows["before"] + sum(row["rows"] for row in rows["findings"])
    figures = results["metrics"]["new"]["ctr"]
    assert figures["low"] < 0.6 < figures["high"]
    assert figures["cuped"]["variance_left"] < 0.95
    assert figures["p"] <= figures["p_holm"]
    users = pl.read_parquet(folder / "users.parquet")
    assert users.filter(arm="new").height == results["arms"]["new"]["users"]
    # The same command again gives the same figures, and writes over its own folder.
    assert abtest(log, "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == results["metrics"]


def test_what_is_there_stays(log, tmp_path, capsys):
    (tmp_path / "results.json").write_text("{}")
    assert abtest(log, "--out", tmp_path) == 2
    assert "h2rec did not write it" in capsys.readouterr().err
    assert abtest(log, "--out", log / "out") == 2
    assert "lies in the log's folder" in capsys.readouterr().err


def test_a_plan_decides(log, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "days: 28\nprimary: ctr\nguardrails: {cost: 0.05}\nlooks: [7, 28]\nlift: 0.05\nfewest_users: 200\n"
    )
    assert abtest(log, "--plan", plan, "--out", tmp_path / "out") == 0
    assert "new against control: ship" in capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [look["day"] for look in results["looks"]["new"]["ctr"]] == [7]
    assert results["looks"]["new"].keys() == {"ctr", "cost"}
    assert results["metrics"]["new"]["ctr"]["family"] == "primary"
    plan.write_text("primary: profit\n")
    assert abtest(log, "--plan", plan, "--out", tmp_path / "out") == 2
    assert "no metric 'profit'" in capsys.readouterr().err


def test_a_broken_split_and_broken_rows_forbid_a_verdict(tmp_path):
    rows = [
        r
        for r in made_rows(800, 8, lift=0.6, seed=3)
        if r["user_id"] not in {f"u{n}" for n in range(1, 400, 2)}
    ]
    path = write_rows(tmp_path / "log.jsonl", rows)
    found, _ = analyse(path, Plan(resamples=100))
    assert found["sample_ratio"]["mismatch"]
    assert found["verdicts"]["new"]["verdict"] == "not yet"
    assert "not split as planned" in found["verdicts"]["new"]["reasons"][0]
    meant, _ = analyse(path, Plan(resamples=100, shares={"control": 2, "new": 1}, fewest_users=100))
    assert meant["verdicts"]["new"]["verdict"] == "ship"
    clicks = [row for row in rows if row["event"] == "click"]
    lost = [row | {"request_id": "lost", "event_id": f"l{n}"} for n, row in enumerate(clicks)]
    path = write_rows(tmp_path / "lost.jsonl", rows + lost)
    found, _ = analyse(path, Plan(resamples=100, shares={"control": 2, "new": 1}, fewest_users=100))
    assert "belong to no impression" in found["verdicts"]["new"]["reasons"][0]


def test_several_arms_share_alpha(tmp_path):
    rows = made_rows(300, 8)
    for row in rows:
        if "arm" in row and int(row["user_id"][1:]) % 3 == 2:
            row["arm"] = "newer"
    plan = {"days": 8, "start": "2023-11-15", "resamples": 100}
    equal = {"control": 2, "new": 2, "newer": 2}
    found, _ = analyse(write_rows(tmp_path / "log.jsonl", rows), Plan(shares=equal, **plan))
    assert found["verdicts"].keys() == {"new", "newer"}
    one, _ = analyse(write_rows(tmp_path / "two.jsonl", made_rows(300, 8)), Plan(**plan))
    assert found["looks"]["new"]["advv"][-1]["bound"] > one["looks"]["new"]["advv"][-1]["bound"] + 0.2
    p = [found["metrics"][arm]["advv"] for arm in ("new", "newer")]
    assert max(row["p_holm"] for row in p) >= 2 * min(row["p"] for row in p) - 1e-12


def test_a_bundle_tells_popularity_and_shared_codes(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    rows = [{name: value for name, value in row.items() if name != "head"} for row in made_rows(120, 2)]
    path = write_rows(tmp_path / "log.jsonl", rows)
    silent, _ = analyse(path, Plan(resamples=100))
    assert silent["exposure"]["control"]["slices"] == {}
    assert any("does not tell head from tail" in note for note in silent["notes"])
    plan = Plan(resamples=100, bundle=bundle, offline_tail={"control": 0.7, "new": 0.75})
    found, users = analyse(path, plan)
    slices = found["exposure"]["new"]["slices"]
    groups = [name for name in slices if name.startswith("popularity")]
    assert sum(slices[name]["share"] for name in groups) == pytest.approx(1.0)
    assert slices["head"]["share"] + slices["tail"]["share"] == pytest.approx(1.0)
    assert slices["tail"]["offline_share"] == 0.75
    assert users["clicks@head"].sum() + users["clicks@tail"].sum() == users["clicks"].sum()
    assert np.isclose(found["metrics"]["new"]["exposure@head"]["treatment"], slices["head"]["share"])


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_the_page_fits_and_asks_for_nothing(log, tmp_path, width, scheme):
    (tmp_path / "plan.yaml").write_text("days: 8\nfewest_users: 200\n")
    assert abtest(log, "--plan", tmp_path / "plan.yaml", "--out", tmp_path / "out") == 0
    with opened(tmp_path / "out" / "report.html", width, scheme=scheme) as (page, problems):
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        text = page.inner_text("body")
        for told in (
            "new against control: ship",
            "Is the tail usefully exposed?",
            "What was taken for granted",
            "Day by day",
        ):
            assert told in text
        assert page.locator("svg.curve").count() >= 2


def test_names_are_shown_as_text(tmp_path):
    rows = made_rows(120, 2)
    for row in rows:
        if row.get("arm") == "new":
            row["arm"] = "<script>alert(1)</script>"
    path = write_rows(tmp_path / "log.jsonl", rows)
    assert abtest(path, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page

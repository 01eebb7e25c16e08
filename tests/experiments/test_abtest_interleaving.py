"""Interleaved lists in `h2rec abtest`: alone, and beside arms that are compared."""

import json

import numpy as np
import pytest

from browser import opened
from h2rec.cli.main import main
from made_experiments import DAY, START, made_rows, write_rows

DAYS = 8


def drafted(rates, users=300, seed=0):
    """A list a user and day with items of two arms by turns, and clicks at the rate of each."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        for day in range(DAYS):
            name = f"both{user}.{day}"
            request = {"user_id": f"b{user}", "request_id": name}
            time = START + day * DAY + (DAY - 700) * random.random()
            items = [f"i{item}" for item in random.choice(30, 6, replace=False)]
            teams = ["new", "control"] * 3 if random.random() < 0.5 else ["control", "new"] * 3
            shown = {"experiment": "x", "arm": "both", "items": items, "teams": teams}
            rows.append({"event": "impressions", **request, **shown, "time": time})
            rows += [
                {"event": "click", **request, "event_id": f"{name}{item}", "item_id": item, "time": time + 9}
                for item, team in zip(items, teams, strict=True)
                if random.random() < rates[team]
            ]
    return rows


def analysed(tmp_path, capsys, rows, plan="days: 8\nstart: 2023-11-15\n"):
    (tmp_path / "plan.yaml").write_text(plan)
    log = write_rows(tmp_path / "log.jsonl", rows)
    with pytest.raises(SystemExit) as ended:
        main(["abtest", str(log), "--plan", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0, capsys.readouterr()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    counted = sum(row["rows"] for row in results["rows"]["findings"])
    assert (
        results["rows"]["read"] == results["rows"]["used"] + results["rows"]["before"] + counted == len(rows)
    )
    return results, " ".join(capsys.readouterr().out.split())


def test_interleaved_lists_alone_are_a_log(tmp_path, capsys):
    results, printed = analysed(tmp_path, capsys, drafted({"control": 0.05, "new": 0.1}))
    assert (results["verdicts"], results["control"], results["sample_ratio"]) == ({}, None, None)
    found = results["interleaving"]["both"]
    assert (found["teams"], found["users"], found["answers"]) == (["control", "new"], 300, 2400)
    assert found["clicks"]["low"] > 0.5
    assert f"interleaved lists, both, 300 users: {found['verdict']}" in printed
    assert found["verdict"].startswith("Users prefer new to control. Of ")
    with opened(tmp_path / "out" / "report.html", 390) as (page, problems):
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert "Users prefer new to control" in page.inner_text("body")


@pytest.mark.parametrize(
    ("rates", "plan", "told"),
    [
        ({"control": 0.1, "new": 0.05}, "days: 8", "Users prefer control to new."),
        ({"control": 0.08, "new": 0.08}, "days: 8", "No preference is shown."),
        ({"control": 0, "new": 0}, "days: 8", "Not yet. No user has clicked"),
        ({"control": 0.05, "new": 0.1}, "days: 14", "Not yet. Only 8 of 14 days are over"),
    ],
)
def test_what_users_prefer_is_told_in_words(tmp_path, capsys, rates, plan, told):
    results, _ = analysed(tmp_path, capsys, drafted(rates), f"{plan}\nstart: 2023-11-15\n")
    assert results["interleaving"]["both"]["verdict"].startswith(told)


def test_arms_beside_interleaved_lists_are_compared_as_ever(tmp_path, capsys):
    arms, both = made_rows(60, DAYS, before=2), drafted({"control": 0.05, "new": 0.1}, users=50)
    alone, _ = analysed(tmp_path, capsys, arms)
    results, _ = analysed(tmp_path, capsys, arms + both)
    assert results["metrics"] == alone["metrics"]
    assert results["sample_ratio"] == alone["sample_ratio"]
    assert results["interleaving"]["both"]["users"] == 50
    assert alone["interleaving"] == {}
    # Who sees an arm and its interleaved list is of neither.
    for row in both:
        row["user_id"] = row["user_id"].replace("b", "u")
    results, _ = analysed(tmp_path, capsys, arms + both)
    assert results["crossed_users"] > 40
    assert "Not yet" in results["interleaving"]["both"]["verdict"]

"""Made users: what they do on average is what is told as the truth."""

import json
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from h2rec.cli.main import main
from h2rec.data.dataset import Dataset
from h2rec.errors import DataError
from h2rec.experiments.rehearsal.market import ADVERTISERS, Market, daily_spend
from h2rec.experiments.rehearsal.play import Played, Visitors
from h2rec.experiments.rehearsal.rehearse import _stretch, beside
from h2rec.experiments.rehearsal.truth import Lists, budgets, true_cost, true_values
from h2rec.experiments.rehearsal.world import World
from made_bundles import made_items, make_bundle


def events(users=60):
    """Users who go round the catalogue of the made bundles."""
    random = np.random.default_rng(0)
    starts = random.integers(0, 60, users)
    rows = [
        (f"u{user}", f"i{(start + 7 * step) % 60}", step)
        for user, start in enumerate(starts)
        for step in range(5)
    ]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def world():
    return World.of(Dataset.from_frames(events(), made_items()), 400, 0)


def lists_of(world, seed):
    random = np.random.default_rng(seed)
    return Lists(np.array([random.choice(60, 6, replace=False) + 1 for _ in world.users]))


def test_made_users_want_what_the_data_say_came_next(world):
    rows = events().partition_by("user_id", as_dict=False)
    known = {tuple(frame["item_id"][:-1]): frame["item_id"][-1] for frame in rows}
    assert len(set(world.users)) == 400
    ids = list(world.numbers)
    for history, wanted in zip(world.histories, world._wanted, strict=True):
        assert known[tuple(history)] == ids[wanted - 1]
    # The wanted item is clicked most where the place is the same.
    everybody = np.arange(len(world.users))
    others = np.array([np.setdiff1d(np.arange(1, 61), [wanted])[:1] for wanted in world._wanted])
    wanted = world.shown(everybody, world._wanted[:, None]).click
    assert (wanted > world.shown(everybody, others).click).all()
    # Places are looked at less and less; what is not there is never clicked.
    same = world.shown(everybody[:1], np.array([[1, 1, 1, 0]])).click[0]
    assert same / same[0] == pytest.approx([1, 1 / np.log2(3), 0.5, 0])


def test_a_seed_makes_one_world(world):
    again = World.of(Dataset.from_frames(events(), made_items()), 400, 0)
    assert again.histories == world.histories
    assert np.allclose(again._factors, world._factors)
    other = World.of(Dataset.from_frames(events(), made_items()), 400, 1)
    assert other.histories != world.histories


class Scripted:
    """A server that shows lists it was given, and keeps what it is told."""

    def __init__(self, world, lists):
        self.ids = [None, *world.numbers]
        self.by_user = dict(zip(world.users, lists.items, strict=True))
        self.events, self.asked = [], 0

    def ask(self, path, body):
        if path == "/events":
            self.events += body["events"]
            return {}
        answers = []
        for query in body["queries"]:
            self.asked += 1
            items = [{"item_id": self.ids[item]} for item in self.by_user[query["user_id"]]]
            answers.append({"items": items, "arm": "control", "request_id": f"r{self.asked}"})
        return {"answers": answers}


def test_what_users_do_is_on_average_what_is_told_as_the_truth(world):
    lists = lists_of(world, 1)
    random = np.random.default_rng(0)
    server = Scripted(world, lists)
    visitors = Visitors(world, server, random, 6)
    head = np.arange(61) <= 12
    daily = budgets(world, lists)
    came = random.random((200, 400)) < world.visits
    markets = {"control": Market(daily)}
    for day in came:
        visitors.come(np.flatnonzero(day), markets)
        markets["control"].next_day()
    truth = true_values(world, lists, head, came.sum(axis=0))
    found = pl.DataFrame(server.events, infer_schema_length=None)
    clicks = found.filter(event="click").height
    bought = found.filter(event="conversion")
    assert visitors.answers == server.asked == came.sum()
    assert clicks / (6 * came.sum()) == pytest.approx(truth["ctr"], rel=0.02)
    assert bought.height / clicks == pytest.approx(truth["conversion_rate"], rel=0.04)
    assert bought["bid"].sum() / 400 == pytest.approx(truth["advv"], rel=0.05)
    assert found["seconds"].sum() / 400 == pytest.approx(truth["dwell"], rel=0.03)
    assert bought["spend"].sum() / 400 == pytest.approx(true_cost(world, lists, daily, came, 0), rel=0.03)
    of_head = [world.numbers[item] <= 12 for item in found.filter(event="click")["item_id"]]
    assert np.mean(of_head) == pytest.approx(
        truth["ctr@head"] * truth["exposure@head"] / truth["ctr"], rel=0.05
    )
    assert truth["advv"] == pytest.approx(truth["advv@head"] + truth["advv@tail"])
    assert found["event_id"].n_unique() == found.height
    assert bought["spend"].sum() < bought["bid"].sum()


def test_budgets_hold_and_are_paced():
    market = Market(np.full(ADVERTISERS, 10.0))
    assert [market.charge(3, 6.0), market.charge(3 + ADVERTISERS, 6.0), market.charge(3, 6.0)] == [
        6.0,
        4.0,
        0.0,
    ]
    assert market.charge(4, 2.0) == 2.0  # another advertiser
    market.next_day()
    assert market.pace[3] == pytest.approx((10 / 18) ** 0.5)
    assert market.pace[4] == 1
    assert market.charge(3, 6.0) == pytest.approx(6 * (10 / 18) ** 0.5)
    spend = daily_spend(np.array([[1, 2], [1 + ADVERTISERS, 0]]), np.array([[1.0, 2.0], [3.0, 0.0]]))
    assert (spend[1], spend[2]) == (4.0, 2.0)


def test_truth_stands_beside_the_estimate():
    truth = {
        "control": {"ctr": 0.1, "advv": 2.0, "dwell": 0.0},
        "treatment": {"ctr": 0.12, "advv": 1.0, "dwell": 1.0},
    }
    row = {"title": "t", "lift": 0.1, "low": 0.0, "high": 0.3}
    found = {"treatment": {"ctr": row, "advv": row, "dwell": row, "other": row}}
    rows = beside(truth, found)
    assert [(line["metric"], round(line["truth"], 6), line["covered"]) for line in rows] == [
        ("ctr", 0.2, True),
        ("advv", -0.5, False),
    ]


def test_users_are_made_of_long_enough_histories():
    with pytest.raises(DataError, match="3 interactions"):
        World.of(Dataset.from_frames(events().filter(pl.col("timestamp") < 2)), 100, 0)


def test_one_command_from_two_bundles_to_a_report(tmp_path, monkeypatch, capsys):
    """The real server in between: it is switched on while it runs, and its log is what is analysed."""
    monkeypatch.chdir(tmp_path)
    bundles = [make_bundle(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 7))]
    events().write_csv(tmp_path / "events.csv")
    made_items().write_csv(tmp_path / "items.csv")
    (tmp_path / "shop.yaml").write_text("data: {interactions: events.csv, items: items.csv}\n")
    words = [
        "rehearse",
        *map(str, bundles),
        "--data",
        "shop.yaml",
        "--users",
        "400",
        "--days",
        "4",
        "--before",
        "2",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--k", "6", "--out", "out"])
    assert ended.value.code == 0, capsys.readouterr()
    found = json.loads((tmp_path / "out" / "rehearsal.json").read_text())
    analysed = json.loads((tmp_path / "out" / "abtest" / "results.json").read_text())
    assert (tmp_path / "out" / "abtest" / "report.html").stat().st_size > 1000
    # Users who came before it began and never again are all that is left out.
    findings = analysed["rows"]["findings"]
    assert {row["kind"] for row in findings} <= {"outside"}
    assert analysed["rows"]["used"] > 0
    assert analysed["rows"]["before"] > 0
    read = analysed["rows"]["used"] + analysed["rows"]["before"] + sum(row["rows"] for row in findings)
    assert read == found["played"]["answers"] + found["played"]["events"]
    assert analysed["window"]["days"] == 4
    rows = {row["metric"]: row for row in found["metrics"]}
    assert {"advv", "cost", "ctr", "dwell", "exposure@tail", "advv@head"} <= set(rows)
    assert rows["exposure@tail"]["covered"]
    assert sum(row["covered"] for row in rows.values()) >= 0.6 * len(rows)
    assert "intervals hold the truth" in capsys.readouterr().out
    assert not list((tmp_path / "out" / "served").glob("*.part"))
    assert json.loads((tmp_path / "out" / "rehearsal.json").read_text())["rehearsal"]["users"] == 400


def test_the_last_day_is_over_however_long_the_play_took_to_end(tmp_path):
    """A stall after the last list is not a day on which nobody came any more."""
    source, target = tmp_path / "served", tmp_path / "log"
    source.mkdir()
    began = 1_700_000_000.0
    rows = [("impressions", 0.5), ("impressions", 1.0), ("impressions", 1.25), ("click", 1.5)]
    lines = [
        json.dumps({"event": event, "time": datetime.fromtimestamp(began + at, UTC).isoformat()})
        for event, at in rows
    ]
    (source / "a.jsonl").write_text("\n".join(lines) + "\n")
    (source / "empty.jsonl").write_text("")
    _stretch(source, target, Played([began, began + 1, began + 9], answers=3, events=1, seconds=9.0))
    times = [json.loads(line)["time"] for line in (target / "a.jsonl").read_text().splitlines()]
    hours = [
        (datetime.fromisoformat(at) - datetime(2026, 1, 5, tzinfo=UTC)).total_seconds() / 3600 for at in times
    ]
    assert hours[:3] == pytest.approx([12, 24, 47.5])
    assert 47.5 < hours[3] < 48


def test_a_play_to_which_nobody_came_has_an_empty_log(tmp_path):
    source, target = tmp_path / "served", tmp_path / "log"
    source.mkdir()
    (source / "empty.jsonl").write_text("")
    _stretch(source, target, Played([0.0, 1.0, 2.0], answers=0, events=0, seconds=2.0))
    assert (target / "empty.jsonl").read_text() == ""

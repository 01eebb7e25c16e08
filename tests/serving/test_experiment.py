"""An experiment behind the routes: arms, what answers say, what is logged, the switch."""

import json
import shutil
import time
from collections import Counter

import numpy as np
import pytest
import yaml
from scipy.stats import chisquare

from h2rec.errors import StorageError
from h2rec.files import file_hash
from h2rec.retrieval.recommender import Recommender
from h2rec.serving.experiment.assignment import place
from h2rec.serving.experiment.settings import ExperimentSettings
from made_bundles import make_bundle

QUESTION = {"history": ["i3", "i17"], "k": 6}


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("other") / "bundle", seed=7)


@pytest.fixture
def start(make_client, tmp_path, other_bundle):
    """A client of a server with an experiment; `rewrite` changes its file."""
    file = tmp_path / "tail.yaml"

    def rewrite(**values):
        arms = {"control": {"share": 0.5}, "treatment": {"bundle": str(other_bundle), "share": 0.5}}
        log = {"folder": "logs"} | values.pop("log", {})
        file.write_text(yaml.safe_dump({"name": "tail", "arms": arms, "log": log} | values))

    def begin(settings=None, **values):
        rewrite(**values)
        client = make_client(experiment=str(file), **(settings or {}))
        client.rewrite, client.experiment = rewrite, ExperimentSettings.load(file)
        return client

    return begin


def logged(tmp_path, kind="impressions"):
    return [
        json.loads(line)
        for path in sorted((tmp_path / "logs").glob(f"{kind}-*"))
        for line in path.read_text().splitlines()
    ]


def ids(answer):
    return [item["item_id"] for item in answer["items"]]


def ask(client, user, **values):
    answer = client.post("/recommend", json=QUESTION | {"user_id": user} | values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_user_is_answered_by_the_bundle_of_the_arm(start, made_bundle, other_bundle, tmp_path):
    client = start()
    expected = {
        arm: [item.item_id for item in Recommender.load(folder).recommend(QUESTION["history"], 6).items]
        for arm, folder in (("control", made_bundle), ("treatment", other_bundle))
    }
    assert expected["control"] != expected["treatment"]
    users = [f"u{number}" for number in range(20)]
    answers = [ask(client, user) for user in users]
    assert {answer["arm"] for answer in answers} == {"control", "treatment"}
    for user, answer in zip(users, answers, strict=True):
        assert answer["arm"] == place(client.experiment, user).arm
        assert ids(answer) == expected[answer["arm"]]
        assert answer["experiment"] == "tail"
    # Several questions at once are of several users.
    batch = [QUESTION | {"user_id": user} for user in users] + [QUESTION]
    together = client.post("/recommend/batch", json={"queries": batch}).json()["answers"]
    assert [ids(answer) for answer in together[:-1]] == [ids(answer) for answer in answers]
    assert (together[-1]["arm"], together[-1]["experiment"]) == (None, "tail")
    assert ids(together[-1]) == expected["control"]
    rows = logged(tmp_path)
    shown = [*answers, *together[:-1]]
    assert [row["request_id"] for row in rows] == [answer["request_id"] for answer in shown]
    assert len({row["request_id"] for row in rows}) == 40
    assert [row["items"] for row in rows] == [ids(answer) for answer in shown]
    assert [row["user_id"] for row in rows] == users * 2
    head = {f"i{number}" for number in range(12)}
    for row in rows:
        assert row["head"] == [item in head for item in row["items"]]
        folder = made_bundle if row["arm"] == "control" else other_bundle
        assert row["bundle"] == file_hash(folder / "manifest.json")
        assert (row["event"], row["experiment"], row["teams"], row["propensities"]) == (
            "impressions",
            "tail",
            None,
            None,
        )
    figures = client.get("/metrics").text
    per_arm = Counter(row["arm"] for row in rows)
    for arm, count in per_arm.items():
        assert f'h2rec_experiment_impressions_total{{arm="{arm}"}} {count}.0' in figures


def test_outside_and_testers_are_not_measured(start, tmp_path):
    client = start(traffic=0, testers={"u1": "treatment", 77: "control"})
    assert client.post("/recommend", json=QUESTION).json()["arm"] is None
    assert [ask(client, user)["arm"] for user in ("u0", "u1", 77)] == [None, "treatment", "control"]
    assert logged(tmp_path) == []


def test_those_outside_are_logged_where_that_is_asked_for(start, tmp_path):
    client = start(enabled=False, log={"folder": "logs", "outside": True})
    ask(client, "u0")
    (row,) = logged(tmp_path)
    assert (row["user_id"], row["experiment"], row["arm"]) == ("u0", None, None)


def test_without_an_experiment_answers_say_nothing_of_one(client):
    answer = client.post("/recommend", json=QUESTION | {"user_id": 17}).json()
    assert set(answer) == {"items", "unknown", "from_popularity"}
    assert client.post("/events", json={"events": [CLICK]}).status_code == 422


def test_the_switch_works_on_a_running_server(start, caplog):
    client = start()
    treated = next(
        f"u{number}" for number in range(99) if place(client.experiment, f"u{number}").arm == "treatment"
    )
    assert client.get("/healthz").json()["experiment"] == {"name": "tail", "enabled": True}
    client.rewrite(enabled=False)
    until(lambda: ask(client, treated)["arm"] is None)
    assert client.get("/healthz").json()["experiment"]["enabled"] is False
    assert "h2rec_experiment_on 0.0" in client.get("/metrics").text
    client.rewrite(testers={"nobody": "treatment"})
    until(lambda: ask(client, treated)["arm"] == "treatment")
    assert ask(client, "nobody")["arm"] == "treatment"
    with caplog.at_level("WARNING", logger="h2rec"):
        client.rewrite(traffic=7)
        until(lambda: "goes on as before" in caplog.text)
    assert ask(client, treated)["arm"] == "treatment"
    # The switch holds whatever else was changed; the rest waits for a start.
    client.rewrite(enabled=False, name="other")
    until(lambda: ask(client, treated)["arm"] is None)
    assert ask(client, treated)["experiment"] == "tail"
    assert "h2rec_experiment_refused_changes_total 2.0" in client.get("/metrics").text


def test_arms_are_reloaded_together(start, made_bundle, bundle_folder, tmp_path):
    copy = shutil.copytree(made_bundle, tmp_path / "copy")
    arms = {"control": {}, "treatment": {"bundle": str(copy)}}
    client = start(arms=arms)
    treated = next(
        f"u{number}" for number in range(99) if place(client.experiment, f"u{number}").arm == "treatment"
    )
    before = ids(ask(client, treated))
    assert before == ids(client.post("/recommend", json=QUESTION).json())
    new = make_bundle(tmp_path / "new", seed=3)
    shutil.rmtree(copy)
    shutil.copytree(new, copy)
    assert client.post("/reload", json={}).status_code == 200
    assert ids(ask(client, treated)) != before
    assert ids(client.post("/recommend", json=QUESTION).json()) == before
    added = client.post(
        "/items", json={"items": [{"item_id": "new1", "fields": {"title": "gentle shampoo"}}]}
    )
    assert (added.status_code, "every arm" in added.json()["hint"]) == (409, True)


@pytest.mark.parametrize(
    ("on_failure", "status", "unlogged"), [("refuse", 507, 0), ("answer", 200, 1)], ids=str
)
def test_a_log_that_cant_be_written(start, monkeypatch, on_failure, status, unlogged):
    client = start(log={"folder": "logs", "on_failure": on_failure})
    experiment = client.app.state.service.experiment

    def fails(_):
        raise StorageError("can't write the log", "check free space")

    monkeypatch.setattr(experiment._impressions, "write", fails)
    monkeypatch.setattr(experiment._events, "write", fails)
    answer = client.post("/recommend", json=QUESTION | {"user_id": "u0"})
    assert answer.status_code == status
    assert client.post("/recommend", json=QUESTION).status_code == 200  # it is not logged anyway
    assert client.post("/events", json={"events": [CLICK]}).status_code == 507
    figures = client.get("/metrics").text
    assert f"h2rec_experiment_unlogged_total {unlogged}.0" in figures
    assert "h2rec_experiment_log_failures_total 2.0" in figures


def test_an_arm_of_two_lists(start, made_bundle, other_bundle, tmp_path):
    arms = {
        "control": {"share": 0},
        "treatment": {"bundle": str(other_bundle), "share": 0},
        "both": {"interleave": ["control", "treatment"], "share": 1},
    }
    client = start(arms=arms)
    body = QUESTION | {"k": 8, "filter": {"deny": ["i5"]}}
    lists = {}
    for arm, folder in (("control", made_bundle), ("treatment", other_bundle)):
        answer = Recommender.load(folder).recommend(QUESTION["history"], 60)
        lists[arm] = [item.item_id for item in answer.items if item.item_id != "i5"]
    for number in range(30):
        answer = ask(client, f"u{number}", **body)
        assert answer["arm"] == "both"
        assert len(set(ids(answer))) == 8
        assert not {"i3", "i17", "i5"} & set(ids(answer))
    rows = logged(tmp_path)
    for row in rows:
        there = []
        for item, team in zip(row["items"], row["teams"], strict=True):
            assert item == next(other for other in lists[team] if other not in there)
            there.append(item)
        assert row["bundle"].count("+") == 1
    firsts = Counter(row["teams"][0] for row in rows)
    assert min(firsts.values()) > 5
    # The share of tail items holds in the list of both.
    answer = ask(client, "u1", k=10, tail_share=0.9)
    assert sum(not item["head"] for item in answer["items"]) >= 9


def test_orders_drawn_at_random_have_the_propensities_that_are_logged(start, made_bundle, tmp_path):
    """Horvitz-Thompson: over many draws, the sum of 1 / propensity where an item stood at a place is their number."""
    client = start(arms={"control": {"explore": 0.4}}, log={"folder": "logs"})
    own = [item.item_id for item in Recommender.load(made_bundle).recommend(QUESTION["history"], 3).items]
    times = 1500
    for _ in range(times // 250):
        client.post("/recommend/batch", json={"queries": [QUESTION | {"k": 3, "user_id": "u"}] * 250})
    rows = logged(tmp_path)
    assert len(rows) == times
    assert all(sorted(row["items"]) == sorted(own) for row in rows)
    for at in range(3):
        shown = Counter(row["items"][at] for row in rows)
        expected = [0.6 * (item == own[at]) + 0.4 / 3 for item in own]
        assert chisquare([shown[item] for item in own], np.array(expected) * times).pvalue > 1e-7
        for row in rows:
            assert row["propensities"][at] == pytest.approx(expected[own.index(row["items"][at])])


CLICK = {"event": "click", "event_id": "e1", "request_id": "r1", "user_id": 17, "item_id": "i3", "spend": 0.5}


def test_events_are_written_down(start, tmp_path):
    client = start()
    events = [
        CLICK | {"time": "2026-05-01T12:00:00+02:00", "position": 1},
        {
            "event": "conversion",
            "event_id": "e2",
            "request_id": "r1",
            "user_id": "u",
            "item_id": 3,
            "bid": 2,
            "spend": 1,
        },
        {
            "event": "dwell",
            "event_id": "e3",
            "request_id": "r1",
            "user_id": "u",
            "item_id": "i3",
            "seconds": 12.5,
        },
    ]
    answer = client.post("/events", json={"events": events})
    assert (answer.status_code, answer.json()) == (200, {"accepted": 3})
    rows = logged(tmp_path, "events")
    assert rows[0] == CLICK | {"time": "2026-05-01T10:00:00.000+00:00", "position": 1, "user_id": "17"}
    assert [row["event_id"] for row in rows] == ["e1", "e2", "e3"]
    assert (rows[1]["item_id"], rows[1]["bid"], rows[2]["seconds"]) == ("3", 2.0, 12.5)
    assert all(row["time"] for row in rows)
    assert 'h2rec_experiment_events_total{event="dwell"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"event": "view"}, "'click', 'conversion', 'dwell'"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": None}, "event_id"),
        ({"spend": -1}, "spend"),
        ({"spend": "much"}, "spend"),
        ({"bid": 1}, "bid"),
        ({"position": 0}, "position"),
        ({"time": "2026-05-01T12:00:00"}, "time"),
        ({"item_id": ""}, "item_id"),
    ],
    ids=str,
)
def test_an_event_that_makes_no_sense_is_refused_with_all_others(start, tmp_path, change, told):
    client = start({"max_events": 2})
    answer = client.post("/events", json={"events": [CLICK, CLICK | change]})
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert client.post("/events", json={"events": [CLICK] * 3}).json()["error"] == "events: 3 is more than 2"
    assert logged(tmp_path, "events") == []

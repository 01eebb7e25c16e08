"""Rows of an experiment's log: each is used once, or counted with its reason and its first place."""

import gzip
import json

import polars as pl
import pytest

from h2rec.errors import ConfigError, DataError
from h2rec.experiments.log import read_log
from h2rec.experiments.metrics import Slices, user_table
from h2rec.experiments.plan import Plan
from h2rec.experiments.window import select
from made_experiments import DAY, START, made_rows, write_rows


def answer(number, user, *, time=START, arm="control", items=("a", "b"), **more):
    row = {
        "event": "impressions",
        "time": time,
        "user_id": user,
        "request_id": f"r{number}",
        "items": list(items),
    }
    return row | {"experiment": "x", "arm": arm, "head": [True] + [False] * (len(items) - 1)} | more


def click(number, user, item="a", *, time=START + 10, event="click", **more):
    row = {
        "event": event,
        "event_id": f"e{number}{item}",
        "time": time,
        "user_id": user,
        "request_id": f"r{number}",
    }
    return row | {"item_id": item} | more


def studied(path, **plan):
    log = read_log(path)
    window = select(log, Plan(**plan))
    counted = {f"{row['kind']}: {row['reason']}": row for row in log.tally.findings()}
    # The books balance: every row is used once, or counted once.
    assert log.tally.read == window.rows["used"] + window.rows["before"] + sum(
        r["rows"] for r in counted.values()
    )
    users, days = user_table(window, Slices.of(Plan(), heads_known=True))
    return window, counted, users, days


BASE = [
    answer(1, "u1"),
    answer(2, "u2", arm="new"),
    click(1, "u1"),
    click(2, "u2", event="conversion", bid=2.5),
]


@pytest.mark.parametrize(("later", "days"), [(3, 3), (9, 1)])
def test_what_is_clicked_later_makes_no_day_over(tmp_path, later, days):
    """Within attribution it is counted; beyond, such as with a wrong clock, it does not even move the end."""
    rows = [*BASE, click(1, "u1", "b", time=START + later * DAY - 60)]
    window, counted, _, _ = studied(write_rows(tmp_path / "a.jsonl", rows))
    assert (window.days, window.days_over) == (min(days, later), 0)
    assert list(counted) == (["late: too long after its impression"] if later == 9 else [])


def test_an_arm_of_the_plan_that_the_log_lacks_is_named(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", BASE)
    with pytest.raises(ConfigError, match="shares: h2rec is no arm of the log, which has control, new"):
        studied(path, shares={"control": 50, "h2rec": 50})


def test_rows_become_sums_of_users(tmp_path):
    rows = [*BASE, click(2, "u2", "b", spend=0.5), click(1, "u1", event="dwell", seconds=7)]
    _, counted, users, _ = studied(write_rows(tmp_path / "a.jsonl", rows))
    assert counted == {}
    sums = {row["user_id"]: row for row in users.iter_rows(named=True)}
    assert [sums["u1"][n] for n in ("arm", "impressions", "clicks", "dwell", "clicks@head")] == [
        "control",
        2,
        1,
        7,
        1,
    ]
    named = ("impressions@tail", "clicks", "clicks@tail", "conversions", "advv", "cost")
    assert [sums["u2"][n] for n in named] == [1, 1, 1, 1, 2.5, 0.5]


@pytest.mark.parametrize(
    ("extra", "fate"),
    [
        ([click(1, "u1")], "duplicated: the same row"),
        ([click(1, "u1", time=START + 99)], "duplicated: other values"),
        ([answer(1, "u1", event_id="again")], "duplicated: other values"),
        ([click(9, "u1")], "unmatched: no impression of this request and item"),
        ([click(1, "u1", "z")], "unmatched: no impression of this request and item"),
        ([click(1, "u1", "b", time=START + 8 * DAY)], "late: too long after its impression"),
        ([click(1, "u1", "b", time=START - 70)], "early: before its impression"),
        ([click(1, "u2", "b")], "malformed: its user is not the one of its impression"),
        ([click(1, "u1", "b", arm="new")], "malformed: its arm is not the one of its impression"),
        ([answer(3, "u3", experiment=None, arm=None)], "other: of no experiment"),
        ([answer(3, "u3", arm=None)], "malformed: experiment and arm belong together"),
        ([answer(3, "u3", items=("a", "a"))], "malformed: an item stands twice in items"),
        ([answer(3, "u3", propensities=[0.5])], "malformed: propensities and items differ in length"),
        ([answer(3, "u3", propensities=[0.5, 0])], "malformed: propensities: Input should be greater than 0"),
        ([click(1, "u1", "b", time="yesterday")], "malformed: time: no time in ISO 8601"),
        ([click(1, "u1", "b", time=START * 1000)], "malformed: time: no seconds since 1970"),
        ([click(1, "u1", "b", event="dwell")], "malformed: no seconds"),
        ([click(1, "u1", "b", bid=-1.0)], "malformed: bid: Input should be greater than or equal to 0"),
        ([{**click(1, "u1", "b"), "user_id": None}], "malformed: user_id: Input should be a valid string"),
        ([click(1, "u1", "b", event_id=None)], "malformed: no event_id"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_used_is_counted_and_changes_no_sum(tmp_path, extra, fate):
    _, _, expected, _ = studied(write_rows(tmp_path / "clean.jsonl", BASE))
    path = write_rows(tmp_path / "log.jsonl", [*BASE, *extra])
    _, counted, users, _ = studied(path)
    assert counted[fate]["rows"] == 1
    assert counted[fate]["first"] == f"{path}:5"
    assert users.equals(expected)


def test_an_event_and_its_impression_may_stand_in_any_order_and_file(tmp_path):
    _, _, expected, _ = studied(write_rows(tmp_path / "one.jsonl", BASE))
    folder = tmp_path / "log"
    write_rows(folder / "b.jsonl", BASE[:2])
    with gzip.open(folder / "a.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write(json.dumps(BASE[3]) + "\n")
    pl.DataFrame([BASE[2]]).with_columns(pl.from_epoch("time", "s")).write_parquet(folder / "c.parquet")
    _, counted, users, _ = studied(folder)
    assert counted == {}
    assert users.equals(expected)


def test_a_line_that_the_server_was_writing_is_torn_and_a_broken_one_is_malformed(tmp_path):
    text = "".join(json.dumps(row) + "\n" for row in BASE)
    (tmp_path / "a.jsonl.part").write_text(text + '{"event": "impress')
    (tmp_path / "b.jsonl").write_bytes(b'{"event": "impress\n\xff\xfe\n')
    (tmp_path / "notes.txt").write_text("no log")
    _, counted, users, _ = studied(tmp_path)
    assert counted["torn: the last line of a file that is being written"]["first"].endswith("a.jsonl.part:5")
    assert counted["malformed: no JSON"] == {
        "kind": "malformed", "reason": "no JSON", "rows": 2, "first": f"{tmp_path / 'b.jsonl'}:1"
    }  # fmt: skip
    assert users["impressions"].to_list() == [2, 2]


def test_items_that_are_logged_one_by_one_are_shown_once(tmp_path):
    def seen(number, user, item, **more):
        return click(number, user, item, event="impression", **more)

    arm = {"experiment": "x", "arm": "new", "head": False, "spend": 0.25}
    rows = [*BASE, seen(1, "u1", "a", spend=0.5), seen(5, "u5", "c", time=START, **arm)]
    rows += [seen(5, "u5", "c", time=START + 1, event_id="again", **arm), click(5, "u5", "c")]
    _, counted, users, _ = studied(write_rows(tmp_path / "a.jsonl", rows))
    assert counted == {}
    sums = {row["user_id"]: row for row in users.iter_rows(named=True)}
    assert (sums["u1"]["impressions"], sums["u1"]["cost"]) == (2, 0.5)
    assert [sums["u5"][n] for n in ("arm", "impressions", "clicks", "cost")] == ["new", 1, 1, 0.5]


def test_users_of_several_arms_are_not_used_and_counted(tmp_path):
    rows = [*BASE, answer(3, "u1", arm="new", time=START + 5), answer(4, "u4")]
    window, counted, users, _ = studied(write_rows(tmp_path / "a.jsonl", rows))
    assert window.crossed == 1
    assert counted["crossed: the user was shown several arms"]["rows"] == 3
    assert users["user_id"].to_list() == ["u2", "u4"]
    # The split is that of all users, where each was first.
    assert dict(window.users.iter_rows()) == {"u1": "control", "u2": "new", "u4": "control"}


def test_the_time_before_the_start_is_told_apart(tmp_path):
    old = {"experiment": None, "arm": None, "time": START - DAY}
    rows = [*BASE, answer(8, "u1", **old), click(8, "u1", time=START - DAY + 5), answer(9, "u9", **old)]
    rows += [click(8, "u1", "b", time=START + 3), answer(10, "u1", **old | {"time": START - 40 * DAY})]
    window, counted, users, _ = studied(write_rows(tmp_path / "a.jsonl", rows))
    assert users["before_impressions"].to_list() == [2, 0]
    assert users["before_clicks"].to_list() == [1, 0]
    assert users["clicks"].to_list() == [1, 0]
    assert (window.start, window.rows["before"]) == (START, 2)
    assert {fate: row["rows"] for fate, row in counted.items()} == {
        "outside: before the start, of users who are in no arm that is compared": 1,
        "outside: long before the start": 1,
        "outside: of an impression before the start": 1,
    }


def test_with_a_plan_only_days_that_are_over_count(tmp_path):
    rows = made_rows(days=5)
    path = write_rows(tmp_path / "a.jsonl", [row for row in rows if row["time"] < START + 4.5 * DAY])
    window, counted, _, days = studied(path, days=10, start="2023-11-15")
    assert (window.days, window.days_over, days["day"].max()) == (4, 4, 3)
    assert "outside: of a day that is not over" in counted
    window, counted, _, days = studied(path, days=3, start="2023-11-15")
    assert (window.days_over, days["day"].max()) == (3, 2)
    assert "outside: after the end" in counted


def test_what_a_log_is_not_is_told(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_log(tmp_path / "none")
    with pytest.raises(DataError, match="no log in this folder"):
        read_log(tmp_path)
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(DataError, match="no Parquet file"):
        read_log(tmp_path / "bad.parquet")
    two = read_log(write_rows(tmp_path / "two.jsonl", [*BASE, answer(6, "u6", experiment="y")]))
    with pytest.raises(ConfigError, match="experiments x, y"):
        select(two, Plan())
    assert select(two, Plan(experiment="x")).experiment == "x"
    with pytest.raises(ConfigError, match="no arm of the log"):
        select(two, Plan(experiment="x", control="old"))
    with pytest.raises(DataError, match="needs two arms"):
        select(two, Plan(experiment="y"))
    with pytest.raises(DataError, match="no impression that belongs to an experiment"):
        select(read_log(write_rows(tmp_path / "none.jsonl", [click(1, "u1")])), Plan())


def test_columns_that_nobody_knows_are_told(tmp_path):
    log = read_log(write_rows(tmp_path / "a.jsonl", [*BASE, click(1, "u1", "b", colour="red")]))
    assert log.tally.extra == {"colour": 1}

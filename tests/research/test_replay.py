"""A replay: its steps, cases and ranks by hand, and a small one from beginning to end."""

import json

import numpy as np
import polars as pl
import pytest

from h2rec.cli.main import main
from h2rec.data.dataset import Dataset
from h2rec.errors import ConfigError, DataError
from h2rec.research.replay.cases import NOT_FOUND, cases_of, ranks_by
from h2rec.research.replay.moments import moments
from h2rec.research.replay.report import sentences
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.recommender import Recommender
from made_bundles import make_bundle
from made_shop import write_shop

START, DAY = 1_714_521_600, 86_400  # 2024-05-01


def made(days):
    """A data set of a few users; `days`: user -> (item, day) in order."""
    rows = [(user, item, START + DAY * day) for user, events in days.items() for item, day in events]
    return Dataset.from_frames(pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"))


WALKS = {
    "a": [("i3", 0.1), ("i5", 1.5), ("i7", 2.5)],
    "b": [("i5", 0.2), ("i3", 0.3), ("new", 2.6)],
    "c": [("i9", 1.2), ("i3", 1.3), ("i3", 2.9)],
}


def test_days_are_cut_where_they_begin():
    found = moments(made(WALKS), "2024-05-02", "1d")
    assert found.names == ["2024-05-02", "2024-05-03"]
    assert ((found.cuts - START) / DAY).tolist() == [1, 2, 3]
    assert moments(made(WALKS), "2024-05-02", "12h", steps=3).names == [
        "2024-05-02 00:00",
        "2024-05-02 12:00",
        "2024-05-03 00:00",
    ]


def test_shares_are_of_all_events_or_of_every_history_where_there_are_no_days():
    found = moments(made(WALKS), "50%", "25%")
    assert found.names == ["50%", "75%"]
    assert [int((found.of_events <= cut).sum()) for cut in found.cuts] == [5, 7, 9]
    plain = Dataset.from_frames(
        pl.DataFrame(
            [(u, i) for u, walk in WALKS.items() for i, _ in walk], ["user_id", "item_id"], orient="row"
        )
    )
    found = moments(plain, "50%", "50%")
    assert found.of_events.tolist() == pytest.approx([1 / 6, 1 / 2, 5 / 6] * 3)
    assert found.cuts.tolist() == [0.5, 1.0]
    with pytest.raises(DataError, match="no times of a clock"):
        moments(plain, "2024-05-02", "1d")


@pytest.mark.parametrize(
    ("start", "every", "told"),
    [
        ("80%", "1d", "give both as shares"),
        ("2024-05-02", "2%", "give both as shares"),
        ("someday", "1d", "expected a day"),
        ("80%", "2", "expected a time such as 1d"),
        ("0%", "2%", "between 0% and 100%"),
        ("2024-05-02", "0.001h", "take longer ones"),
    ],
)
def test_moments_that_are_none_are_refused(start, every, told):
    with pytest.raises(ConfigError, match=told):
        moments(made(WALKS), start, every)


def test_a_beginning_before_or_after_everything_is_refused():
    for start in ("2024-04-01", "2025-01-01"):
        with pytest.raises(DataError, match="both are needed"):
            moments(made(WALKS), start, "1w")


def test_cases_are_what_is_new_in_a_step_from_all_that_was_before():
    dataset = made(WALKS)
    found = moments(dataset, "2024-05-02", "1d")
    names = ["", *dataset.items["item_id"]]

    def told(step, rule):
        cases = cases_of(dataset, found.of_events, tuple(found.cuts[[0, step, step + 1]]), rule)
        held = cases.holdout
        return [
            ([names[item] for item in history], names[target], bool(new), bool(user))
            for history, target, new, user in zip(
                held.histories, held.targets, cases.new_item, cases.new_user, strict=True
            )
        ]

    # The first event of c is no case: there is nothing to find it from. Its second repeats nothing yet.
    assert told(0, "allowed") == [(["i3"], "i5", False, False), (["i9"], "i3", False, True)]
    second = [(["i3", "i5"], "i7", True, False), (["i5", "i3"], "new", True, False)]
    assert told(1, "allowed") == [*second, (["i9", "i3"], "i3", False, True)]
    assert told(1, "excluded") == second


def test_a_bundle_ranks_as_it_answers(tmp_path):
    bundle = Bundle.load(make_bundle(tmp_path / "bundle"))
    dataset = made(WALKS)
    found = moments(dataset, "2024-05-02", "1w")
    cases = cases_of(dataset, found.of_events, tuple(found.cuts[[0, 0, 1]]), "excluded")
    ranks = ranks_by(bundle, dataset, cases, "excluded")
    names = ["", *dataset.items["item_id"]]
    for rank, history, target in zip(ranks, cases.holdout.histories, cases.holdout.targets, strict=True):
        answer = Recommender(bundle).recommend([names[item] for item in history], 60)
        listed = [item.item_id for item in answer.items]
        assert (listed.index(names[target]) + 1 if names[target] in listed else NOT_FOUND) == rank
    assert (ranks == NOT_FOUND).sum() == 1


def test_who_has_no_known_item_is_ranked_by_popularity(tmp_path):
    bundle = Bundle.load(make_bundle(tmp_path / "bundle"))
    dataset = made({"a": [("strange", 0.1), ("i5", 1.5)], "b": [("i1", 0.1)]})
    found = moments(dataset, "2024-05-02", "1w")
    cases = cases_of(dataset, found.of_events, tuple(found.cuts[[0, 0, 1]]), "excluded")
    assert ranks_by(bundle, dataset, cases, "excluded").tolist() == [
        6
    ]  # i0 has most interactions, i5 the sixth most


def test_a_small_one_from_beginning_to_end(tmp_path, capsys, monkeypatch):
    config = write_shop(tmp_path, users=50)
    orders = pl.read_csv(tmp_path / "interactions.csv").with_row_index("row")
    orders = orders.with_columns(timestamp=START + DAY * (pl.col("timestamp") + pl.col("row") // 60)).drop(
        "row"
    )
    times = orders["timestamp"].sort()
    # Who comes late, and two whose last item repeats one, so that the second training warns of one case more.
    walks = {
        "n1": (int(times[-1]) - 5, ["i1", "i5", "i9"]),
        "n2": (int(times[0]), ["i1", "i5", "i9", "i1"]),
        "n3": (int(times[int(0.85 * len(times))]) - 9, ["i1", "i5", "i9", "i1"]),
    }
    extra = pl.DataFrame(
        [(user, item, start + n) for user, (start, walk) in walks.items() for n, item in enumerate(walk)],
        ["user_id", "item_id", "timestamp"],
        orient="row",
    )
    pl.concat([orders, extra]).write_csv(tmp_path / "interactions.csv")
    config.write_text(
        config.read_text().replace("model: {name: h2rec, dim: 16, layers: 1}", "model: {dim: 8}")
    )
    words = [
        "replay",
        str(config),
        "--from",
        "80%",
        "--every",
        "10%",
        "--full-every",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    out = capsys.readouterr().out
    results = json.loads((tmp_path / "out/replay.json").read_text())
    assert results["strategies"] == ["never", "counts alone", "update", "full training"]
    assert [step["step"] for step in results["steps"]] == ["80%", "90%"]
    for sentence in sentences(results):
        assert sentence in out
    ranks = pl.read_parquet(tmp_path / "out/ranks.parquet")
    for name, block in results["overall"].items():
        rank = ranks[f"rank_{name}"].to_numpy()
        assert block["all"]["hit@10"] == pytest.approx((rank <= 10).mean())
        assert block["all"]["ndcg@100"] == pytest.approx(
            np.where(rank <= 100, 1 / np.log2(rank + 1.0), 0).mean()
        )
        assert block["all"]["cases"] == ranks.height == sum(step["cases"]["all"] for step in results["steps"])
    assert ranks["new_user"].any()
    first = results["steps"][0]["figures"]
    assert len({json.dumps(figures) for figures in first.values()}) == 1  # all begin with the same model
    assert "NDCG@100" in (tmp_path / "out/replay.html").read_text()
    assert (tmp_path / "out/replay.log").read_text().count("WARNING repeats:") == 1
    # Again: trainings that are done are used again, and all comes out the same.
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/full").rglob("model.safetensors")}
    with pytest.raises(SystemExit):
        main(words)
    again = json.loads((tmp_path / "out/replay.json").read_text())
    assert again["overall"] == results["overall"]
    stages = {path for path in trained if "stages" in path.parts}
    assert all(path.stat().st_mtime_ns == trained[path] for path in stages)

"""One evaluation, whole: its blocks, its frame, its figures."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.errors import ConfigError
from h2rec.evaluation import evaluate as measuring
from h2rec.evaluation.metrics import metric_value, per_case, summarize
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.semantic_ids.codes import SemanticIds

# Three users of four; items 1..6, items 1 and 2 are the head.
HOLDOUT = Holdout(
    np.array([0, 2, 3]), Histories.from_lists([[1, 2], [3], [1, 2, 3, 4]]), np.array([3, 1, 6], np.int32)
)
HEAD = np.array([False, True, True, False, False, False, False])
COUNTS = np.array([0, 5, 4, 2, 1, 1, 0])
SCORES = torch.tensor(
    [
        [9.0, 8, 7, 6, 5, 4, 3],  # 1 and 2 are in the history: target 3 is first
        [9.0, 5, 8, 7, 6, 4, 3],  # 3 is in the history; 2 and 4 beat target 1: third
        [9.0, 1, 1, 1, 1, 2, 2],  # 5 ties with target 6: second
    ]
)


def evaluate(scorer, holdout, *, settings, **about):
    ranked = rank(scorer, holdout, settings, top_k=max(measuring.EXPOSURE_KS))
    return measuring.evaluate(ranked, holdout, settings=settings, **about)


@pytest.fixture
def evaluation(table_scorer, monkeypatch):
    monkeypatch.setattr(measuring, "EXPOSURE_KS", (1,))
    monkeypatch.setattr(measuring, "HISTORY_LENGTH_GROUPS", 2)
    return evaluate(
        table_scorer(SCORES),
        HOLDOUT,
        settings=EvaluateSettings(
            protocols=["full", "sampled1"],
            ks=[1, 2, 3],
            repeats="excluded",
        ),
        head=HEAD,
        train_counts=COUNTS,
        popularity_group=np.array([0, 0, 0, 1, 1, 1, 1]),
        semantic_ids=SemanticIds(np.array([[0], [1], [2], [3], [4], [4]], np.int32), (5,)),
        user_ids=["a", "b", "c", "d"],
        item_ids=pl.Series([f"i{item}" for item in range(1, 7)]),
    )


def test_figures_by_hand(evaluation):
    full = evaluation.metrics["full"]
    assert evaluation.ranks["rank_full"].to_list() == [1, 3, 2]
    assert full["overall"] == summarize(np.array([1, 3, 2]), [1, 2, 3])
    assert full["head"] == summarize(np.array([3]), [1, 2, 3])
    assert full["tail"] == summarize(np.array([1, 2]), [1, 2, 3])
    assert full["tail"]["ndcg@2"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    # First places: 3, 2, 5.
    assert full["exposure"] == {
        "coverage@1": 0.5,
        "tail_share@1": pytest.approx(2 / 3),
        "gini@1": pytest.approx(0.5),
        "popularity@1": pytest.approx((2 + 4 + 1) / 3),
    }
    assert [(g["kind"], g["name"], g["cases"], g["hit@1"]) for g in full["groups"]] == [
        ("target", "repeat", 0, None),
        ("target", "first time", 3, pytest.approx(1 / 3)),
        ("training", "seen", 2, 0.5),
        ("training", "unseen", 1, 0.0),
        ("popularity", "0", 1, 0.0),
        ("popularity", "1", 2, 0.5),
        ("history_length", "1-2", 2, 0.5),
        ("history_length", "4-4", 1, 0.0),
        ("code_collision", "alone", 2, 0.5),
        ("code_collision", "shared", 1, 0.0),
    ]


def test_the_frame_names_users_and_targets(evaluation):
    frame = evaluation.ranks
    assert "weighted" not in evaluation.metrics["full"]
    assert frame.columns == [
        "user",
        "user_id",
        "target",
        "item_id",
        "head",
        "repeat",
        "rank_full",
        "rank_sampled1",
    ]
    assert frame["user"].to_list() == [0, 2, 3]
    assert frame["user_id"].to_list() == ["a", "c", "d"]
    assert frame["target"].to_list() == [3, 1, 6]
    assert frame["item_id"].to_list() == ["i3", "i1", "i6"]
    assert frame["head"].to_list() == [bool(HEAD[target]) for target in (3, 1, 6)]


def test_metrics_follow_from_the_saved_ranks(evaluation, tmp_path):
    evaluation.ranks.write_parquet(tmp_path / "ranks.parquet")
    saved = pl.read_parquet(tmp_path / "ranks.parquet")
    for protocol in ("full", "sampled1"):
        block = evaluation.metrics[protocol]["overall"]
        for name in set(block) - {"cases"}:
            assert block[name] == per_case(saved[f"rank_{protocol}"].to_numpy(), name).mean()


@pytest.mark.parametrize("rule", ["allowed", "excluded"])
def test_cases_weigh_as_told_and_days_are_told_apart(table_scorer, rule):
    # As above, and a repeat on the last place.
    lists = [[1, 2], [3], [1, 2, 3, 4], [6]]
    holdout = Holdout(
        np.arange(4),
        Histories.from_lists(lists),
        np.array([3, 1, 6, 6], np.int32),
        np.array([0.5, 3.5, 0.0, 4.0]),
        np.array([True, False, False, True]),
    )
    scores = torch.cat([SCORES, torch.arange(7, 0, -1.0)[None]])
    made = evaluate(
        table_scorer(scores),
        holdout,
        settings=EvaluateSettings(protocols=["full", "sampled1"], ks=[1, 3], repeats=rule),
        head=HEAD,
        train_counts=COUNTS,
        weight="price",
    )
    full, ranks = made.metrics["full"], made.ranks["rank_full"].to_list()
    assert made.ranks.columns[:5] == ["user", "target", "head", "repeat", "weight"]
    assert made.ranks["weight"].to_list() == [0.5, 3.5, 0.0, 4.0]
    if rule == "excluded":
        assert ranks == [1, 3, 2, None]
        assert full["weighted"]["hit@1"] == 0.5 / 4
        assert full["weighted"]["hit@3"] == 1
        assert full["weighted"]["ndcg@3"] == pytest.approx((0.5 + 3.5 / 2) / 4)
        assert full["weighted"]["cases"] == full["overall"]["cases"] == 3
    else:
        assert ranks == [3, 4, 2, 6]  # the third weighs nothing
        assert full["weighted"]["hit@3"] == 0.5 / 8
        assert full["weighted"]["mrr"] == pytest.approx((0.5 / 3 + 3.5 / 4 + 4 / 6) / 8)
    assert metric_value(made.metrics, "full.weighted.mrr") == full["weighted"]["mrr"]
    assert full["weighted"]["name"] == "price"
    assert set(made.metrics["sampled1"]["weighted"]) == {"name", "cases", "mrr", "hit@1", "ndcg@1"}
    days = {g["name"]: g for g in full["groups"] if g["kind"] == "target_time"}
    same, later = days["same day"], days["later day"]
    assert (same["cases"], later["cases"]) == ((1, 2) if rule == "excluded" else (2, 2))
    assert (same["hit@3"], later["hit@3"]) == ((1, 1) if rule == "excluded" else (0.5, 0.5))
    assert metric_value(made.metrics, "full.groups.target_time.same day.hit@3") == same["hit@3"]


def test_a_sampled_protocol_reports_no_trivial_cutoff_and_no_exposure(evaluation):
    sampled = evaluation.metrics["sampled1"]
    assert set(sampled["overall"]) == {"cases", "mrr", "hit@1", "ndcg@1"}
    assert "exposure" not in sampled


def test_plain_json(evaluation):
    assert json.loads(json.dumps(evaluation.metrics, allow_nan=False)) == evaluation.metrics


def test_head_weighted_by_popularity(table_scorer):
    holdout = Holdout(np.arange(2), Histories.from_lists([[3], [3]]), np.array([1, 2], np.int32))
    scores = torch.tensor([[0.0, 9, 1, 1], [0.0, 9, 1, 1]])
    counts = np.array([0, 6, 2, 1])
    head = np.array([False, True, True, False])
    made = evaluate(
        table_scorer(scores),
        holdout,
        settings=EvaluateSettings(protocols=["full"], repeats="excluded"),
        head=head,
        train_counts=counts,
    )
    assert made.metrics["full"]["head"]["hit@1"] == 0.5
    assert made.metrics["full"]["head_by_popularity"]["hit@1"] == 0.75


def test_only_a_sampled_protocol(random_cases):
    scorer, holdout = random_cases()
    made = evaluate(
        scorer,
        holdout,
        settings=EvaluateSettings(protocols=["sampled5"], repeats="allowed"),
        head=np.arange(31) < 6,
        train_counts=holdout.histories.counts(30),
    )
    assert list(made.metrics) == ["sampled5"]
    assert made.ranks.columns == ["user", "target", "head", "repeat", "rank_sampled5"]
    assert made.ranks["rank_sampled5"].max() <= 6


@pytest.fixture
def shop_of_repeats(table_scorer, monkeypatch):
    """Four users of six items; the first and the third come back to an item, the last has seen all others."""
    monkeypatch.setattr(measuring, "EXPOSURE_KS", (2,))
    histories = Histories.from_lists([[1, 2], [3], [5, 4], [1, 2, 3, 4, 5]])
    holdout = Holdout(np.arange(4), histories, np.array([2, 1, 4, 6], np.int32))
    scores = torch.tensor(
        [[0.0, 9, 8, 7, 6, 5, 4], [0, 9, 8, 7, 6, 5, 4], [0, 9, 8, 7, 6, 5, 4], [0, 9, 8, 7, 6, 5, 4]]
    )

    def made(rule):
        return evaluate(
            table_scorer(scores),
            holdout,
            settings=EvaluateSettings(protocols=["full", "sampled3"], ks=[1, 2], repeats=rule),
            head=HEAD,
            train_counts=COUNTS,
        )

    return made


def target_groups(evaluation, protocol):
    groups = {g["name"]: g for g in evaluation.metrics[protocol]["groups"] if g["kind"] == "target"}
    return groups["repeat"], groups["first time"]


def test_repeats_that_are_allowed_are_ranked_among_all_and_told_apart(shop_of_repeats):
    found = shop_of_repeats("allowed")
    assert found.ranks["rank_full"].to_list() == [2, 1, 4, 6]
    assert found.ranks["repeat"].to_list() == [True, False, True, False]
    repeat, first = target_groups(found, "full")
    assert (repeat["cases"], repeat["hit@2"], first["cases"], first["hit@2"]) == (2, 0.5, 2, 0.5)
    assert "apart" not in repeat
    assert found.metrics["full"]["apart"] == {"repeats": 0, "too_few_negatives": 0}
    assert found.metrics["full"]["overall"]["cases"] == 4
    # Items of the history are shown as any other: everybody sees 1 and 2.
    assert found.metrics["full"]["exposure"]["coverage@2"] == pytest.approx(2 / 6)


def test_repeats_that_are_excluded_are_set_apart_and_counted(shop_of_repeats):
    found = shop_of_repeats("excluded")
    # The second user's target is first; the last one has a single candidate, and no three negatives.
    assert found.ranks["rank_full"].to_list() == [None, 1, None, 1]
    assert found.ranks["rank_sampled3"].to_list() == [None, 1, None, None]
    assert found.ranks["repeat"].to_list() == [True, False, True, False]
    for protocol, cases, short in (("full", 2, 0), ("sampled3", 1, 1)):
        block = found.metrics[protocol]
        assert block["overall"]["cases"] == block["head"]["cases"] + block["tail"]["cases"] == cases
        assert block["overall"]["hit@1"] == 1
        assert block["apart"] == {"repeats": 2, "too_few_negatives": short}
        repeat, first = target_groups(found, protocol)
        assert (repeat["cases"], repeat["apart"], repeat["hit@1"], first["cases"]) == (0, 2, None, cases)
        lengths = [g for g in block["groups"] if g["kind"] == "history_length"]
        assert sum(g["cases"] for g in lengths) == cases
    assert json.loads(json.dumps(found.metrics, allow_nan=False)) == found.metrics
    # Lists of all users, none with an item of its user's history: 3 4, 1 2, 1 2, 6.
    assert found.metrics["full"]["exposure"]["coverage@2"] == pytest.approx(5 / 6)


def test_nothing_but_repeats_gives_no_figures_and_no_crash(table_scorer):
    holdout = Holdout(np.arange(2), Histories.from_lists([[1], [2, 2]]), np.array([1, 2], np.int32))
    made = evaluate(
        table_scorer(torch.zeros(2, 7)),
        holdout,
        settings=EvaluateSettings(protocols=["full", "sampled2"], repeats="excluded"),
        head=HEAD,
        train_counts=COUNTS,
        popularity_group=np.array([0, 0, 0, 1, 1, 1, 1]),
    )
    assert made.metrics["full"]["overall"]["hit@10"] is None
    assert made.metrics["sampled2"]["apart"] == {"repeats": 2, "too_few_negatives": 0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"exclude_history": False}, "exclude_history"),
        ({"repeats": "never"}, "repeats"),
        ({"protocols": ["ful"]}, "protocols"),
        ({"protocols": ["sampled0"]}, "protocols"),
        ({"protocols": []}, "protocols"),
        ({"protocols": ["full", "full"]}, "names something twice"),
        ({"ks": [0]}, "ks"),
        ({"protocol": ["full"]}, "did you mean 'protocols'"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateSettings.parse(values)

"""One evaluation, whole: its blocks, its frame, its figures."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.errors import ConfigError
from h2rec.evaluation.evaluate import evaluate
from h2rec.evaluation.metrics import per_case, summarize
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


@pytest.fixture
def evaluation(table_scorer):
    return evaluate(
        table_scorer(SCORES),
        HOLDOUT,
        settings=EvaluateSettings(
            protocols=["full", "sampled1"], ks=[1, 2, 3], exposure_ks=[1], history_length_groups=2
        ),
        head=HEAD,
        train_counts=COUNTS,
        popularity_group=np.array([0, 0, 0, 1, 1, 1, 1]),
        semantic_ids=SemanticIds(np.array([[0], [1], [2], [3], [4], [4]], np.int32), (5,)),
        user_ids=["a", "b", "c", "d"],
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
    assert frame.columns == ["user", "user_id", "target", "rank_full", "rank_sampled1"]
    assert frame["user"].to_list() == [0, 2, 3]
    assert frame["user_id"].to_list() == ["a", "c", "d"]
    assert frame["target"].to_list() == [3, 1, 6]


def test_metrics_follow_from_the_saved_ranks(evaluation, tmp_path):
    evaluation.ranks.write_parquet(tmp_path / "ranks.parquet")
    saved = pl.read_parquet(tmp_path / "ranks.parquet")
    for protocol in ("full", "sampled1"):
        block = evaluation.metrics[protocol]["overall"]
        for name in set(block) - {"cases"}:
            assert block[name] == per_case(saved[f"rank_{protocol}"].to_numpy(), name).mean()


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
        settings=EvaluateSettings(protocols=["full"]),
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
        settings=EvaluateSettings(protocols=["sampled5"]),
        head=np.arange(31) < 6,
        train_counts=holdout.histories.counts(30),
    )
    assert list(made.metrics) == ["sampled5"]
    assert made.ranks.columns == ["user", "target", "rank_sampled5"]
    assert made.ranks["rank_sampled5"].max() <= 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
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

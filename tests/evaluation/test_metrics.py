"""Metrics by hand and against ranx; looking figures up by name."""

import numpy as np
import pytest
from ranx import Qrels, Run
from ranx import evaluate as ranx_evaluate

from h2rec.errors import ConfigError
from h2rec.evaluation.metrics import metric_value, per_case, summarize
from h2rec.evaluation.ranking import NO_RANK, rank
from h2rec.evaluation.settings import EvaluateSettings

RANKS = np.array([1, 3, 10, 11])


def test_per_case_by_hand():
    assert per_case(RANKS, "hit@1").tolist() == [1, 0, 0, 0]
    assert per_case(RANKS, "hit@10").tolist() == [1, 1, 1, 0]
    assert per_case(RANKS, "recall@10").tolist() == [1, 1, 1, 0]
    assert per_case(RANKS, "ndcg@3").tolist() == [1, 0.5, 0, 0]
    assert per_case(RANKS, "ndcg@10") == pytest.approx([1, 0.5, 1 / np.log2(11), 0])
    assert per_case(RANKS, "mrr") == pytest.approx([1, 1 / 3, 0.1, 1 / 11])


@pytest.mark.parametrize("name", ["hits@10", "hit@0", "hit@", "hit@1.5", "ndcg", "MRR", "mrr@10", ""])
def test_unknown_metric(name):
    with pytest.raises(ConfigError, match=f"unknown metric '{name}'"):
        per_case(RANKS, name)


def test_summary_by_hand():
    block = summarize(RANKS, [1, 10])
    assert list(block) == ["cases", "mrr", "hit@1", "hit@10", "ndcg@1", "ndcg@10"]
    assert block["cases"] == 4
    assert block["hit@1"] == 0.25
    assert block["hit@10"] == 0.75
    assert block["ndcg@10"] == pytest.approx((1 + 0.5 + 1 / np.log2(11)) / 4)
    assert block["mrr"] == pytest.approx((1 + 1 / 3 + 0.1 + 1 / 11) / 4)


def test_weighted_summary():
    block = summarize(RANKS, [1], weights=np.array([3.0, 1, 0, 0]))
    assert block == {"cases": 4, "mrr": pytest.approx((3 + 1 / 3) / 4), "hit@1": 0.75, "ndcg@1": 0.75}


def test_no_cases_have_no_value():
    nothing = {"mrr": None, "hit@5": None, "ndcg@5": None}
    assert summarize(np.array([], dtype=np.int64), [5]) == {"cases": 0, **nothing}
    assert summarize(RANKS, [5], weights=np.zeros(4)) == {"cases": 4, **nothing}


@pytest.mark.parametrize("levels", [None, 6])
def test_equals_ranx(random_cases, levels):
    scorer, holdout = random_cases(cases=80, levels=levels, seed=5)
    settings = EvaluateSettings(protocols=["full"], repeats="excluded")
    ranks = rank(scorer, holdout, settings).by_protocol["full"]
    relevant, run = {}, {}
    for row, scores in enumerate(scorer.table.tolist()):
        target = int(holdout.targets[row])
        out = set(holdout.histories[row].tolist())
        if target in out:
            continue
        # ranx orders ties as it likes; just below its equals the target loses them, as it does with us.
        run[f"u{row}"] = {
            str(item): scores[item] - (1e-3 if item == target else 0)
            for item in range(1, len(scores))
            if item not in out
        }
        relevant[f"u{row}"] = {str(target): 1}
    ks = [1, 5, 10, 20]
    theirs = [*(f"hit_rate@{k}" for k in ks), *(f"recall@{k}" for k in ks), *(f"ndcg@{k}" for k in ks), "mrr"]
    figures = ranx_evaluate(Qrels(relevant), Run(run), theirs)
    block = summarize(ranks[ranks != NO_RANK], ks)
    for name in theirs:
        ours = name.replace("hit_rate", "hit").replace("recall", "hit")
        assert block[ours] == pytest.approx(figures[name], abs=1e-6), name


METRICS = {
    "full": {
        "overall": {"cases": 9, "hit@10": 0.5, "ndcg@10": 0.25},
        "tail": {"cases": 0, "hit@10": None},
        "groups": [{"kind": "popularity", "name": "1", "cases": 3, "hit@10": 0.125}],
    },
    "sampled100": {"overall": {"ndcg@10": 1}},
}


def test_figures_are_found_by_path():
    assert metric_value(METRICS, "full.overall.ndcg@10") == 0.25
    assert metric_value(METRICS, "full.overall.recall@10") == 0.5
    assert metric_value(METRICS, "full.groups.popularity.1.hit@10") == 0.125
    assert metric_value(METRICS, "sampled100.overall.ndcg@10") == 1.0


def test_unknown_figures_name_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'full\.overall\.ndcg@10'"):
        metric_value(METRICS, "full.overal.ndcg@10")
    with pytest.raises(ConfigError, match=r"'full\.tail\.hit@10' has no cases"):
        metric_value(METRICS, "full.tail.hit@10")
    with pytest.raises(ConfigError, match="nothing was measured"):
        metric_value({}, "full.overall.ndcg@10")

"""The branches' shares of the scores, against the same sums written out user by user."""

import json

import numpy as np
import pytest
import torch

from h2rec.data.popularity import popularity_groups
from h2rec.models.scorer import CatalogueScorer
from h2rec.research.intent import intent_by_popularity
from h2rec.research.shares import branch_shares
from h2rec.run.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipelines(tiny, tiny_cache):
    first = [job for job in tiny.finished() if job.seed == 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("H2REC_CACHE", str(tiny_cache))
        yield {job.model: Pipeline(job.config, job.folder, tiny.stages) for job in first}


@pytest.mark.parametrize(
    ("row", "branches"),
    [("H2Rec", ["codes", "ids"]), ("Two HID branches", ["first", "second"])],
)
def test_shares_are_those_of_sums_over_users(pipelines, row, branches):
    pipeline = pipelines[row]
    found = branch_shares(pipeline)
    assert json.loads((pipeline.out / "shares.json").read_text()) == found
    assert found["branches"] == branches
    assert 0.02 < found["by_rank"]["1-10"][0] < 0.98  # a branch of no weight would leave nothing to see
    cases, scorer = pipeline.split.test, CatalogueScorer(pipeline.model)
    assert len(cases) < 2000
    assert (
        pipeline.repeats.rule == "allowed"
    )  # users of these made data come back, so that the history is shown, too
    group_of = popularity_groups(pipeline.split.train_counts, pipeline.config.data.popularity_groups)
    by_rank, by_group = {}, {}
    for user in range(len(cases)):
        rows = np.array([user])
        leads = torch.cat([part - part[:, 1:].mean() for part in scorer.branch_scores(cases.histories, rows)])
        total = scorer.score(cases.histories, rows)[0]
        shown = total[1:].argsort(descending=True).add(1).tolist()
        for name, places in (("1-10", shown[:10]), ("11-100", shown[10:100]), ("101-500", shown[100:500])):
            by_rank[name] = by_rank.get(name, 0) + leads[:, places].sum(1)
        target = cases.targets[user]
        name = str(group_of[target])
        by_group[name] = by_group.get(name, 0) + leads[:, target]
    for kind, sums in (("by_rank", by_rank), ("by_popularity", by_group)):
        expected = {name: (value / value.sum()).tolist() for name, value in sums.items() if value.sum()}
        assert found[kind].keys() == expected.keys()
        for name, shares in expected.items():
            assert found[kind][name] == pytest.approx(shares, rel=1e-3)
            assert sum(found[kind][name]) == pytest.approx(1)


def test_alpha_of_head_and_tail_is_that_of_their_users(pipelines):
    pipeline = pipelines["H2Rec"]
    found = intent_by_popularity(pipeline)
    model, cases, head = pipeline.model, pipeline.split.test, pipeline.head
    sums = {}
    for user in range(len(cases)):
        history = torch.tensor(cases.histories[user][-model.max_length :].astype(np.int64))[None]
        reads = torch.arange(history.shape[1])[None] == history.shape[1] - 1
        with torch.inference_mode():
            alpha = model(history, torch.tensor([history.shape[1]]), reads).alpha[reads][0]
        for kind, item in (("last", cases.histories[user][-1]), ("target", cases.targets[user])):
            sums.setdefault(f"{kind}_{'head' if head[item] else 'tail'}", []).append(alpha)
    assert set(found) == set(sums)
    for part, alphas in sums.items():
        assert found[part] == pytest.approx(torch.stack(alphas).mean(0).tolist(), abs=1e-5)
    assert found["last_head"] != pytest.approx(found["last_tail"], abs=1e-5)
    assert intent_by_popularity(pipelines["SASRec, warm"]) is None


def test_one_branch_has_nothing_to_share(pipelines):
    assert branch_shares(pipelines["SASRec, warm"]) is None
    assert branch_shares(pipelines["Pop"]) is None

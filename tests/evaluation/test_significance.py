"""Comparing models on their saved ranks."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from h2rec.errors import ConfigError, DataError
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.paired_tests import bootstrap_means, holm
from h2rec.evaluation.significance import compare_models

USERS = 300


def ranks(seed: int, shift: float = 0.0, users: int = USERS) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    drawn = np.exp(rng.uniform(0, 5 + shift, users)).astype(np.int32)
    targets = np.arange(users, dtype=np.int32) % 40 + 1
    return pl.DataFrame({"user": np.arange(users), "target": targets, "rank_full": drawn})


def row_of(frame: pl.DataFrame, **where) -> dict:
    return frame.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)


@pytest.fixture(scope="module")
def runs():
    return {
        "ours": [ranks(1), ranks(2), ranks(3)],
        "near": [ranks(4), ranks(5), ranks(6)],
        "far": [ranks(7, shift=2.0)],
    }


def test_users_are_the_unit_after_averaging_over_seeds(runs):
    frame = compare_models(runs, "ours", ["hit@10", "ndcg@10"], resamples=500)
    assert frame.height == 4
    for other in ("near", "far"):
        for metric in ("hit@10", "ndcg@10"):
            ours, theirs = (
                np.stack([per_case(f["rank_full"].to_numpy(), metric) for f in runs[name]])
                for name in ("ours", other)
            )
            row = row_of(frame, other=other, metric=metric)
            assert row["cases"] == USERS
            assert (row["model_seeds"], row["other_seeds"]) == (3, len(theirs))
            assert row["model_mean"] == pytest.approx(ours.mean())
            assert row["other_mean"] == pytest.approx(theirs.mean())
            assert row["difference"] == pytest.approx(ours.mean() - theirs.mean())
            assert row["relative"] == pytest.approx(ours.mean() / theirs.mean() - 1)
            assert row["model_spread"] == pytest.approx(ours.mean(axis=1).std(ddof=1))
            expected = stats.ttest_rel(ours.mean(axis=0), theirs.mean(axis=0)).pvalue
            assert row["p_t"] == pytest.approx(expected, rel=1e-6)
            assert row["low"] < row["difference"] < row["high"]
    assert row_of(frame, other="far", metric="hit@10")["other_spread"] is None


def test_a_real_gain_is_found_and_noise_is_not(runs):
    frame = compare_models(runs, "ours", ["ndcg@10"])
    far, near = row_of(frame, other="far"), row_of(frame, other="near")
    assert far["difference"] > 0
    assert max(far["p_t_holm"], far["p_bootstrap_holm"]) < 0.01
    assert min(near["p_t_holm"], near["p_bootstrap_holm"]) > 0.05


def test_the_order_of_users_does_not_matter(runs):
    shuffled = {name: [f.sample(fraction=1, shuffle=True, seed=3) for f in fs] for name, fs in runs.items()}
    one, other = (compare_models(r, "ours", ["mrr"], resamples=200) for r in (runs, shuffled))
    assert one.equals(other)


def test_slices_take_their_targets(runs):
    head = np.arange(41) <= 8
    slices = {"head": head, "tail": ~head, "nothing": np.zeros(41, dtype=bool)}
    frame = compare_models(runs, "ours", ["hit@10"], slices=slices, resamples=100)
    assert frame["slice"].to_list() == ["head", "head", "tail", "tail"]
    only = {name: [f.filter(pl.col("target") <= 8) for f in fs] for name, fs in runs.items()}
    alone = compare_models(only, "ours", ["hit@10"], resamples=100)
    columns = ["cases", "difference", "low", "p_t", "p_bootstrap"]
    assert frame.filter(slice="head").select(columns).equals(alone.select(columns))


def test_weighted_cases_are_tested_as_the_ratio_of_sums(runs):
    """Their scaled values have the mean, and the p-values, of weighted sums over sums of weights."""
    weight = np.random.default_rng(9).lognormal(0, 1, USERS).round(2)
    weight[::7] = 0
    own = {name: [f.with_columns(weight=weight) for f in frames] for name, frames in runs.items()}
    frame = compare_models(own, "ours", ["ndcg@10"], weighted="by price", resamples=1000)
    assert frame["slice"].to_list() == ["overall"] * 2 + ["by price"] * 2
    paid = weight > 0
    ours, theirs = (
        np.mean([per_case(f["rank_full"].to_numpy(), "ndcg@10") for f in runs[name]], axis=0)
        for name in ("ours", "near")
    )
    row = row_of(frame, slice="by price", other="near")
    assert row["cases"] == paid.sum()
    assert row["model_mean"] == pytest.approx(np.average(ours, weights=weight))
    assert row["difference"] == pytest.approx(np.average(ours - theirs, weights=weight))
    assert row["p_t"] == pytest.approx(stats.ttest_1samp(((ours - theirs) * weight)[paid], 0).pvalue)
    both = np.stack([(ours - theirs) * weight, weight], axis=1)[paid]
    sums = bootstrap_means(both, 1000, 0)
    ratio = sums[:, 0] / sums[:, 1]
    extreme = min((ratio <= 0).sum(), (ratio >= 0).sum())
    assert row["p_bootstrap"] == pytest.approx(min(2 * (extreme + 1) / 1001, 1))
    low, high = np.quantile(ratio, [0.025, 0.975])
    assert (row["high"] - row["low"]) / (high - low) == pytest.approx(1, abs=0.03)


def test_weights_must_be_those_of_all_runs_and_of_two_cases_at_least(runs):
    def weighing(name, weight):
        return {name: [f.with_columns(weight=pl.Series(weight)) for f in runs[name]]}

    ones, lone = np.ones(USERS), np.arange(USERS) == 5
    with pytest.raises(DataError, match="ranks of 'far', run 1: cases weigh something else"):
        compare_models(weighing("ours", ones) | weighing("far", 2 * ones), "ours", ["mrr"], weighted="w")
    with pytest.raises(DataError, match="no column 'weight'"):
        compare_models(runs, "ours", ["mrr"], weighted="w")
    own = weighing("ours", lone.astype(float)) | weighing("far", lone.astype(float))
    assert "w" not in compare_models(own, "ours", ["mrr"], weighted="w", resamples=10)["slice"]


def test_families_are_corrected_apart(runs):
    metrics = ["hit@10", "mrr"]
    strict = compare_models(runs, "ours", metrics, resamples=100)
    assert strict["p_t_holm"].to_numpy() == pytest.approx(holm(strict["p_t"].to_numpy()))
    apart = compare_models(runs, "ours", metrics, resamples=100, family=("slice", "metric"))
    for metric in metrics:
        part = apart.filter(metric=metric)
        assert part["p_t_holm"].to_numpy() == pytest.approx(holm(part["p_t"].to_numpy()))
        assert part["p_bootstrap_holm"].to_numpy() == pytest.approx(holm(part["p_bootstrap"].to_numpy()))


def test_the_same_runs_in_another_order_do_not_differ(runs):
    frame = compare_models({"a": runs["ours"], "b": runs["ours"][::-1]}, "a", ["ndcg@10"], resamples=100)
    assert frame["p_t"][0] == 1
    assert frame["p_bootstrap"][0] == 1


def test_other_protocols_have_columns_of_their_own(runs):
    renamed = {name: [f.rename({"rank_full": "rank_sampled100"}) for f in fs] for name, fs in runs.items()}
    frame = compare_models(renamed, "ours", ["mrr"], protocol="sampled100", resamples=100)
    assert frame.equals(compare_models(runs, "ours", ["mrr"], resamples=100))
    with pytest.raises(DataError, match="ranks of 'ours', run 1: no column 'rank_full'"):
        compare_models(renamed, "ours", ["mrr"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.head(USERS - 2), "run 1: 2 users of the first run are missing and 0 are new"),
        (lambda f: f.with_columns(pl.col("user") + 1), "1 users of the first run are missing and 1 are new"),
        (lambda f: pl.concat([f, f.head(1)]), "user 0 is listed twice"),
        (lambda f: f.with_columns(pl.col("target") % 40), "user 39 and 6 more have another target"),
    ],
)
def test_runs_that_do_not_pair(runs, change, message):
    with pytest.raises(DataError, match=message):
        compare_models({"ours": runs["ours"], "far": [change(runs["far"][0])]}, "ours", ["mrr"])


def test_nothing_to_compare(runs):
    with pytest.raises(ConfigError, match="no ranks of model 'us'"):
        compare_models(runs, "us", ["mrr"])
    with pytest.raises(ConfigError, match="no other model"):
        compare_models({"ours": runs["ours"]}, "ours", ["mrr"])
    with pytest.raises(DataError, match="no ranks of model 'none'"):
        compare_models(runs | {"none": []}, "ours", ["mrr"])
    with pytest.raises(DataError, match="two cases"):
        compare_models(runs, "ours", ["mrr"], slices={"none": np.zeros(41, dtype=bool)})
    with pytest.raises(ConfigError, match="unknown metric"):
        compare_models(runs, "ours", ["auc"])

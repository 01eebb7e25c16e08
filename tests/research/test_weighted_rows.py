"""Rows of a suite, another system's among them, by a column of the user's: in tables, tests, sentences and files."""

import random

import numpy as np
import polars as pl
import pytest
import yaml
from rich.console import Console

from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.paired_tests import holm, paired_tests
from h2rec.research.suite.evidence import evidence
from h2rec.research.suite.report import write_suite_report
from h2rec.research.suite.results import read_results
from h2rec.research.suite.suite import Suite
from h2rec.research.suite.terminal import comparison_table, contrast_table
from h2rec.research.suite.verdicts import verdicts
from made_shop import ITEMS, write_shop
from made_suite import one_by_one

NAME = "weighted by [paid]"
"""Of a column whose name looks like markup."""


def weighted_suite(folder, last="user"):
    """Write a suite of rows that train nothing, and another system's lists; the last items cost what `last` says."""
    base = yaml.safe_load(write_shop(folder, users=60).read_text())
    rows = pl.read_csv(folder / "interactions.csv")
    user = pl.col("user_id").str.slice(1).cast(pl.Float64)
    newest = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    costs = {"user": user, "nothing": pl.lit(0.0)}[last]
    rows.with_columns(pl.when(newest).then(costs).otherwise(1.0).alias("[paid]")).write_csv(
        folder / "interactions.csv"
    )
    drawn, ids = random.Random(0), [f"i{item}" for item in range(ITEMS)]
    lists = {user: drawn.sample(ids, 30) for user in rows["user_id"].unique(maintain_order=True)}
    pl.DataFrame({"user_id": list(lists), "items": list(lists.values())}).write_parquet(
        folder / "als.parquet"
    )
    suite = {
        "base": {part: base[part] for part in ("text", "semantic_ids", "evaluate", "runtime")},
        "data": {"shop": {"data": base["data"] | {"columns": {"weight": "[paid]"}}}},
        "models": {"pop": {"preset": "pop"}, "counts": {"preset": "transitions"}},
        "foreign": {"our ALS": {"lists": "als.parquet"}},
        "reference": "counts",
        "contrasts": {"pop": ["our ALS"]},
        "seeds": [0],
        "metrics": ["hit@5", "ndcg@10"],
    }
    path = folder / "revenue.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    suite = Suite.load(path, folder / "out")
    assert suite.run() == {}
    return suite


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("h2rec.research.suite.suite.side_by_side", one_by_one)
        return weighted_suite(tmp_path_factory.mktemp("revenue"))


@pytest.fixture(scope="module")
def found(suite):
    return evidence(suite)


@pytest.fixture(scope="module")
def cases(suite):
    """Rank and weight of the test cases of each row."""
    frames = {job.model: pl.read_parquet(job.folder / "ranks.parquet") for job in suite.jobs}
    return {
        name: frame.filter(split="test").select("user_id", "rank_full", "weight")
        for name, frame in frames.items()
    }


def records(found, metric, table="records"):
    wanted = {"protocol": "full", "slice": NAME, "metric": metric}
    return [r for r in found[table] if {key: r[key] for key in wanted} == wanted]


def test_every_row_has_the_same_weights_and_the_mean_that_they_make(found, cases):
    assert {tuple(frame["weight"]) for frame in cases.values()} == {tuple(map(float, range(60)))}
    for metric in ("hit@5", "ndcg@10"):
        means = {r["model"]: r["mean"] for r in records(found, metric)}
        assert means == {
            name: pytest.approx(
                np.average(per_case(frame["rank_full"].to_numpy(), metric), weights=frame["weight"])
            )
            for name, frame in cases.items()
        }
        assert {r["place"] for r in records(found, metric)} == {1, 2, 3}


def test_rows_are_tested_on_what_their_cases_weigh(found, cases):
    weight = cases["pop"]["weight"].to_numpy()
    paid = weight > 0
    values = {
        name: per_case(frame["rank_full"].to_numpy(), "ndcg@10") * weight / weight[paid].mean()
        for name, frame in cases.items()
    }
    tests = {
        other: paired_tests((values["counts"] - values[other])[paid, None]) for other in ("pop", "our ALS")
    }
    corrected = holm([test.p_t[0] for test in tests.values()])
    own = {r["model"]: r for r in records(found, "ndcg@10")}
    for (other, test), p in zip(tests.items(), corrected, strict=True):
        assert own[other]["difference"] == pytest.approx(own["counts"]["mean"] - own[other]["mean"])
        assert (own[other]["low"], own[other]["high"]) == (
            pytest.approx(test.low[0]),
            pytest.approx(test.high[0]),
        )
        assert own[other]["p_t"] == pytest.approx(p)
    (contrast,) = records(found, "ndcg@10", "contrasts")
    assert contrast["difference"] == pytest.approx(own["pop"]["mean"] - own["our ALS"]["mean"])


def test_it_is_shown_by_its_column_wherever_head_and_tail_are(suite, found, tmp_path):
    console = Console(width=200)
    with console.capture() as printed:
        console.print(comparison_table(found, "shop", "full"))
        console.print(contrast_table(found, "shop", "full"))
    assert printed.get().count(NAME) == 2
    said = [sentence for sentence in verdicts(found) if NAME in sentence]
    assert len(said) == 2  # a protocol each
    assert f"shop, full, {NAME}: counts is " in said[0]
    write_suite_report(tmp_path / "report.html", found)
    page = (tmp_path / "report.html").read_text()
    assert f'class="group">{NAME}</th>' in page
    assert f"<td>{NAME}</td>" in page
    assert "Weighted: each case counts as that column" in page
    assert read_results(suite.out / "results.parquet") == found


def test_cases_that_all_weigh_nothing_have_no_figures(in_this_process, tmp_path):
    found = evidence(weighted_suite(tmp_path, "nothing"))
    own = records(found, "ndcg@10")
    assert {(r["mean"], r["place"], r.get("p_t")) for r in own} == {(None, None, None)}
    assert [sentence for sentence in verdicts(found) if NAME in sentence] == []
    console = Console(width=200)
    with console.capture() as printed:
        console.print(comparison_table(found, "shop", "full"))
    assert printed.get().splitlines()[-5].count("–") == 2

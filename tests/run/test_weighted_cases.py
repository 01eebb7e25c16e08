"""Cases that weigh as a column says, from the file to the report, and the epoch that they select."""

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from h2rec.errors import ConfigError
from h2rec.evaluation.metrics import metric_value, per_case
from h2rec.files import read_json
from h2rec.run.baselines import change, p_value, verdicts
from h2rec.run.config import RunConfig
from h2rec.run.figures import Figures
from h2rec.run.pipeline import Pipeline
from h2rec.run.tables import metrics_table
from made_shop import write_shop

WEIGHT = "data.columns.weight=price"
SELECT = "train.select=full.weighted.ndcg@10"
DAYS_PER_STEP = 86_400 / 3
"""Three steps a day."""


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """A shop with clock times whose interactions have prices; the last one's is the number of its user."""
    folder = tmp_path_factory.mktemp("priced")
    config = write_shop(folder)
    rows = pl.read_csv(folder / "interactions.csv")
    user = pl.col("user_id").str.slice(1).cast(pl.Float64)
    last = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    rows.with_columns(
        pl.when(last).then(user).otherwise(user % 3).alias("price"),
        (1_600_000_000 // 86_400 * 86_400 + pl.col("timestamp") * DAYS_PER_STEP).alias("timestamp"),
    ).write_csv(folder / "interactions.csv")
    return config


@pytest.fixture(scope="module")
def run(priced, tmp_path_factory):
    pipeline = Pipeline(RunConfig.load(priced, [WEIGHT, SELECT]), tmp_path_factory.mktemp("run"))
    pipeline.evaluated(baselines=True)
    return pipeline


def test_figures_follow_from_ranks_and_weights_in_one_file(run):
    metrics, ranks = read_json(run.out / "metrics.json"), pl.read_parquet(run.out / "ranks.parquet")
    test = ranks.filter(pl.col("split") == "test")
    assert test["weight"].to_list() == [float(user) for user in range(len(test))]
    for split in ("test", "valid"):
        rows = ranks.filter(pl.col("split") == split)
        for protocol, block in metrics[split].items():
            values = per_case(rows[f"rank_{protocol}"].to_numpy(), "ndcg@10")
            by_hand = (values * rows["weight"].to_numpy()).sum() / rows["weight"].sum()
            assert block["weighted"]["ndcg@10"] == pytest.approx(by_hand)
            assert block["weighted"]["cases"] == block["overall"]["cases"] == len(rows)
    assert metrics["test"]["full"]["weighted"]["ndcg@10"] != metrics["test"]["full"]["overall"]["ndcg@10"]


def test_the_slice_selects_the_epoch_and_the_weights_of_the_branches(run):
    metrics = read_json(run.out / "metrics.json")
    assert metrics["training"]["selected_by"] == metrics["blend"]["selected_by"] == "full.weighted.ndcg@10"
    chosen = metric_value(metrics["valid"], "full.weighted.ndcg@10")
    assert metrics["blend"]["value"] == pytest.approx(chosen, rel=1e-6)
    assert run.validation_value() == metrics["blend"]["value"]


def test_report_and_table_show_it(run):
    page = (run.out / "report.html").read_text()
    # Two splits, two protocols, and what is found beside how high it stands.
    assert page.count("<td>weighted by price</td>") == 8
    assert "weighted by price, 80 cases" in page
    assert "each case counts as much as the column price says of its held-out interaction" in page
    assert "<td>item came on the day of the one before</td>" in page
    assert "validation NDCG@10, weighted by price, all items ranked" in page
    test = read_json(run.out / "metrics.json")["test"]
    test["full"]["weighted"]["name"] = "[price]"  # not markup
    other = {"full": {part: test["full"][part] for part in ("overall", "head", "tail")}}
    for runs, shown in (({"a": test}, True), ({"a": test, "b": other}, False)):
        console = Console(width=100)
        with console.capture() as printed:
            console.print(metrics_table(runs, "full", ["ndcg@10"], title="test"))
        assert ("weighted by [price]" in printed.get()) == shown


def test_lifts_over_the_baselines_are_weighted_too_and_told_by_the_column(run):
    metrics = read_json(run.out / "metrics.json")
    ranks = {"own": pl.read_parquet(run.out / "ranks.parquet").filter(split="test")}
    told = list(verdicts(metrics["baselines"]))
    for name, sentence in zip(metrics["baselines"], told, strict=True):
        ranks[name] = pl.read_parquet(run.stages[f"baseline_{name}"].folder / "ranks.parquet")
        ours, theirs = (
            np.average(per_case(ranks[who]["rank_full"].to_numpy(), "ndcg@10"), weights=ranks[who]["weight"])
            for who in ("own", name)
        )
        lift = metrics["baselines"][name]["lift"]["weighted"]["ndcg@10"]
        assert lift["difference"] == pytest.approx(ours - theirs)
        assert lift["relative"] == pytest.approx(ours / theirs - 1)
        assert sentence.endswith(f"; by price: {change(lift['relative'])} ({p_value(lift['p'])}).")
    shown = Figures(metrics)
    assert shown.table()["items"].unique(maintain_order=True).to_list() == [
        "overall",
        "head",
        "tail",
        "weighted by price",
    ]
    assert shown.notes == told
    assert shown.frame().filter(items="weighted by price").height == 4


def test_test_cases_that_weigh_nothing_have_no_figures_and_no_tests(priced, tmp_path):
    rows = pl.read_csv(priced.parent / "interactions.csv")
    last = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    rows.with_columns(pl.when(last).then(0).otherwise(1).alias("price")).write_csv(tmp_path / "free.csv")
    small = ["model.name=pop", f"data.interactions={tmp_path / 'free.csv'}", WEIGHT]
    found = Pipeline(RunConfig.load(priced, small), tmp_path / "run").evaluated(baselines=True)
    assert found["test"]["full"]["weighted"]["ndcg@10"] is None
    assert found["valid"]["full"]["weighted"]["ndcg@10"] is not None
    assert set(found["baselines"]["transitions"]["lift"]) == {"overall", "head", "tail"}
    assert "by price" not in "".join(verdicts(found["baselines"]))
    assert "<td>weighted by price</td>" in (tmp_path / "run" / "report.html").read_text()


def test_days_are_told_apart(run):
    lengths = run.dataset.histories.lengths
    groups = read_json(run.out / "metrics.json")["test"]["full"]["groups"]
    cases = {group["name"]: group["cases"] for group in groups if group["kind"] == "target_time"}
    # Steps 0, 1, 2 are of one day: the fourth, seventh, .. interaction begins another.
    assert cases == {
        "same day": np.count_nonzero(lengths % 3 != 1),
        "later day": np.count_nonzero(lengths % 3 == 1),
    }


def test_selecting_by_weights_needs_weights(priced, tmp_path):
    with pytest.raises(ConfigError, match=r"train.select: .* needs weights.*\n.*data\.columns\.weight"):
        Pipeline(RunConfig.load(priced, [SELECT]), tmp_path / "none").evaluated()
    rows = pl.read_csv(priced.parent / "interactions.csv")
    last = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    free = rows.with_columns(pl.when(last).then("price").otherwise(0))
    free.write_csv(tmp_path / "free.csv")
    config = RunConfig.load(priced, [WEIGHT, SELECT, f"data.interactions={tmp_path / 'free.csv'}"])
    with pytest.raises(ConfigError, match="every validation case has the weight 0"):
        Pipeline(config, tmp_path / "free").evaluated()

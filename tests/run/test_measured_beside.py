"""Every run is measured beside popularity and item-to-item counts, and says how it stands."""

import json

import numpy as np
import polars as pl
import pytest

from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.paired_tests import holm, paired_tests
from h2rec.run.baselines import BASELINES, RESAMPLES, verdicts
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.tables import metrics_table, with_baselines
from made_shop import write_shop

SMALL = ["model.name=sasrec", "model.dim=8", "train.epochs=1", "evaluate.protocols=[sampled20, full]"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


def pipeline_of(shop, out, *settings):
    # The stages of all of them lie beside the data.
    return Pipeline(RunConfig.load(shop, list(settings)), out, shop.parent / "stages")


@pytest.fixture(scope="module")
def finished(shop, tmp_path_factory):
    pipeline = pipeline_of(shop, tmp_path_factory.mktemp("run"), *SMALL)
    pipeline.evaluated(baselines=True)
    return pipeline


@pytest.fixture(scope="module")
def metrics(finished):
    return json.loads((finished.out / "metrics.json").read_text())


@pytest.mark.parametrize("preset", BASELINES)
def test_baselines_are_measured_as_runs_of_their_presets(shop, metrics, tmp_path, preset):
    # The shop's own settings name a model, which stands for a preset.
    own = pipeline_of(shop, tmp_path, f"model.name={preset}", *SMALL[1:]).evaluated()["test"]["full"]
    block = metrics["baselines"][preset]
    assert {name: block[name] for name in own} == own
    assert block["protocol"] == "full"


def test_lifts_are_paired_tests_of_the_saved_ranks(finished, metrics):
    ranks = {"own": pl.read_parquet(finished.out / "ranks.parquet").filter(pl.col("split") == "test")}
    for name in BASELINES:
        ranks[name] = pl.read_parquet(finished.stages[f"baseline_{name}"].folder / "ranks.parquet")
    slices = {"overall": np.ones_like(finished.head), "head": finished.head, "tail": ~finished.head}
    for part, members in slices.items():
        cases = members[ranks["own"]["target"].to_numpy()]
        values = {
            name: per_case(frame["rank_full"].to_numpy()[cases], "ndcg@10") for name, frame in ranks.items()
        }
        tests = [
            paired_tests((values["own"] - values[name])[:, None], resamples=RESAMPLES) for name in BASELINES
        ]
        corrected = [holm([getattr(t, p)[0] for t in tests]) for p in ("p_bootstrap", "p_t")]
        for place, (name, test) in enumerate(zip(BASELINES, tests, strict=True)):
            lift, base = metrics["baselines"][name]["lift"][part]["ndcg@10"], values[name].mean()
            assert lift["difference"] == pytest.approx(values["own"].mean() - base)
            assert lift["p"] == pytest.approx(max(corrected[0][place], corrected[1][place]))
            if base:
                assert lift["relative"] == pytest.approx(values["own"].mean() / base - 1)
                assert (lift["low"], lift["high"]) == pytest.approx((test.low[0] / base, test.high[0] / base))
            else:
                assert (lift["relative"], lift["low"], lift["high"]) == (None, None, None)


def test_only_who_asks_for_baselines_pays_and_what_is_there_is_reused(shop, finished, tmp_path):
    plain = pipeline_of(shop, tmp_path / "plain", *SMALL)
    assert "baselines" not in plain.evaluated()
    assert not {"baseline_pop", "baseline_transitions", "lifts"} & plain.stages.keys()
    again = pipeline_of(shop, tmp_path / "again", *SMALL, "train.seed=1")
    again.evaluated(baselines=True)
    assert not again.stages["train"].reused
    assert again.stages["baseline_pop"].reused
    assert again.stages["baseline_transitions"].reused
    assert not again.stages["lifts"].reused


def test_a_baseline_is_not_compared_with_itself_but_with_what_it_was_before_a_change(shop, tmp_path):
    found = {}
    for name, changes in {
        "pop": [],
        "transitions": [],
        "changed": ["model.branches.kinds=null"],
    }.items():
        preset = "transitions" if name == "changed" else name
        asked = [f"model.name={preset}", *SMALL[1:], *changes]
        found[name] = pipeline_of(shop, tmp_path / name, *asked).evaluated(baselines=True)["baselines"]
    assert {name: list(blocks) for name, blocks in found.items()} == {
        "pop": ["transitions"],
        "transitions": ["pop"],
        "changed": ["transitions", "pop"],
    }


def test_a_shop_without_texts_is_counted_without_codes(tmp_path):
    config = write_shop(tmp_path, users=30)
    asked = [*SMALL, "data.items=null"]
    pipeline = Pipeline(RunConfig.load(config, asked), tmp_path / "out")
    assert pipeline.semantic_ids is None
    assert set(pipeline._baseline("transitions").kinds) == {"followers", "predecessors"}
    assert set(pipeline.evaluated(baselines=True)["baselines"]) == set(BASELINES)


def test_a_single_case_is_measured_and_not_tested(tmp_path):
    write_shop(tmp_path, users=0)
    rows = [f"u{user},i{item},{item}" for user, items in ((0, (1, 2, 3)), (1, (1, 2))) for item in items]
    (tmp_path / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    asked = [*SMALL[:-1], "evaluate.protocols=[full]", "data.items=null"]
    found = Pipeline(RunConfig.load(tmp_path / "shop.yaml", asked), tmp_path / "out").evaluated(
        baselines=True
    )
    assert found["baselines"]["pop"]["overall"]["cases"] == 1
    assert found["baselines"]["pop"]["lift"] == {}
    assert list(verdicts(found["baselines"])) == []


def test_the_table_has_the_baselines_below_the_run_under_their_own_protocol(metrics):
    for protocol, rows in {"full": ["sasrec", "transitions", "pop"], "sampled20": ["sasrec"]}.items():
        shown = with_baselines({"sasrec": metrics["test"]}, metrics, protocol)
        assert list(shown) == rows
        assert metrics_table(shown, protocol, ["ndcg@10"], title="").row_count == 3 * len(rows)
    assert list(with_baselines({"pop": metrics["test"]}, metrics, "full")) == [
        "pop, changed", "transitions", "pop",
    ]  # fmt: skip


def lift(relative, low, high, p=0.001, difference=0.1):
    return {
        "ndcg@10": {"relative": relative, "low": low, "high": high, "p": p, "difference": difference},
        "hit@100": {"relative": 8.0, "low": 7.0, "high": 9.0, "p": 0.9, "difference": 8.0},
    }


@pytest.mark.parametrize(
    ("overall", "told"),
    [
        (lift(0.12, 0.09, 0.15), "NDCG@10 is 12% above popularity (95% interval 9.0% to 15%)"),
        (lift(-0.12, -0.15, -0.09), "NDCG@10 is 12% below popularity (95% interval 9.0% to 15%)"),
        (lift(0.2, -0.01, 0.5), "NDCG@10 is 20% above popularity (95% interval -1.0% to +50%)"),
        (
            lift(0.02, -0.01, 0.05, p=0.05),
            "NDCG@10 does not differ significantly from popularity: +2.0% (95% interval -1.0% to +5.0%)",
        ),
        (lift(11.6, 10.0, 13.1), "NDCG@10 is 13 times that of popularity (95% interval 11 to 14 times)"),
        (lift(None, None, None), "NDCG@10 is 0.1000, and popularity finds nothing"),
    ],
)
def test_a_sentence_tells_how_the_model_stands(overall, told):
    slices = {"overall": overall, "head": lift(-0.034, 0, 0), "tail": lift(None, None, None)}
    nothing = "" if "finds nothing" in told else "; in the tail popularity finds nothing"
    assert list(verdicts({"pop": {"lift": slices}})) == [f"{told}, head -3.4% (p = 0.001){nothing}."]
    assert list(verdicts({"pop": {"lift": {"overall": overall}}})) == [f"{told}."]


def test_a_catalogue_too_small_for_any_cut_off_has_no_verdict():
    assert list(verdicts({"pop": {"lift": {"overall": {}}}})) == []

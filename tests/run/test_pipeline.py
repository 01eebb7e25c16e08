import itertools
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from ranx import Qrels, Run
from ranx import evaluate as ranx_evaluate

from h2rec.errors import ConfigError, H2RecError
from h2rec.files import file_hash
from h2rec.models.branch_model import BranchModel
from h2rec.models.settings import parse_model
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.stages import StageStore
from made_shop import ITEMS, write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def finished(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    pipeline = Pipeline(RunConfig.load(shop), out)
    pipeline.evaluated()
    pipeline.bundled()
    return pipeline


def without_time(metrics):
    kept = {name: value for name, value in metrics.items() if name not in ("timing", "provenance", "cost")}
    return kept | {
        "stages": metrics["provenance"]["stages"],
        "floats_per_item": metrics["cost"]["floats_per_item"],
    }


def test_the_run_leaves_the_files_of_the_contract(finished):
    names = {path.name for path in finished.out.iterdir()}
    assert names >= {
        "config.yaml", "semantic_ids.json", "audit.json", "audit.html", "checkpoints", "ranks.parquet", "metrics.json",
        "report.html", "bundle",
    }  # fmt: skip
    codes = json.loads((finished.out / "semantic_ids.json").read_text())
    assert len(codes) == ITEMS
    assert all(len(row) == 2 for row in codes.values())
    ranks = pl.read_parquet(finished.out / "ranks.parquet")
    assert {"user", "target", "rank_full", "rank_sampled20", "split"} <= set(ranks.columns)


def test_the_metrics_are_those_of_an_independent_library_on_the_saved_ranks(finished):
    metrics = json.loads((finished.out / "metrics.json").read_text())
    saved = pl.read_parquet(finished.out / "ranks.parquet")
    theirs = [*(f"{name}@{k}" for name in ("hit_rate", "ndcg") for k in (1, 5, 10)), "mrr"]
    for split, protocol in itertools.product(("test", "valid"), ("full", "sampled20")):
        ranks = saved.filter(split=split)[f"rank_{protocol}"].to_list()
        # A list in which the target stands at its rank, behind items of lower rank.
        run = {
            f"u{user}": {f"other {place}": 1 / place for place in range(1, rank)} | {"target": 1 / rank}
            for user, rank in enumerate(ranks)
        }
        figures = ranx_evaluate(Qrels({user: {"target": 1} for user in run}), Run(run), theirs)
        for name in theirs:
            ours = metrics[split][protocol]["overall"][name.replace("hit_rate", "hit")]
            assert ours == pytest.approx(figures[name], abs=1e-6), (split, protocol, name)


def test_the_report_tells_what_the_metrics_say(finished):
    page = (finished.out / "report.html").read_text()
    metrics = json.loads((finished.out / "metrics.json").read_text())
    assert f"80 users, {ITEMS} items" in page
    assert f"<td>{metrics['test']['full']['tail']['ndcg@10']:.4f}</td>" in page
    for word in ("validation NDCG@100, all items ranked", "popularity group 1", "<polyline", "resolved"):
        assert word in page
    assert "built-in method" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_metrics_json_has_the_shape_of_the_contract(finished):
    metrics = json.loads((finished.out / "metrics.json").read_text())
    assert {"test", "valid", "timing", "provenance"} <= set(metrics)
    for protocol in ("full", "sampled20"):
        for part in ("overall", "head", "tail"):
            assert {"hit@10", "ndcg@10"} <= set(metrics["test"][protocol][part])
    assert metrics["test"]["full"]["groups"]
    assert {"command", "commit", "seed", "machine"} <= set(metrics["provenance"])


def test_the_metrics_are_those_of_the_saved_ranks(finished):
    metrics = json.loads((finished.out / "metrics.json").read_text())
    ranks = (
        pl.read_parquet(finished.out / "ranks.parquet")
        .filter(pl.col("split") == "test")["rank_full"]
        .to_numpy()
    )
    overall = metrics["test"]["full"]["overall"]
    assert overall["hit@5"] == pytest.approx((ranks <= 5).mean())
    assert overall["ndcg@10"] == pytest.approx(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean())


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(shop, finished, tmp_path):
    first = json.loads((finished.out / "metrics.json").read_text())
    again = Pipeline(RunConfig.load(shop), tmp_path / "again").evaluated()
    assert without_time(again) == without_time(first)
    other = Pipeline(RunConfig.load(shop, ["train.seed=1"]), tmp_path / "other").evaluated()
    assert other["test"] != first["test"]


def test_finished_stages_are_reused_and_said_so(shop, finished, caplog):
    with caplog.at_level(logging.INFO, logger="h2rec"):
        pipeline = Pipeline(RunConfig.load(shop), finished.out)
        pipeline.evaluated()
    assert all(stage.reused for stage in pipeline.stages.values())
    assert "train: reused" in caplog.text


def test_a_change_does_again_what_depends_on_it_and_nothing_else(shop, finished, tmp_path):
    pipeline = Pipeline(RunConfig.load(shop, ["model.dropout=0.1"]), tmp_path, stages=finished.out / "stages")
    pipeline.evaluated()
    reused = {name for name, stage in pipeline.stages.items() if stage.reused}
    assert reused == {"data", "text", "semantic_ids", "audit"}


def test_other_codes_measure_a_model_without_codes_anew_but_do_not_train_it_again(shop, tmp_path):
    first = Pipeline(RunConfig.load(shop, ["model.name=sasrec"]), tmp_path / "a", stages=tmp_path / "stages")
    first.evaluated()
    finer = ["model.name=sasrec", "semantic_ids.levels=3"]
    other = Pipeline(RunConfig.load(shop, finer), tmp_path / "b", stages=tmp_path / "stages")
    other.evaluated()
    assert other.semantic_id_stage.key != first.semantic_id_stage.key
    assert {name for name, stage in other.stages.items() if stage.reused} == {"data", "text", "train"}
    # A bundle holds the codes, whoever is in it.
    first.bundled()
    other.bundled()
    assert not other.stages["bundle"].reused
    of_codes = [
        Pipeline(
            RunConfig.load(shop, [*changes, "train.epochs=1"]), tmp_path / name, stages=tmp_path / "stages"
        )
        for name, changes in {
            "c": ["model.name=sid_sum"],
            "d": ["model.name=sid_sum", "semantic_ids.levels=3"],
        }.items()
    ]
    assert of_codes[0].train_stage.key != of_codes[1].train_stage.key


def test_other_groups_of_items_are_counted_without_preparing_or_training_anything_again(
    shop, finished, tmp_path
):
    config = RunConfig.load(shop, ["data.popularity_groups=7"])
    other = Pipeline(config, tmp_path / "other", stages=finished.out / "stages")
    groups = other.evaluated()["test"]["full"]["groups"]
    assert len([group for group in groups if group["kind"] == "popularity"]) == 7
    assert {name for name, stage in other.stages.items() if not stage.reused} == {"evaluate"}
    # A training tells how head and tail come along, and may select the epoch by either.
    other = Pipeline(
        RunConfig.load(shop, ["data.head_share=0.5"]), tmp_path / "head", finished.out / "stages"
    )
    assert not other.train_stage.reused


def test_another_value_makes_another_training_and_the_default_by_name_no_other(shop, finished, tmp_path):
    found = [
        Pipeline(
            RunConfig.load(shop, ["model.name=sasrec", "train.epochs=1", *changes]),
            tmp_path / str(number),
            stages=finished.out / "stages",
        ).train_stage
        for number, changes in enumerate(([], ["train.learning_rate=0.01"], ["train.learning_rate=0.02"]))
    ]
    assert found[0].key == found[1].key != found[2].key
    assert found[1].reused
    weights = [file_hash(stage.folder / "model.safetensors") for stage in found]
    assert weights[0] != weights[2]


def test_a_branch_with_nothing_to_learn_makes_no_training_another_whatever_it_weighs(
    shop, finished, tmp_path
):
    popularity = "model.branches.popularity={kind: popularity, weight: %s}"
    for weight in (0.0, 0.4, -2.0):
        config = RunConfig.load(shop, [popularity % weight])
        other = Pipeline(config, tmp_path / str(weight), stages=finished.out / "stages")
        assert other.train_stage.reused
        assert other.train_stage.key == finished.train_stage.key
    # Not by the codes or texts that it reads, either.
    others = [
        Pipeline(
            RunConfig.load(shop, ["model.name=sasrec", "train.epochs=1", *changes]),
            tmp_path / f"reads {number}",
            stages=finished.out / "stages",
        )
        for number, changes in enumerate(
            (
                [],
                [
                    "model.branches.kinds={kind: code_transitions}",
                    "model.branches.alike={kind: similar_text}",
                    "model.branches.like={kind: similar_vectors}",
                ],
            )
        )
    ]
    assert others[0].train_stage.key == others[1].train_stage.key
    assert others[0].evaluation_stage.key != others[1].evaluation_stage.key


def test_what_a_branch_counts_is_weighed_and_ranked_anew(shop, finished, tmp_path):
    def run(name, levels):
        kinds = f"model.branches.kinds={{kind: code_transitions, weight: 0.5, levels: {levels}}}"
        config = RunConfig.load(shop, ["model.name=sasrec", "train.epochs=1", kinds])
        pipeline = Pipeline(config, tmp_path / name, stages=finished.out / "stages")
        pipeline.evaluated()
        return [pipeline.stages[stage].key for stage in ("train", "blend", "evaluate")]

    first, same, other = run("a", 1), run("b", 1), run("c", 2)
    assert first == same
    assert [one == two for one, two in zip(first, other, strict=True)] == [True, False, False]


def test_what_a_trained_branch_weighs_makes_another_training(shop, finished, tmp_path):
    # What a trained branch weighs picks the state to keep, and a branch of no weight is not trained.
    keys = {
        Pipeline(
            RunConfig.load(
                shop, ["model.name=two_hid", "train.epochs=1", f"model.branches.first.weight={weight}"]
            ),
            tmp_path / f"first {weight}",
            stages=finished.out / "stages",
        ).train_stage.key
        for weight in (1.0, 0.5, 0.0)
    }
    assert len(keys) == 3


def test_what_a_branch_alone_has_makes_another_training(shop, finished, tmp_path):
    stages = [
        Pipeline(
            RunConfig.load(
                shop, ["model.name=pg_sid", "train.epochs=1", f"model.branches.item.layers={value}"]
            ),
            tmp_path / str(number),
            stages=finished.out / "stages",
        ).train_stage
        for number, value in enumerate((2, 3, 2))
    ]
    assert stages[0].key == stages[2].key != stages[1].key
    assert stages[2].reused


def test_a_changed_input_file_is_noticed(tmp_path):
    config = write_shop(tmp_path)
    key = Pipeline(RunConfig.load(config), tmp_path / "out").data_stage.key
    with (tmp_path / "interactions.csv").open("a") as stream:
        stream.write("u0,i1,99\n")
    assert Pipeline(RunConfig.load(config), tmp_path / "out").data_stage.key != key


def test_what_killed_attempts_have_left_is_swept_away(tmp_path):
    store = StageStore(tmp_path)
    key = store.key("text", {})
    for left in (
        f".text-{key}.0123abcd.partial",
        f".text-{key}.0123abcd.replaced",
        ".text-other.0123abcd.partial",
    ):
        (tmp_path / left).mkdir()
    store.run("text", {}, lambda folder: None)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"text-{key}",
        f".text-{key}.lock",
        ".text-other.0123abcd.partial",
    }


def test_a_codebook_that_is_hardly_used_is_said_aloud(tmp_path, caplog):
    codes = {f"i{item}": [item % 4, item // 4] for item in range(ITEMS)}
    codes["i0"] = [60, 0]
    (tmp_path / "shop.index.json").write_text(json.dumps(codes))
    config = RunConfig.load(write_shop(tmp_path), ["semantic_ids.quantizer=shop.index.json"])
    Pipeline(config, tmp_path / "out").tokenized()
    assert "level 1 uses 5 of its 61 codes" in caplog.text
    assert "level 2" not in caplog.text


def test_a_slice_without_validation_cases_selects_nothing(tmp_path):
    config = RunConfig.load(write_shop(tmp_path), ["data.head_share=0.99", "train.select=full.tail.hit@10"])
    with pytest.raises(ConfigError, match=r"train\.select: no validation item is of the tail"):
        Pipeline(config, tmp_path / "out").evaluated()


def test_a_half_written_stage_is_never_taken_for_done(tmp_path):
    store = StageStore(tmp_path)

    def dies(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        store.run("work", {"a": 1}, dies)
    stage = store.run("work", {"a": 1}, lambda folder: (folder / "whole").write_text("y"))
    assert not stage.reused
    assert [path.name for path in sorted(stage.folder.iterdir())] == ["stage.json", "whole"]


def test_of_two_that_ask_for_a_stage_at_once_one_makes_it(tmp_path):
    made = []

    def slow(folder):
        made.append(folder)
        time.sleep(0.3)

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(StageStore(tmp_path).run, "work", {"a": 1}, slow) for _ in range(2)]
    assert len(made) == 1
    assert sorted(stage.result().reused for stage in asked) == [False, True]


def test_a_damaged_stage_is_made_again(tmp_path):
    store = StageStore(tmp_path)
    first = store.run("work", {}, lambda folder: (folder / "file").write_text("y"))
    (first.folder / "stage.json").write_text("{")
    assert not store.run("work", {}, lambda folder: (folder / "file").write_text("y")).reused
    record = json.loads((first.folder / "stage.json").read_text())
    del record["made"]
    (first.folder / "stage.json").write_text(json.dumps(record))
    again = store.run("work", {}, lambda folder: (folder / "file").write_text("y"))
    assert not again.reused
    assert again.origin["cpu_seconds"] >= 0


def test_a_plain_model_runs_without_any_text(tmp_path):
    config = write_shop(tmp_path)
    overrides = ["data.items=null", "model.name=sasrec"]
    pipeline = Pipeline(RunConfig.load(config, overrides), tmp_path / "out")
    metrics = pipeline.evaluated()
    assert metrics["test"]["full"]["overall"]["cases"] == 80
    answer = Recommender.load(pipeline.bundled()).recommend(["i1"], 3)
    assert len(answer.items) == 3


def test_items_without_text_are_told_to_the_model_and_share_codes_with_nobody_in_the_alignment(tmp_path):
    config = write_shop(tmp_path)
    dropped = {"text.noise={kind: drop, share: 0.3}": 18, "text.noise={kind: swap, share: 0.3}": 0, None: 0}
    keys = set()
    for override, count in dropped.items():
        run = RunConfig.load(config, [override] if override else [])
        pipeline = Pipeline(run, tmp_path / "out", tmp_path / "stages")
        missing = np.flatnonzero(~pipeline.features.described) + 1
        assert len(missing) == count
        codes, ids = pipeline.features.shared_codes, pipeline.semantic_ids
        known = np.setdiff1d(np.arange(1, ITEMS + 1), missing)
        assert (codes[known] == ids.codes[known - 1]).all()
        assert (codes[missing] < 0).all()
        assert len(np.unique(codes[missing])) == count
        keys.add(pipeline.stages["text"].key)
        # The items of no text have the codes of one text; as they are told to the model they do not.
        assert len(np.unique(ids.codes[missing - 1], axis=0)) == min(count, 1)
    assert len(keys) == 3


def test_noise_without_any_text_is_an_error(tmp_path):
    bare = ["data.items=null", "model.name=sasrec", "text.noise={share: 0.2}"]
    config = RunConfig.load(write_shop(tmp_path), bare)
    with pytest.raises(ConfigError, match=r"text\.noise: no item has a text"):
        Pipeline(config, tmp_path / "out").evaluated()


def test_a_model_that_learns_of_codes_is_an_error_without_text_and_codes(tmp_path):
    asked = ["data.items=null", "model.name=h2rec_two_branches"]
    pipeline = Pipeline(RunConfig.load(write_shop(tmp_path), asked), tmp_path / "out")
    with pytest.raises(H2RecError, match="no text"):
        pipeline.evaluated()


def test_the_time_of_ranking_has_not_that_of_counting_and_comparing(shop, tmp_path, monkeypatch):
    def slow(self, features):
        began = time.process_time()
        while time.process_time() < began + 3:
            pass

    monkeypatch.setattr(BranchModel, "after_training", slow)
    pipeline = Pipeline(RunConfig.load(shop), tmp_path / "out")
    cost, cases = pipeline.evaluated()["cost"], len(pipeline.split.test) + len(pipeline.split.valid)
    assert cost["cpu_milliseconds_per_user"] * cases < 3000


def test_what_compares_learned_vectors_is_left_out_where_none_are_learned(tmp_path, caplog):
    pipeline = Pipeline(RunConfig.load(write_shop(tmp_path), ["model.branches.ids=null"]), tmp_path / "out")
    metrics = pipeline.evaluated()
    assert caplog.text.count("as no branch learns vectors: similar_vectors") == 1
    assert set(metrics["blend"]["weights"]) == {"followers", "predecessors", "kinds", "similar_text"}
    assert set(RunConfig.load(tmp_path / "out" / "config.yaml").model.branches) == set(
        metrics["blend"]["weights"]
    )

    alone = {"like": {"kind": "similar_vectors"}}
    config = RunConfig.parse({"preset": "transitions", "data": {"source": "ml-100k"}})
    config = config.model_copy(
        update={"model": parse_model({"name": "branches", "branches": alone}, default="branches")}
    )
    with pytest.raises(ConfigError, match="no branch of the model learns vectors"):
        Pipeline(config, tmp_path / "alone").begin()


@pytest.mark.parametrize("preset", ["h2rec", "transitions"])
def test_what_counts_by_codes_is_left_out_without_text_and_codes(preset, tmp_path, caplog):
    asked = ["data.items=null", f"model.name={preset}"]
    pipeline = Pipeline(RunConfig.load(write_shop(tmp_path), asked), tmp_path / "out")
    metrics = pipeline.evaluated()
    assert "left out of the model, as the items have no text: kinds" in caplog.text
    assert {"followers", "predecessors"} <= metrics["blend"]["weights"].keys()
    assert not {"kinds", "close_kinds", "similar_text"} & metrics["blend"]["weights"].keys()
    assert set(RunConfig.load(tmp_path / "out" / "config.yaml").model.branches) == set(
        pipeline.model.branch_names
    )
    assert len(Recommender.load(pipeline.bundled()).recommend(["i1"], 3).items) == 3


def test_a_model_that_there_is_not_is_refused_before_anything_is_written(shop, tmp_path):
    with pytest.raises(ConfigError, match="unknown model 'sasrek'"):
        RunConfig.load(shop, ["model.name=sasrek"])
    assert not list(tmp_path.iterdir())


def test_more_negatives_than_items_are_refused_before_anything_is_trained(tmp_path):
    pipeline = Pipeline(
        RunConfig.load(write_shop(tmp_path), ["evaluate.protocols=[sampled100]"]), tmp_path / "out"
    )
    with pytest.raises(H2RecError, match="negatives"):
        pipeline.evaluated()
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_codes_from_a_file(tmp_path):
    config = write_shop(tmp_path)
    codes = {f"i{item}": [f"<a_{item % 4}>", f"<b_{item // 4}>"] for item in range(ITEMS)}
    (tmp_path / "shop.index.json").write_text(json.dumps(codes))
    overrides = ["data.items=null", "semantic_ids.quantizer=shop.index.json"]
    pipeline = Pipeline(RunConfig.load(config, overrides), tmp_path / "out")
    pipeline.evaluated()
    assert json.loads((tmp_path / "out" / "semantic_ids.json").read_text())["i5"] == [1, 1]
    # Codes are there, texts are not.
    assert set(pipeline.model.branch_names) == {
        "ids",
        "followers",
        "predecessors",
        "kinds",
        "similar_vectors",
    }


def test_without_texts_a_training_starts_from_the_codes_and_is_another_with_others(tmp_path, caplog):
    """Of a model of hash IDs alone, which reads codes for nothing else."""
    config = write_shop(tmp_path)

    def trained(divisor, *more):
        codes = {f"i{item}": [item % divisor, item // divisor] for item in range(ITEMS)}
        (tmp_path / "shop.index.json").write_text(json.dumps(codes))
        asked = ["model.name=sasrec_warm", "semantic_ids.quantizer=shop.index.json", *more]
        return Pipeline(RunConfig.load(config, asked), tmp_path / "out").train_stage.key

    assert len({trained(4, "data.items=null"), trained(5, "data.items=null")}) == 2
    assert "no item has text: text embeddings are left out" in caplog.text
    assert trained(4) == trained(5)  # texts start it
    assert trained(4, "data.items=null", "model.warm_start=false") == trained(
        5, "data.items=null", "model.warm_start=false"
    )


def test_an_unknown_key_names_the_nearest(shop):
    with pytest.raises(ConfigError, match=r"unknown key 'train\.epoch', did you mean 'train\.epochs'"):
        RunConfig.load(shop, ["train.epoch=3"])
    with pytest.raises(ConfigError, match=r"unknown key 'joint', did you mean 'loss\.joint'"):
        RunConfig.load(shop, ["joint=0.3"])
    with pytest.raises(ConfigError, match=r"unknown key 'ties\.beta', did you mean 'ties\.alignment\.beta'"):
        RunConfig.load(shop, ["model.ties.beta=3"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", r"train\.epochs"),
        ("train.epochs=many", r"train\.epochs"),
        ("model.backbone=rnn", r"shop\.yaml: unknown backbone 'rnn'"),
        ("model.heads=5", r"model: dim \(16\) is not divisible by heads \(5\)"),
        ("model.branches.ids.layers=0", r"shop\.yaml: model\.branches\.ids: layers"),
        ("model.branches.codes.kind=cods", r"unknown kind of branch 'cods'.*\n.*did you mean 'codes'"),
        ("model.branches.my tail={kind: ids}", "'my tail' can't be the name of a branch"),
        ("loss.ranking=bppr", "unknown ranking loss 'bppr'"),
        ("loss.joint=1.1", r"loss\.joint"),
        ("train.select=full.overall.recall", r"train\.select"),
        ("loss.negatives.count=0", r"loss\.negatives\.count"),
        ("semantic_ids.quantizer={name: rqvae, epochs: -1}", r"semantic_ids\.quantizer: epochs"),
        ("train.epochs", "expected key=value"),
        ("model.dim.x=1", "is a value, not a section"),
    ],
)
def test_impossible_settings_are_errors(shop, override, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.load(shop, [override])


def test_yaml_errors_name_the_line(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("data:\n  interactions: [\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml:3: not valid YAML"):
        RunConfig.load(bad)
    with pytest.raises(ConfigError, match="no such file"):
        RunConfig.load(tmp_path / "none.yaml")
    bad.write_text("- a\n")
    with pytest.raises(ConfigError, match="expected keys and values"):
        RunConfig.load(bad)


def test_the_resolved_configuration_runs_again_from_anywhere(finished, tmp_path):
    resolved = RunConfig.load(finished.out / "config.yaml")
    assert resolved == finished.config
    assert resolved.data.interactions.is_absolute()

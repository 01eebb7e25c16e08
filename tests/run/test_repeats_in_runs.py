"""One rule for repeats, from the figures to what is served; and users who have seen nearly all."""

import json
import logging
from html import escape

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from h2rec.errors import ConfigError, DataError
from h2rec.evaluation.significance import compare_models
from h2rec.evaluation.topk import top_items
from h2rec.files import file_hash, read_json
from h2rec.research import shares
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_shop import ITEMS, write_shop

RULES = ("allowed", "excluded")
SELECT = "train.select=full.overall.ndcg@10"


def write_plays(folder, *, come_back=0.5, users=80):
    """Write a shop whose users come back to what they had, at a share of their steps."""
    config = write_shop(folder, users=users)
    random = np.random.default_rng(1)
    rows = []
    for user in range(users):
        had = [int(random.integers(ITEMS))]
        for _ in range(int(random.integers(5, 9))):
            again = random.random() < come_back
            had.append(int(random.choice(had)) if again else (had[-1] + 4) % ITEMS)
        rows += [(f"u{user}", f"i{item}", time) for time, item in enumerate(had)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame.write_csv(folder / "interactions.csv")
    return config


@pytest.fixture(scope="module")
def plays(tmp_path_factory):
    return write_plays(tmp_path_factory.mktemp("plays"))


@pytest.fixture(scope="module")
def runs(plays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for rule in RULES:
        config = RunConfig.load(plays, [f"evaluate.repeats={rule}", SELECT, "bundle.refit=false"])
        found[rule] = Pipeline(config, folder / rule, folder / "stages")
        found[rule].evaluated()
        found[rule].bundled()
    return found


def served(bundle):
    return TestClient(create_app(Service(bundle, ServeSettings())), base_url="http://localhost")


def asked(pipeline):
    """Histories and targets of the test users as item ids, and which targets are repeats."""
    cases, ids = pipeline.split.test, pipeline.dataset.items["item_id"].to_list()
    for history, target in zip(cases.histories, cases.targets, strict=True):
        yield [ids[item - 1] for item in history], ids[target - 1], target in history


@pytest.mark.parametrize("rule", RULES)
def test_the_figures_say_what_the_server_shows(runs, rule):
    pipeline = runs[rule]
    recommender = Recommender.load(pipeline.out / "bundle")
    assert recommender.repeats == (rule == "allowed")
    figures = read_json(pipeline.out / "metrics.json")["test"]["full"]
    cases = [(h, t, repeat) for h, t, repeat in asked(pipeline) if rule == "allowed" or not repeat]
    answers = recommender.recommend_batch([history for history, _, _ in cases], 10)
    shown = [[item.item_id for item in answer.items] for answer in answers]
    hits = [target in items for (_, target, _), items in zip(cases, shown, strict=True)]
    assert len(cases) == figures["overall"]["cases"]
    assert 0 < np.mean(hits) < 1
    assert figures["overall"]["hit@10"] == pytest.approx(np.mean(hits))
    groups = {g["name"]: g for g in figures["groups"] if g["kind"] == "target"}
    for name, wanted in (("repeat", True), ("first time", False)):
        of_group = [hit for hit, (_, _, repeat) in zip(hits, cases, strict=True) if repeat == wanted]
        assert groups[name]["cases"] == len(of_group)
        if of_group:
            assert groups[name]["hit@10"] == pytest.approx(np.mean(of_group))
    with served(pipeline.out / "bundle") as client:
        for (history, _, _), items in list(zip(cases, shown, strict=True))[:5]:
            answer = client.post("/recommend", json={"history": history, "k": 10}).json()
            assert [item["item_id"] for item in answer["items"]] == items
    # Who is apart is never shown its target.
    if rule == "excluded":
        apart = [(h, t) for h, t, repeat in asked(pipeline) if repeat]
        assert len(apart) == figures["apart"]["repeats"] == groups["repeat"]["apart"] > 10
        answers = recommender.recommend_batch([history for history, _ in apart], ITEMS)
        for (history, _), answer in zip(apart, answers, strict=True):
            assert not {item.item_id for item in answer.items} & set(history)


@pytest.mark.parametrize("rule", RULES)
def test_a_question_may_ask_for_the_other_rule(runs, rule):
    bundle = runs[rule].out / "bundle"
    recommender = Recommender.load(bundle)
    history = ["i3", "i7", "i11"]
    with served(bundle) as client:
        for seen in (None, True, False):
            items = recommender.recommend(history, ITEMS, filter=ItemFilter.make(seen=seen)).items
            again = (rule == "allowed") if seen is None else seen
            assert len(items) == len(recommender.item_ids) - (0 if again else 3)
            body = {"history": history, "k": ITEMS, "filter": {"seen": seen}}
            answer = client.post("/recommend", json=body).json()
            assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in items]


@pytest.mark.parametrize("rule", RULES)
def test_a_bundle_that_grows_keeps_its_rule(runs, tmp_path, rule):
    bundle = Recommender.load(runs[rule].out / "bundle").bundle
    fresh = pl.DataFrame({"item_id": ["new"], "title": ["tea green leaf number 1000"]})
    add_items(bundle, fresh, tmp_path / "grown")
    assert Recommender.load(tmp_path / "grown").repeats == (rule == "allowed")


@pytest.mark.parametrize("rule", RULES)
def test_shares_of_branches_are_those_of_what_is_shown(runs, monkeypatch, rule):
    run, hidden = runs[rule], []
    monkeypatch.setattr(
        shares, "top_items", lambda s, k, exclude: hidden.append(exclude) or top_items(s, k, exclude)
    )
    assert shares.branch_shares(run) is not None
    assert all((exclude is None) == (rule == "allowed") for exclude in hidden)
    assert len(hidden) > 0


def test_the_rule_changes_no_training(runs):
    keys = {rule: {name: stage.key for name, stage in run.stages.items()} for rule, run in runs.items()}
    assert keys["allowed"]["train"] == keys["excluded"]["train"]
    assert runs["excluded"].stages["train"].reused
    assert keys["allowed"]["evaluate"] != keys["excluded"]["evaluate"]
    assert keys["allowed"]["blend"] != keys["excluded"]["blend"]


def test_trained_by_itself_either_rule_ends_with_the_same_bytes(plays, runs, tmp_path):
    of_rule = runs["allowed"].train_stage
    config = RunConfig.load(plays, ["evaluate.repeats=excluded", SELECT])
    alone = Pipeline(config, tmp_path, tmp_path / "stages").train_stage
    assert not alone.reused
    files = [stage.folder / "model.safetensors" for stage in (of_rule, alone)]
    assert file_hash(files[0]) == file_hash(files[1])
    logs = [read_json(stage.folder / "training.json")["log"] for stage in (of_rule, alone)]
    assert [epoch["valid"] for epoch in logs[0]] == [epoch["valid"] for epoch in logs[1]]


def test_the_data_decide_unless_told_and_it_is_said(plays, runs, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="h2rec"):
        pipeline = Pipeline(RunConfig.load(plays, [SELECT]), tmp_path, runs["allowed"].store.root)
        metrics = pipeline.evaluated()
        assert (
            Pipeline(RunConfig.load(plays, [SELECT]), tmp_path, pipeline.store.root).repeats
            == pipeline.repeats
        )
    assert metrics["repeats"]["rule"] == "allowed"
    assert pipeline.stages["evaluate"].key == runs["allowed"].stages["evaluate"].key
    assert pipeline.stages["evaluate"].reused
    assert caplog.text.count(metrics["repeats"]["told"]) == 1  # whatever is trained on these data
    for folder in (tmp_path, runs["excluded"].out):
        told = read_json(folder / "metrics.json")["repeats"]["told"]
        assert escape(told[1:]).replace("&#x27;", "&#39;") in (folder / "report.html").read_text()
    assert "apart)" in (runs["excluded"].out / "report.html").read_text()


def test_without_repeats_nothing_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="h2rec"):
        pipeline = Pipeline(RunConfig.load(write_shop(tmp_path)), tmp_path / "out")
        assert pipeline.repeats.rule == "excluded"
    assert "repeats" not in caplog.text


def test_weights_and_searches_are_chosen_by_the_rule(runs):
    for run in runs.values():
        metrics = read_json(run.out / "metrics.json")
        assert run.validation_value() == pytest.approx(metrics["valid"]["full"]["overall"]["ndcg@10"])


@pytest.mark.parametrize("rule", RULES)
def test_a_search_of_a_model_without_weights_is_by_the_rule_too(plays, tmp_path, rule):
    changes = [f"evaluate.repeats={rule}", "model.name=sasrec", "train.epochs=1", SELECT]
    pipeline = Pipeline(RunConfig.load(plays, changes), tmp_path)
    value = pipeline.validation_value()
    assert value == pytest.approx(pipeline.evaluated()["valid"]["full"]["overall"]["ndcg@10"])


def test_saved_ranks_pair_by_one_rule_and_not_by_two(runs):
    ranks = {rule: read_ranks(run) for rule, run in runs.items()}
    first, cases = ranks["excluded"], ranks["excluded"]["rank_full"].count()
    assert ranks["allowed"]["rank_full"].null_count() == 0
    assert first.filter("repeat")["rank_full"].null_count() == len(first) - cases > 0
    frame = compare_models({"a": [first], "b": [first]}, "a", ["hit@10"], resamples=50)
    assert frame["cases"].to_list() == [cases]
    assert frame["model_mean"][0] == pytest.approx((first["rank_full"].drop_nulls() <= 10).mean())
    with pytest.raises(DataError, match=rf"'excluded', run 1: {len(first) - cases} cases are set apart"):
        compare_models({rule: [ranks[rule]] for rule in RULES}, "allowed", ["hit@10"])


def read_ranks(run):
    return pl.read_parquet(run.out / "ranks.parquet").filter(split="test")


def test_excluding_all_there_is_is_refused_before_training(tmp_path):
    config = RunConfig.load(write_plays(tmp_path, come_back=1.0), ["evaluate.repeats=excluded"])
    with pytest.raises(ConfigError, match="no validation case is left: all 80 targets") as error:
        Pipeline(config, tmp_path / "out").evaluated()
    assert "evaluate.repeats: allowed" in error.value.hint


@pytest.fixture
def bot(tmp_path):
    """The shop, and one user who has had everything."""
    config = write_shop(tmp_path)
    with (tmp_path / "interactions.csv").open("a") as stream:
        stream.writelines(f"bot,i{item % ITEMS},{item}\n" for item in range(2 * ITEMS))
    return config


@pytest.mark.parametrize("rule", ["auto", "allowed"])
def test_a_user_who_has_seen_all_stops_nobody_and_is_named(bot, tmp_path, caplog, rule):
    changes = [f"evaluate.repeats={rule}", "train.select=sampled20.overall.ndcg@10"]
    pipeline = Pipeline(RunConfig.load(bot, changes), tmp_path / "out")
    with caplog.at_level(logging.WARNING, logger="h2rec"):
        metrics = pipeline.evaluated()["test"]
    # The target is a repeat: under the one rule that sets it apart, under the other it has rivals enough.
    assert metrics["sampled20"]["apart"] == {"repeats": int(rule == "auto"), "too_few_negatives": 0}
    assert metrics["full"]["overall"]["cases"] == 80 + (rule == "allowed")
    assert ("sampled20 leaves out 1 of 81 users" in caplog.text) == (rule == "auto")
    assert ("to draw from: 'bot'" in caplog.text) == (rule == "auto")
    recommender = Recommender.load(pipeline.bundled())
    answer = recommender.recommend([f"i{item}" for item in range(ITEMS)], 10)
    assert len(answer.items) == (10 if rule == "allowed" else 0)


def test_a_user_who_leaves_too_few_items_is_out_of_the_sampled_protocol_alone(tmp_path, caplog):
    config = write_shop(tmp_path)
    with (tmp_path / "interactions.csv").open("a") as stream:
        stream.writelines(f"bot,i{item},{item}\n" for item in range(ITEMS - 5))
    pipeline = Pipeline(RunConfig.load(config), tmp_path / "out")
    with caplog.at_level(logging.WARNING, logger="h2rec"):
        metrics = pipeline.evaluated()
    assert "sampled20 leaves out 1 of 81 users" in caplog.text
    assert "'bot'" in caplog.text
    for split in ("test", "valid"):
        assert metrics[split]["sampled20"]["apart"] == {"repeats": 0, "too_few_negatives": 1}
        assert metrics[split]["sampled20"]["overall"]["cases"] == 80
        assert metrics[split]["full"]["overall"]["cases"] == 81
    ranks = pl.read_parquet(pipeline.out / "ranks.parquet").filter(user_id="bot")
    assert ranks["rank_sampled20"].to_list() == [None, None]
    assert ranks["rank_full"].null_count() == 0
    assert "1 whose users leave too few negatives" in (pipeline.out / "report.html").read_text()
    json.dumps(metrics, allow_nan=False)


def test_where_no_user_leaves_enough_it_is_refused_before_training(tmp_path):
    config = RunConfig.load(write_shop(tmp_path), ["evaluate.protocols=[full, sampled58]"])
    with pytest.raises(DataError, match="of the 60 items no validation user has so many outside the history"):
        Pipeline(config, tmp_path / "out").evaluated()

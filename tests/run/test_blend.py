"""Branch weights chosen on validation: the best of all tried, the same in evaluation, bundle and search."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.errors import ConfigError
from h2rec.evaluation.evaluate import evaluate
from h2rec.evaluation.metrics import metric_value, per_case
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.models.branches.similar import SimilarTextBranch
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import parse_model
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.recommender import Recommender
from h2rec.run import blend, reranking
from h2rec.run.blend import BlendSettings, fit_weights, has_choice
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.presets import merge, preset_values
from h2rec.semantic_ids.codes import SemanticIds
from made_shop import write_shop

ITEMS, USERS = 60, 40
RANDOM = np.random.default_rng(1)
CODES = SemanticIds(RANDOM.integers(0, 4, (ITEMS, 3)).astype(np.int32), (4, 4, 4))
HEAD = np.arange(ITEMS + 1) % 5 == 1
CASES = Holdout(
    np.arange(USERS),
    Histories.from_lists([(1 + RANDOM.choice(ITEMS, 6, replace=False)).tolist() for _ in range(USERS)]),
    RANDOM.integers(1, ITEMS + 1, USERS).astype(np.int32),
)
COUNTS = np.append(0, RANDOM.integers(1, 30, ITEMS))
WEIGHTS = [0.0, 0.4, 2.0]
TRAIN = Histories.from_lists([(1 + RANDOM.choice(ITEMS, 6)).tolist() for _ in range(30)])
RULES = ("allowed", "excluded")
POPULARITY = {"popularity": {"kind": "popularity", "weight": 0.0}}
MODELS = ["h2rec_two_branches", "h2rec", "two_hid", "three_hid"]
COUNTED = {name: {"kind": name, "weight": 1.0} for name in ("transitions", "code_transitions")}
SELECTS = ["full.overall.ndcg@10", "sampled20.tail.hit@10", "full.head.mrr"]


@pytest.fixture(autouse=True)
def few_weights(monkeypatch):
    monkeypatch.setattr(blend, "WEIGHTS", WEIGHTS)
    monkeypatch.setattr(blend, "LARGER", ())


def configured(preset="h2rec_two_branches", **branches):
    """Settings of a preset's model, made small, with other branches or other settings of them."""
    model = {"dim": 8, "layers": 1, "warm_start": False} | ({"branches": branches} if branches else {})
    return parse_model(merge(preset_values(preset)["model"], model), default="branches")


def made(settings, weights=None):
    settings = settings.with_weights(weights or {})
    return build_model(settings, ItemFeatures(ITEMS, CODES, train_counts=COUNTS, train=TRAIN), seed=0).eval()


IDS_AND_COUNTS = parse_model({"dim": 8, "branches": {"ids": {"kind": "ids"}, **COUNTED}}, default="branches")


def fitted(settings, *, select="full.overall.mrr", repeats="excluded"):
    return fit_weights(made(settings), settings, CASES, select=select, head=HEAD, repeats=repeats)


def measured(model, select, repeats="excluded"):
    settings = EvaluateSettings(protocols=["full", "sampled20"], ks=[10], repeats=repeats)
    ranked = rank(CatalogueScorer(model), CASES, settings)
    found = evaluate(ranked, CASES, settings=settings, head=HEAD, train_counts=COUNTS)
    return metric_value(found.metrics, select)


@pytest.mark.parametrize("select", SELECTS)
@pytest.mark.parametrize("preset", ["h2rec_two_branches", "two_hid", "three_hid", "ids_and_counts"])
def test_the_weights_are_the_best_of_all_combinations_as_the_evaluation_measures_them(select, preset):
    settings = IDS_AND_COUNTS if preset == "ids_and_counts" else configured(preset)
    found = fitted(settings, select=select)
    branches, last = settings.weighed_branches, settings.trained_branches[-1]
    assert 1 <= len(branches) <= blend.TOGETHER
    assert found["weights"][last] == 1.0
    tried = [{}]
    for name in branches:
        tried = [{**one, name: weight} for one in tried for weight in WEIGHTS]
    values = [measured(made(settings, weights), select) for weights in tried]
    values.append(measured(made(settings), select))
    assert found["tried"] == len(values)
    assert found["value"] == pytest.approx(max(values), abs=1e-12)
    assert found["value_as_configured"] == pytest.approx(values[-1], abs=1e-12)
    assert measured(made(settings, found["weights"]), select) == pytest.approx(max(values), abs=1e-12)


@pytest.mark.parametrize("select", SELECTS)
@pytest.mark.parametrize("repeats", RULES)
def test_no_pair_of_weights_is_better_than_those_of_the_default(select, repeats):
    settings = configured("h2rec")
    names = settings.weighed_branches
    assert names == ("followers", "predecessors", "kinds", "similar_text", "similar_vectors")
    found = fitted(settings, select=select, repeats=repeats)
    assert found["weights"]["ids"] == 1.0
    assert found["value_as_configured"] == pytest.approx(measured(made(settings), select, repeats), abs=1e-12)
    best = measured(made(settings, found["weights"]), select, repeats)
    assert found["value"] == pytest.approx(best, abs=1e-12)
    assert best >= found["value_as_configured"]
    for first, second in itertools.combinations(names, 2):
        for weights in itertools.product(WEIGHTS, repeat=2):
            other = found["weights"] | dict(zip((first, second), weights, strict=True))
            assert measured(made(settings, other), select, repeats) <= best + 1e-12


@pytest.mark.parametrize("part", ["overall", "weighted", "head", "tail"])
def test_the_best_weight_is_that_of_the_slice_and_of_weighted_cases(part):
    settings = configured("two_hid")
    # To one branch the even ones are better known, to the other the odd ones.
    even = np.arange(ITEMS + 1) % 2 == 0
    cases = replace(CASES, weights=np.where(np.arange(USERS) % 3, 0.1, 5.0).astype(np.float32))
    in_tail = ~even[cases.targets]
    each = cases.weights if part == "weighted" else np.ones(USERS)
    counts = each * {"head": ~in_tail, "tail": in_tail}.get(part, True)
    name = settings.weighed_branches[0]
    values = {}
    for weight in (*WEIGHTS, 1.0):
        weights = settings.weights | {name: weight}
        options = EvaluateSettings(protocols=["full"], ks=[10], repeats="excluded")
        ranks = rank(CatalogueScorer(made(settings, weights)), cases, options).by_protocol["full"]
        kept = ranks > 0  # a target in its own history has no rank
        values[weight] = float(np.average(1 / ranks[kept], weights=counts[kept]))
    found = fit_weights(
        made(settings), settings, cases, select=f"full.{part}.mrr", head=even, repeats="excluded"
    )
    assert found["weights"][name] == max(values, key=values.__getitem__)
    assert found["value"] == pytest.approx(max(values.values()), abs=1e-12)


def test_the_search_starts_from_the_trained_branches_alone_too(monkeypatch):
    settings = configured(**COUNTED, popularity={"kind": "popularity", "weight": 2.0})
    monkeypatch.setattr(blend, "WEIGHTS", [1.0, 2.0])  # what counts can't be left out but by the start
    monkeypatch.setattr(blend, "ROUNDS", 0)
    trained = measured(made(settings, dict.fromkeys((*COUNTED, "popularity"), 0.0)), "full.overall.mrr")
    as_configured = measured(made(settings), "full.overall.mrr")
    assert trained > as_configured
    assert fitted(settings)["value"] == pytest.approx(trained, abs=1e-12)


@pytest.mark.parametrize(
    ("best", "chosen", "highest"),
    [(0.3, 0.4, 2.0), (2.0, 2.0, 4.0), (7.0, 8.0, 16.0), (1000.0, 16.0, 16.0)],
)
def test_larger_weights_are_tried_while_the_largest_is_the_best(best, chosen, highest, monkeypatch):
    monkeypatch.setattr(blend, "LARGER", (4.0, 8.0, 16.0))
    ladders = {"a": list(WEIGHTS), "b": list(WEIGHTS)}
    seen = []

    def measured(tried):
        seen.extend(one["a"] for one in tried)
        return [-abs(one["a"] - best) - abs(one["b"] - 0.4) for one in tried]

    found = blend._best_of({"a": 0.0, "b": 0.0, "c": 1.0}, ladders, measured)
    assert found == {"a": chosen, "b": 0.4, "c": 1.0}
    assert max(seen) == highest
    assert ladders["b"] == WEIGHTS
    assert blend._best_of(found, ladders, measured) == found


def test_counts_outweigh_an_encoder_that_learned_nothing(monkeypatch):
    """What follows is certain here, and the weights of the encoder are as they were drawn."""
    lists = [[1 + (start + 7 * step) % ITEMS for step in range(4)] for start in range(ITEMS)]
    train = Histories.from_lists(lists)
    cases = Holdout(
        np.arange(ITEMS),
        Histories.from_lists([one[:3] for one in lists]),
        np.array([one[3] for one in lists], np.int32),
    )
    settings = configured(followers={"kind": "transitions", "weight": 0.001})
    model = build_model(settings, ItemFeatures(ITEMS, CODES, train_counts=COUNTS, train=train), seed=0).eval()
    values = {}
    monkeypatch.setattr(blend, "WEIGHTS", (0.0, 0.001))
    for larger in ((), (0.1, 1.0, 10.0)):
        monkeypatch.setattr(blend, "LARGER", larger)
        values[larger] = fit_weights(
            model, settings, cases, select="full.overall.mrr", head=HEAD, repeats="excluded"
        )["value"]
    assert values[()] < 0.9 < values[0.1, 1.0, 10.0]


@pytest.mark.parametrize("repeats", RULES)
def test_what_is_not_ranked_again_can_only_let_targets_rise(repeats, monkeypatch):
    settings = configured("h2rec")
    values = []
    for deepest in (1, 4, 8, 60):  # of each of seven lists, of sixty items
        monkeypatch.setattr(reranking, "_deepest", lambda metric, deepest=deepest: deepest)
        values.append(fitted(settings, select="full.overall.ndcg@10", repeats=repeats)["value_as_configured"])
    assert values[0] > values[-1]
    assert values == sorted(values, reverse=True)
    assert values[2] == pytest.approx(values[3], rel=0.02)


@pytest.mark.parametrize("metric", ["mrr", "ndcg@10", "hit@3"])
@pytest.mark.parametrize("seed", range(8))
def test_ranks_are_those_of_the_sums_whatever_the_scores_are(seed, metric, monkeypatch):
    random = np.random.default_rng(seed)
    # Few values, so that items tie; items that a branch can't reach, and a target among them.
    scores = random.choice(
        [0.0, 0.0, 1.0, 2.0, 3.0, -np.inf, np.nan],
        (4, USERS, ITEMS + 1),
        p=[0.5, 0.1, *[0.1] * 3, 0.06, 0.04],
    )
    scores[3] = np.abs(np.nan_to_num(scores[3], neginf=5.0)) * -0.5
    scored = [torch.from_numpy(part).float() for part in scores]
    model = SimpleNamespace(
        branch_names=("counts", "others", "ids", "popularity"),
        branch_weights=(0.5, 2.0, 1.0, -0.5),
        item_count=ITEMS,
    )
    settings = SimpleNamespace(
        weights=dict(zip(model.branch_names, model.branch_weights, strict=True)),
        weighed_branches=("counts", "others"),
    )
    scorer = SimpleNamespace(
        device=torch.device("cpu"),
        branch_scores=lambda histories, users: [part[users].clone() for part in scored],
    )
    monkeypatch.setattr(reranking, "CatalogueScorer", lambda model: scorer)
    monkeypatch.setattr(reranking, "_CASES_AT_ONCE", 7)
    candidates = reranking.Candidates(model, CASES, settings, None, metric=metric, repeats="allowed")
    tried = [
        {"counts": first, "others": second, "ids": 1.0, "popularity": -0.5}
        for first, second in itertools.product([0.0, 0.25, 2.0], repeat=2)
    ]
    for weights, ranks in zip(tried, candidates.ranks(tried), strict=True):
        factors = [weights[name] / own for name, own in settings.weights.items()]
        total = sum(part * factor for part, factor in zip(scored, factors, strict=True) if factor)[:, 1:]
        targets = total.gather(1, torch.from_numpy(CASES.targets.astype(np.int64))[:, None] - 1)
        expected = (~(total < targets)).sum(dim=1).numpy()
        np.testing.assert_array_equal(per_case(ranks, metric), per_case(expected, metric))
    assert candidates._gaps.shape[1] < 0.7 * USERS * ITEMS  # the others are decided


def test_the_last_trained_branch_is_the_measure_wherever_popularity_stands():
    order = {"popularity": {"kind": "popularity", "weight": -0.5}, "b": {"kind": "ids"}, "a": {"kind": "ids"}}
    settings = parse_model({"dim": 8, "layers": 1, "branches": order}, default="branches")
    found = fitted(settings)
    assert list(found["weights"]) == ["popularity", "b", "a"]
    assert (found["weights"]["popularity"], found["weights"]["a"]) == (-0.5, 1.0)
    values = [measured(made(settings, {"b": weight}), "full.overall.mrr") for weight in (*WEIGHTS, 1.0)]
    assert found["tried"] == len(values)
    assert found["value"] == pytest.approx(max(values), abs=1e-12)


@pytest.mark.parametrize("weight", [0.0, -0.5])
def test_the_measure_of_all_others_weighs_something(weight):
    with pytest.raises(ConfigError, match=r"branches\.b\.weight: all others are weighed against it"):
        parse_model(
            {"branches": {"a": {"kind": "ids"}, "b": {"kind": "ids", "weight": weight}}}, default="branches"
        )


@pytest.mark.parametrize("weight", [0.0, -0.5, 3.0])
def test_the_only_trained_branch_has_the_weight_one_whatever_is_configured(weight):
    branches = {"ids": {"kind": "ids", "weight": weight}, **COUNTED}
    settings = parse_model({"dim": 8, "branches": branches}, default="branches")
    found, usual = fitted(settings), fitted(IDS_AND_COUNTS)
    assert found["value_as_configured"] == pytest.approx(
        measured(made(settings), "full.overall.mrr"), abs=1e-12
    )
    assert found == usual


def test_history_is_a_candidate_where_the_evaluation_says_so():
    settings = configured()
    found = fitted(settings, repeats="allowed")
    allowed, excluded = (measured(made(settings), "full.overall.mrr", rule) for rule in RULES)
    assert found["value_as_configured"] == pytest.approx(allowed, abs=1e-12)
    assert found["value_as_configured"] != excluded


def test_a_branch_that_was_not_trained_gets_no_weight():
    assert fitted(configured(codes={"weight": 0.0}))["weights"] == {"codes": 0.0, "ids": 1.0}


@pytest.mark.parametrize("preset", MODELS)
def test_models_of_several_branches_are_weighed_unless_told_otherwise(preset):
    assert has_choice(configured(preset), BlendSettings())
    assert not has_choice(configured(preset), BlendSettings(fit=False))
    assert not has_choice(configured(preset, **POPULARITY), BlendSettings(fit=False))


@pytest.mark.parametrize("preset", ["sasrec", "spm_sid", "pop"])
def test_one_branch_has_nothing_to_weigh_unless_popularity_stands_beside_it(preset):
    assert not has_choice(configured(preset), BlendSettings())
    for weight in (-0.4, 0.0, 0.3):
        if preset != "pop":
            beside = configured(preset, popularity={"kind": "popularity", "weight": weight})
            assert has_choice(beside, BlendSettings()) == (weight > 0)


def test_a_model_that_names_no_branches_has_nothing_to_weigh():
    assert not has_choice(parse_model({"name": "llm_esr"}), BlendSettings())


@pytest.mark.parametrize("preset", MODELS)
def test_popularity_is_a_branch_of_the_score_and_a_new_model_has_none(preset):
    plain = made(configured(preset, popularity=None))
    model = made(configured(preset, popularity={"kind": "popularity", "weight": 0.7}))
    assert model.branch_names == (*plain.branch_names, "popularity")
    rows = np.arange(USERS)
    expected = CatalogueScorer(plain).score(CASES.histories, rows)
    expected = expected + 0.7 * torch.from_numpy(np.log1p(COUNTS)).float()
    torch.testing.assert_close(CatalogueScorer(model).score(CASES.histories, rows), expected)
    assert not any("popularity" in key for key in plain.state_dict())


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    select = "train.select=full.overall.mrr"
    changes = [
        "train.epochs=1",
        "model.branches.kinds.weight=1000",
        "model.branches.popularity={kind: popularity, weight: -1.5}",
        select,
    ]
    return RunConfig.load(write_shop(folder, users=60), changes), folder / "stages"


def test_a_run_is_evaluated_and_bundled_with_the_weights_that_validation_chose(shop, tmp_path):
    config, stages = shop
    pipeline = Pipeline(config, tmp_path / "run", stages)
    metrics = pipeline.evaluated()
    weights = metrics["blend"]["weights"]
    assert weights["popularity"] == -1.5
    assert metrics["blend"]["value"] == pytest.approx(metrics["valid"]["full"]["overall"]["mrr"])
    assert metrics["blend"]["value"] >= metrics["blend"]["value_as_configured"]
    assert pipeline.validation_value() == metrics["blend"]["value"]
    # By kinds alone, as configured, it would rank worse.
    assert weights["kinds"] != config.model.weights["kinds"]
    recommender = Recommender.load(pipeline.bundled())
    model = recommender.bundle.model
    assert model.branch_names == tuple(config.model.branches)
    assert model.branch_weights == tuple(weights.values())
    counts = torch.from_numpy(np.log1p(pipeline.served_counts)).float()
    torch.testing.assert_close(model.branches["popularity"].log_count[:-1], counts)
    # Two items are not alike for being popular both.
    vectors = torch.from_numpy(np.array(recommender.bundle.item_vectors))[:, :-1]
    cosines = torch.nn.functional.cosine_similarity(vectors, vectors[1:2])
    (most_alike,) = recommender.similar(recommender.catalogue.item_ids[0], k=1)
    assert most_alike.score == pytest.approx(cosines[2:].max().item(), abs=1e-5)
    # A new item is expected to be as popular as what its codes say it is like.
    fresh = pl.DataFrame({"item_id": ["new"], "title": ["tea green leaf number 1000"]})
    add_items(recommender.bundle, fresh, tmp_path / "grown")
    grown = Recommender.load(tmp_path / "grown").bundle.model.branches["popularity"].log_count
    torch.testing.assert_close(grown[: ITEMS + 1], counts)
    assert grown[ITEMS + 1] > 0


@pytest.mark.parametrize(("name", "value"), [("LARGER", (9.0,)), ("MOST_CASES", 20)])
def test_another_way_to_choose_is_another_choice_for_the_model_and_its_baselines(
    name, value, shop, tmp_path, monkeypatch
):
    config, stages = shop
    before = stages_of(config, stages, tmp_path / "before")
    monkeypatch.setattr(blend, name, value)
    new = stages_of(config, stages, tmp_path / "after") - before
    assert {stage.split("-")[0] for stage in new} >= {"blend", "baseline_transitions"}


def stages_of(config, stages, out):
    Pipeline(config, out, stages).evaluated(baselines=True)
    return {folder.name for folder in stages.iterdir()}


def test_another_form_of_a_branch_is_another_choice_and_other_figures(shop, tmp_path, monkeypatch):
    config, stages = shop
    before = stages_of(config, stages, tmp_path / "before")
    monkeypatch.setattr(SimilarTextBranch, "form", SimilarTextBranch.form + 1)
    new = stages_of(config, stages, tmp_path / "after") - before
    assert {stage.split("-")[0] for stage in new} >= {"blend", "evaluate"}
    assert not any(stage.startswith("train-") for stage in new)


def test_without_fitting_the_configured_weights_stay_and_the_training_is_the_same(shop, tmp_path):
    config, stages = shop
    fixed = config.model_copy(update={"blend": BlendSettings(fit=False)})
    pipeline = Pipeline(fixed, tmp_path / "run", stages)
    metrics = pipeline.evaluated()
    assert "blend" not in metrics
    assert pipeline.model.branch_weights == tuple(config.model.weights.values())
    assert pipeline.model.branch_weights[3] == 1000
    assert pipeline.train_stage.key == Pipeline(config, tmp_path / "other", stages).train_stage.key


def test_other_weights_of_what_is_not_trained_are_other_figures_and_bundles(shop, tmp_path):
    config, stages = shop
    ranked = {}
    for weight in (0.0, 4000.0):
        model = config.model.with_weights({"popularity": weight})
        asked = config.model_copy(update={"model": model, "blend": BlendSettings(fit=False)})
        pipeline = Pipeline(asked, tmp_path / str(weight), stages)
        pipeline.evaluated()
        ranked[weight] = pl.read_parquet(tmp_path / str(weight) / "ranks.parquet")["rank_full"]
        bundled = Recommender.load(pipeline.bundled()).bundle.model
        assert bundled.branch_weights[bundled.branch_names.index("popularity")] == weight
    assert not ranked[0.0].equals(ranked[4000.0])


def test_the_weights_of_a_control_are_part_of_what_its_figures_depend_on(shop, tmp_path):
    config, stages = shop
    keys = set()
    for weight in (1.0, 0.2):
        changes = {
            "model": configured("two_hid", first={"weight": weight}),
            "blend": BlendSettings(fit=False),
        }
        pipeline = Pipeline(config.model_copy(update=changes), tmp_path / str(weight), stages)
        keys.add(pipeline.evaluation_stage.key)
    assert len(keys) == 2


def test_weights_are_chosen_by_fewer_cases_the_larger_the_catalogue():
    assert [blend.cases_for_weights(items) for items in (1_000, 100_000, 10_000_000)] == [
        50_000,
        10_000,
        1_000,
    ]

"""Branch weights chosen on validation: the best of all tried, the same in evaluation, bundle and search."""

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.errors import ConfigError
from h2rec.evaluation.evaluate import evaluate
from h2rec.evaluation.metrics import metric_value
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.experiments import blend
from h2rec.experiments.blend import BlendSettings, can_be_fitted, fit_weights
from h2rec.experiments.config import RunConfig
from h2rec.experiments.pipeline import Pipeline
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.recommender import Recommender
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
GRID = BlendSettings(weights=[0.0, 0.4, 2.0], popularity=[])
HYBRID = {"enabled": True, "branch": "own", "shrink": 0.0, "weight": 0.3}


def made(weights=None, **model):
    settings = ModelSettings.parse({"name": "h2rec", "dim": 8, "layers": 1, **model})
    if weights:
        settings = settings.with_branch_weights(weights)
    return build_model(settings, ItemFeatures(ITEMS, CODES, train_counts=COUNTS), seed=0).eval()


def measured(model, select, repeats="excluded"):
    settings = EvaluateSettings(protocols=["full", "sampled20"], ks=[10], exposure_ks=[], repeats=repeats)
    found = evaluate(CatalogueScorer(model), CASES, settings=settings, head=HEAD, train_counts=COUNTS)
    return metric_value(found.metrics, select)


@pytest.mark.parametrize("select", ["full.overall.ndcg@10", "sampled20.tail.hit@10", "full.head.mrr"])
@pytest.mark.parametrize(
    "model",
    [{}, {"residual": HYBRID}, {"score": {"saturate_at": 20}}, {"name": "two_hid"}, {"name": "three_hid"}],
)
def test_the_weights_are_the_best_of_all_combinations_as_the_evaluation_measures_them(select, model):
    found = fit_weights(
        made(**model), CASES, GRID, select=select, head=HEAD, train_counts=COUNTS, repeats="excluded"
    )
    *branches, last = found["weights"]
    assert found["weights"][last] == 1.0
    tried = [{}]
    for name in branches:
        tried = [{**one, name: weight} for one in tried for weight in GRID.weights]
    values = [measured(made(weights, **model), select) for weights in tried]
    values.append(measured(made(**model), select))
    assert found["tried"] == len(values)
    assert found["value"] == pytest.approx(max(values), abs=1e-12)
    assert found["value_as_configured"] == pytest.approx(values[-1], abs=1e-12)
    assert measured(made(found["weights"], **model), select) == pytest.approx(max(values), abs=1e-12)


def test_history_is_a_candidate_where_the_evaluation_says_so():
    select = "full.overall.mrr"
    found = fit_weights(made(), CASES, GRID, select=select, head=HEAD, train_counts=COUNTS, repeats="allowed")
    assert found["value_as_configured"] == pytest.approx(measured(made(), select, "allowed"), abs=1e-12)
    assert found["value_as_configured"] != measured(made(), select)


def test_a_branch_that_was_not_trained_gets_no_weight():
    model = made(score={"sid_weight": 0.0})
    found = fit_weights(
        model, CASES, GRID, select="full.overall.mrr", head=HEAD, train_counts=COUNTS, repeats="excluded"
    )
    assert found["weights"] == {"sid": 0.0, "hid": 1.0}


def test_one_branch_has_nothing_to_weigh():
    assert can_be_fitted(made().settings)
    assert not can_be_fitted(made(branches="sid").settings)
    assert not can_be_fitted(ModelSettings.parse({"name": "sasrec"}))


def test_the_controls_are_fitted_as_h2rec_is_and_popularity_is_weighed_only_where_asked():
    assert all(
        can_be_fitted(ModelSettings.parse({"name": name})) for name in ("h2rec", "two_hid", "three_hid")
    )
    assert BlendSettings().popularity == []


@pytest.mark.parametrize("tolerance", [0.0, 0.5])
@pytest.mark.parametrize(("name", "other"), [("h2rec", "sid"), ("two_hid", "first")])
def test_popularity_shares_the_gain_out_between_head_and_tail(name, other, tolerance):
    grid = BlendSettings(weights=[0.4], popularity=[-3.0, -0.5, 0.5, 3.0], tolerance=tolerance)
    model = made(name=name)
    found = fit_weights(
        model, CASES, grid, select="full.overall.mrr", head=HEAD, train_counts=COUNTS, repeats="excluded"
    )

    def by_part(weights):
        ranked = made(weights, name=name)
        return {part: measured(ranked, f"full.{part}.mrr") for part in ("overall", "head", "tail")}

    alone = by_part({other: 1e-12})
    tried = {
        weight: by_part({other: found["weights"][other], "popularity": weight})
        for weight in (-3.0, -0.5, 0.0, 0.5, 3.0)
    }
    enough = max(one["overall"] for one in tried.values()) * (1 - tolerance)
    least = {
        weight: min(one[part] / alone[part] for part in ("head", "tail"))
        for weight, one in tried.items()
        if one["overall"] >= enough
    }
    best = max(least, key=least.get)
    assert found["weights"]["popularity"] == best
    assert found["value"] == pytest.approx(tried[best]["overall"], abs=1e-9)
    assert found["balance"]["last_alone"] == pytest.approx(alone, abs=1e-9)
    assert found["balance"]["final"] == pytest.approx(tried[best], abs=1e-9)


def test_where_one_slice_is_asked_for_popularity_has_no_say():
    grid = BlendSettings(popularity=[5.0])
    found = fit_weights(
        made(), CASES, grid, select="full.tail.mrr", head=HEAD, train_counts=COUNTS, repeats="excluded"
    )
    assert "popularity" not in found["weights"]


@pytest.mark.parametrize(("name", "branches"), [("h2rec", ("sid", "hid")), ("two_hid", ("first", "second"))])
def test_popularity_is_a_branch_of_the_score_and_a_new_model_has_none(name, branches):
    model = made({"popularity": 0.7}, name=name)
    assert model.branches == (*branches, "popularity")
    rows = np.arange(USERS)
    plain = CatalogueScorer(made(name=name)).score(CASES.histories, rows)
    expected = plain + 0.7 * torch.from_numpy(np.log1p(COUNTS)).float()
    torch.testing.assert_close(CatalogueScorer(model).score(CASES.histories, rows), expected)
    assert made(name=name).branches == branches
    assert not any("popularity" in key for key in made(name=name).state_dict())


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    select = "train.select=full.overall.mrr"
    changes = [
        "blend.popularity=[1.5]",
        "train.epochs=1",
        "model.score.sid_weight=1000",
        "blend.weights=[0.0, 0.3]",
        select,
    ]
    return RunConfig.load(write_shop(folder, users=60), changes), folder / "stages"


def test_a_run_is_evaluated_and_bundled_with_the_weights_that_validation_chose(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(blend, "_most_even", lambda alone, found, tolerance: len(found) - 1)
    config, stages = shop
    pipeline = Pipeline(config, tmp_path / "run", stages)
    metrics = pipeline.evaluated()
    weights = metrics["blend"]["weights"]
    assert weights["popularity"] == 1.5
    assert metrics["blend"]["value"] == pytest.approx(metrics["valid"]["full"]["overall"]["mrr"])
    assert metrics["blend"]["value"] >= metrics["blend"]["value_as_configured"]
    assert pipeline.validation_value() == metrics["blend"]["value"]
    # By codes alone, as configured, it would rank worse: items share them.
    assert weights["sid"] != config.model.score.sid_weight
    recommender = Recommender.load(pipeline.bundled())
    model = recommender.bundle.model
    assert model.branches == ("sid", "hid", "popularity")
    assert model.branch_weights == tuple(weights.values())
    counts = torch.from_numpy(np.log1p(pipeline.split.train_counts)).float()
    torch.testing.assert_close(model.popularity.log_count[:-1], counts)
    # Two items are not alike for being popular both.
    vectors = torch.from_numpy(np.array(recommender.bundle.item_vectors))[:, :-1]
    cosines = torch.nn.functional.cosine_similarity(vectors, vectors[1:2])
    (most_alike,) = recommender.similar(recommender.catalogue.item_ids[0], k=1)
    assert most_alike.score == pytest.approx(cosines[2:].max().item(), abs=1e-5)
    # A new item is expected to be as popular as what its codes say it is like.
    fresh = pl.DataFrame({"item_id": ["new"], "title": ["tea green leaf number 1000"]})
    add_items(recommender.bundle, fresh, tmp_path / "grown")
    grown = Recommender.load(tmp_path / "grown").bundle.model.popularity.log_count
    torch.testing.assert_close(grown[: ITEMS + 1], counts)
    assert grown[ITEMS + 1] > 0


def test_without_fitting_the_configured_weights_stay_and_the_training_is_the_same(shop, tmp_path):
    config, stages = shop
    fixed = config.model_copy(update={"blend": BlendSettings(fit=False)})
    pipeline = Pipeline(fixed, tmp_path / "run", stages)
    metrics = pipeline.evaluated()
    assert "blend" not in metrics
    assert pipeline.model.branch_weights == (config.model.score.sid_weight, 1.0)
    assert pipeline.train_stage.key == Pipeline(config, tmp_path / "other", stages).train_stage.key


@pytest.mark.parametrize("fit", [True, False])
def test_other_weights_of_what_is_not_trained_are_other_figures_and_bundles(shop, tmp_path, fit):
    config, stages = shop
    ranked = {}
    for weight in (0.0, 4.0):
        model = config.model.with_branch_weights({"popularity": weight})
        blend_settings = BlendSettings(fit=fit, weights=[0.3])
        asked = config.model_copy(update={"model": model, "blend": blend_settings})
        pipeline = Pipeline(asked, tmp_path / str(weight), stages)
        pipeline.evaluated()
        ranked[weight] = pl.read_parquet(tmp_path / str(weight) / "ranks.parquet")["rank_full"]
        bundled = Recommender.load(pipeline.bundled()).bundle.model
        assert ("popularity" in bundled.branches) == bool(weight)
    assert not ranked[0.0].equals(ranked[4.0])


def test_the_weights_of_a_control_are_part_of_what_its_figures_depend_on(shop, tmp_path):
    config, stages = shop
    keys = set()
    for weights in ((1.0, 1.0), (0.2, 1.0)):
        cold = {"hid": False, "codes": False}
        asked = {"name": "two_hid", "score": {"hid_weights": weights}, "warm_start": cold}
        changes = {"model": ModelSettings.parse(asked), "blend": BlendSettings(fit=False)}
        pipeline = Pipeline(config.model_copy(update=changes), tmp_path / str(weights[0]), stages)
        keys.add((pipeline.train_stage.key, pipeline.evaluation_stage.key))
    assert len({train for train, _ in keys}) == 1
    assert len(keys) == 2


def test_a_weight_of_popularity_is_refused_where_no_score_has_one():
    with pytest.raises(ConfigError, match=r"score.popularity is a weight of h2rec, .*, and name is 'sasrec'"):
        ModelSettings.parse({"name": "sasrec", "score": {"popularity": 0.3}})

"""Branch weights chosen on validation: the best of all tried, the same in evaluation, bundle and search."""

import numpy as np
import pytest

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.evaluation.evaluate import evaluate
from h2rec.evaluation.metrics import metric_value
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.experiments.blend import BlendSettings, can_be_fitted, fit_weights
from h2rec.experiments.config import RunConfig
from h2rec.experiments.pipeline import Pipeline
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
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
GRID = BlendSettings(weights=[0.0, 0.4, 2.0])
HYBRID = {"enabled": True, "branch": "own", "shrink": 0.0, "weight": 0.3}


def made(weights=None, **model):
    settings = ModelSettings.parse({"name": "h2rec", "dim": 8, "layers": 1, **model})
    if weights:
        settings = settings.with_branch_weights(weights)
    return build_model(settings, ItemFeatures(ITEMS, CODES), seed=0).eval()


def measured(model, select, **changes):
    settings = EvaluateSettings(protocols=["full", "sampled20"], ks=[10], exposure_ks=[], **changes)
    found = evaluate(
        CatalogueScorer(model), CASES, settings=settings, head=HEAD, train_counts=np.ones(ITEMS + 1)
    )
    return metric_value(found.metrics, select)


@pytest.mark.parametrize("select", ["full.overall.ndcg@10", "sampled20.tail.hit@10", "full.head.mrr"])
@pytest.mark.parametrize("model", [{}, {"residual": HYBRID}, {"score": {"saturate_at": 20}}])
def test_the_weights_are_the_best_of_all_combinations_as_the_evaluation_measures_them(select, model):
    found = fit_weights(made(**model), CASES, GRID, EvaluateSettings(), select=select, head=HEAD, seed=0)
    branches = [name for name in found["weights"] if name != "hid"]
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
    kept = EvaluateSettings(exclude_history=False)
    found = fit_weights(made(), CASES, GRID, kept, select=select, head=HEAD, seed=0)
    assert found["value_as_configured"] == pytest.approx(
        measured(made(), select, exclude_history=False), abs=1e-12
    )
    assert found["value_as_configured"] != measured(made(), select)


def test_a_branch_that_was_not_trained_gets_no_weight():
    model = made(score={"sid_weight": 0.0})
    found = fit_weights(model, CASES, GRID, EvaluateSettings(), select="full.overall.mrr", head=HEAD, seed=0)
    assert found["weights"] == {"sid": 0.0, "hid": 1.0}


def test_one_branch_has_nothing_to_weigh():
    assert not can_be_fitted(made(branches="sid"))
    assert not can_be_fitted(
        build_model(ModelSettings.parse({"name": "sasrec"}), ItemFeatures(ITEMS, CODES), seed=0)
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    select = "train.select=full.overall.mrr"
    changes = ["train.epochs=1", "model.score.sid_weight=1000", "blend.weights=[0.0, 0.3]", select]
    return RunConfig.load(write_shop(folder, users=60), changes), folder / "stages"


def test_a_run_is_evaluated_and_bundled_with_the_weights_that_validation_chose(shop, tmp_path):
    config, stages = shop
    pipeline = Pipeline(config, tmp_path / "run", stages)
    metrics = pipeline.evaluated()
    weights = metrics["blend"]["weights"]
    assert metrics["blend"]["value"] == pytest.approx(metrics["valid"]["full"]["overall"]["mrr"])
    assert metrics["blend"]["value"] >= metrics["blend"]["value_as_configured"]
    assert pipeline.validation_value() == metrics["blend"]["value"]
    # By codes alone, as configured, it would rank worse: items share them.
    assert weights["sid"] != config.model.score.sid_weight
    assert Recommender.load(pipeline.bundled()).bundle.model.branch_weights == tuple(weights.values())


def test_without_fitting_the_configured_weights_stay_and_the_training_is_the_same(shop, tmp_path):
    config, stages = shop
    fixed = config.model_copy(update={"blend": BlendSettings(fit=False)})
    pipeline = Pipeline(fixed, tmp_path / "run", stages)
    metrics = pipeline.evaluated()
    assert "blend" not in metrics
    assert pipeline.model.branch_weights == (config.model.score.sid_weight, 1.0)
    assert pipeline.train_stage.key == Pipeline(config, tmp_path / "other", stages).train_stage.key

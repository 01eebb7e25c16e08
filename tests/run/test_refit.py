"""The bundle is trained on everything, and no figure is taken of the model in it."""

import json

import numpy as np
import polars as pl
import pytest

from h2rec.models.branch_model import BranchModel
from h2rec.models.branches.similar import NEAREST
from h2rec.models.likeness import alike
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.refit import Refit

EVENTS = [
    (f"u{user}", item, time)
    for user in range(30)
    for time, item in enumerate(("a", "b", "c", f"f{user % 5}", f"g{user % 7}"))
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "events.csv"
    rows = [*EVENTS, *(("late", item, time) for time, item in enumerate(("a", "b", "held", "g1")))]
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_csv(path)
    return path


def configured(files, **sections):
    values = {
        "preset": "light",
        "data": {"interactions": str(files)},
        "model": {
            "dim": 8,
            "warm_start": False,
            "branches": {"similar_text": None},
        },
        "train": {"epochs": 2, "evaluate_every": 1},
        "evaluate": {"protocols": ["full"]},
    }
    return RunConfig.parse(values | sections)


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    pipeline = Pipeline(configured(files), tmp_path_factory.mktemp("run"))
    pipeline.evaluated()
    pipeline.bundled()
    return pipeline


def test_the_last_item_of_a_user_is_learned_by_the_bundle_and_by_it_alone(finished):
    recommender = Recommender.load(finished.out / "bundle")
    assert recommender.bundle.manifest.refit
    counts = dict(recommender.bundle.items.select("item_id", "train_count").iter_rows())
    assert counts["held"] == 1
    assert sum(counts.values()) == len(EVENTS) + 4
    place = finished.dataset.item_index
    assert finished.split.train_counts[place["held"]] == 0
    for model, followed in ((finished.model, False), (recommender.bundle.model, True)):
        offsets = model.state_dict()["branches.followers.offsets"]
        assert bool(offsets[place["held"]] < offsets[place["held"] + 1]) == followed
    # What is like an item is told by the vectors of the model itself, of the items that it was trained on.
    for model, counts in ((finished.model, finished.split.train_counts), (recommender.bundle.model, None)):
        table = model.branches["similar_vectors"].table
        vectors = model.branches["ids"].table.vectors.weight.detach()
        seen = np.arange(1, model.item_count + 1) if counts is None else np.flatnonzero(counts)
        expected = alike(vectors[seen].numpy(), seen, model.item_count + 1, NEAREST)
        np.testing.assert_array_equal(table.successors, expected.successors)
        np.testing.assert_allclose(table.values, expected.values, rtol=1e-4)
    assert not np.array_equal(
        finished.model.state_dict()["branches.ids.table.vectors.weight"],
        finished.served_model.state_dict()["branches.ids.table.vectors.weight"],
    )


def test_what_is_read_off_trained_vectors_knows_no_dropout(finished, files, tmp_path, monkeypatch):
    training = []
    monkeypatch.setattr(
        BranchModel, "after_training", lambda model, features: training.append(model.training)
    )
    again = Pipeline(configured(files), tmp_path, finished.store.root)
    _ = again.train_stage  # settles what the data decide
    assert again.model is not again.served_model
    assert training == [False, False]


def test_no_figure_saw_the_model_of_the_bundle(finished, files, tmp_path, monkeypatch):
    def refuse(self):
        raise AssertionError("trained on everything")

    with_refit = json.loads((finished.out / "metrics.json").read_text())
    for name in ("refit_stage", "served_features", "served_model", "served_head"):
        monkeypatch.setattr(Refit, name, property(refuse))
    plain = Pipeline(configured(files, bundle={"refit": False}), tmp_path).evaluated()
    assert plain["test"] == with_refit["test"]
    assert plain["valid"] == with_refit["valid"]
    assert configured(files).key == configured(files, bundle={"refit": False}).key


def test_the_measured_model_is_bundled_if_that_is_asked_for(finished, files, tmp_path):
    pipeline = Pipeline(configured(files, bundle={"refit": False}), tmp_path, finished.store.root)
    manifest = Recommender.load(pipeline.bundled()).bundle.manifest
    assert not manifest.refit
    assert "refit" not in pipeline.stages
    assert pipeline.served_model is pipeline.model
    np.testing.assert_array_equal(pipeline.served_counts, pipeline.split.train_counts)


def test_it_trains_as_many_epochs_as_the_measured_model_needed(finished):
    measured = json.loads((finished.train_stage.folder / "training.json").read_text())
    again = json.loads((finished.refit_stage.folder / "training.json").read_text())
    assert again["epochs"] == measured["best_epoch"]


def test_what_learns_nothing_is_counted_on_everything(files, tmp_path):
    config = configured(files, preset="transitions", model={})
    pipeline = Pipeline(config, tmp_path)
    counts = Recommender.load(pipeline.bundled()).bundle.items["train_count"]
    assert counts.sum() == len(EVENTS) + 4

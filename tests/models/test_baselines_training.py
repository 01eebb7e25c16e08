"""Every baseline under the one trainer."""

import numpy as np
import pytest
import torch
from baseline_cases import BASELINES

from h2rec.batching.sequences import cut_windows, next_item_batch
from h2rec.data.histories import Histories
from h2rec.losses.settings import LossSettings
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.hid import HidModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.checkpoint import weights_of
from h2rec.training.objective import TrainingObjective
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

ITEMS = 30
RANDOM = np.random.default_rng(0)
# Every user walks the ring of items: the next item is always the present one plus one.
RING = Histories.from_lists([[(start + step) % ITEMS + 1 for step in range(8)] for start in range(ITEMS)])
CODES = SemanticIds(RANDOM.integers(0, 5, (ITEMS, 3)).astype(np.int32), (5, 5, 5))
TEXT = RANDOM.normal(size=(ITEMS, 24)).astype(np.float32)
FEATURES = ItemFeatures(ITEMS, CODES, TEXT, RING.counts(ITEMS), RING)


def trainer(values, loss=None, checkpoint=None, **train):
    sizes = {"dim": 16, "max_length": 12, "dropout": 0.1}
    model = build_model(ModelSettings.parse({**sizes, **values}), FEATURES, seed=1)
    loss = LossSettings.parse({"negatives": {"count": 20}} if loss is None else loss)
    objective = TrainingObjective(loss, RING, ITEMS, CODES.padded())
    settings = TrainSettings.parse(
        {"epochs": 30, "learning_rate": 0.01, "schedule": "constant", "batch_tokens": 64, **train}
    )
    return Trainer(model, objective, RING, settings, checkpoint=checkpoint)


@pytest.mark.parametrize(
    "values", [*BASELINES, {"name": "h2rec"}], ids=lambda v: "-".join(map(str, v.values()))
)
def test_every_model_trains_with_its_tables_updated_lazily(values):
    made = trainer(values, epochs=1, lazy_rows=1)
    tables = {
        name: (module, module.weight.detach().clone())
        for name, module in made.model.named_modules()
        if isinstance(module, torch.nn.Embedding) and module.weight.requires_grad
    }
    assert tables
    made.fit()
    for name, (table, start) in tables.items():
        assert (table.weight != start).any(1).sum() >= 3, name


@pytest.mark.parametrize(
    "values",
    [*BASELINES, {"name": "h2rec"}, {"name": "h2rec", "share_encoder": True}],
    ids=lambda v: "-".join(map(str, v.values())),
)
def test_every_model_goes_on_from_a_checkpoint_as_if_it_had_not_been_stopped(values, tmp_path):
    whole = trainer(values, epochs=2)
    whole.fit()
    trainer(values, epochs=1, checkpoint=tmp_path).fit()
    again = trainer(values, epochs=2, checkpoint=tmp_path)
    again.fit()
    for name, tensor in weights_of(whole.model).items():
        assert torch.equal(tensor, weights_of(again.model)[name]), name


@pytest.mark.parametrize("values", BASELINES, ids=lambda v: "-".join(map(str, v.values())))
def test_every_baseline_learns_the_ring(values):
    made = trainer(values)
    made.fit()
    scores = CatalogueScorer(made.model).score(RING, np.arange(ITEMS))
    expected = torch.tensor([int(row[-1]) % ITEMS + 1 for row in RING])
    ranks = (scores[:, 1:] >= scores.gather(1, expected[:, None])).sum(1)
    # Codes alone can't tell apart items that share a tuple; chance would put a tenth among the first three.
    first_is_enough = values["name"] not in ("sid_sum", "pg_sid", "spm_sid")
    assert float((ranks <= (1 if first_is_enough else 3)).float().mean()) > 0.85


def test_the_controls_branches_learn_as_if_alone():
    """The gradient of each half is that of its own ranking loss, whatever the other half is."""
    settings = ModelSettings(name="two_hid", dim=16, max_length=12, dropout=0.0)
    both = build_model(settings, FEATURES, seed=1)
    objective = TrainingObjective(LossSettings.parse({"negatives": {"count": 20}}), RING, ITEMS)
    windows = cut_windows(RING, 12)
    batch = next_item_batch(windows, np.arange(len(windows)))
    terms, _ = objective(both, batch, np.random.default_rng(0))
    terms.total.backward()
    assert set(terms.values) == {"ranking_first", "ranking_second"}
    for half, name in ((both.first, "ranking_first"), (both.second, "ranking_second")):
        alone = HidModel(settings, "sasrec", ITEMS)
        alone.load_state_dict(half.state_dict())
        own, _ = objective(alone, batch, np.random.default_rng(0))
        own.total.backward()
        assert own.total.item() == pytest.approx(terms.values[name].item(), rel=1e-6)
        for left, right in zip(half.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(left.grad, right.grad)


def test_the_controls_branches_differ_and_their_scores_add_up():
    both = build_model(ModelSettings(name="two_hid", dim=16, max_length=12), FEATURES, seed=1).eval()
    assert torch.equal(both.first.hid.weight[1:-1], both.second.hid.weight[1:-1])
    one, other, joint = (
        CatalogueScorer(model).score(RING, np.arange(5)) for model in (both.first, both.second, both)
    )
    assert not torch.allclose(one, other)
    torch.testing.assert_close(joint, one + other, rtol=1e-5, atol=1e-5)


def test_three_branches_add_up_by_their_weights():
    settings = ModelSettings.parse(
        {"name": "three_hid", "dim": 16, "max_length": 12, "score": {"hid_weights": [0.5, 2.0]}}
    )
    model = build_model(settings, FEATURES, seed=1).eval()
    first, second, third, joint = (
        CatalogueScorer(part).score(RING, np.arange(5))
        for part in (model.first, model.second, model.third, model)
    )
    torch.testing.assert_close(joint, 0.5 * first + 2 * second + third, rtol=1e-5, atol=1e-5)
    objective = TrainingObjective(LossSettings.parse({"negatives": {"count": 20}}), RING, ITEMS)
    windows = cut_windows(RING, 12)
    terms, _ = objective(model, next_item_batch(windows, np.arange(5)), np.random.default_rng(0))
    assert {name for name in terms.values if terms.weights[name]} == {
        "ranking_first",
        "ranking_second",
        "ranking_third",
    }


def test_popularity_passes_the_trainer_untouched():
    made = trainer({"name": "pop"})
    before = weights_of(made.model)
    result = made.fit()
    assert result.progress.epoch == 0
    assert not result.stopped_early
    assert torch.equal(before["counts"], made.model.counts)
    assert before["counts"][1:].tolist() == RING.counts(ITEMS)[1:].tolist()


def test_frozen_text_stays_as_it_was():
    made = trainer({"name": "sasrec_text"}, epochs=2)
    made.fit()
    assert torch.equal(made.model.table.text[1:-1], torch.from_numpy(TEXT))


def test_same_seed_same_weights_with_distillation():
    runs = []
    for _ in range(2):
        made = trainer({"name": "llm_esr"}, epochs=2)
        made.fit()
        runs.append(weights_of(made.model))
    assert all(torch.equal(a, b) for a, b in zip(runs[0].values(), runs[1].values(), strict=True))

"""Contract tests of models in training."""

import numpy as np
import torch

from h2rec.batching.sequences import Batch
from h2rec.data.histories import Histories
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.testing.catalogue import random_model, require
from h2rec.training.batches import TrainingBatches
from h2rec.training.objective import TrainingObjective
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

FIRST = 3
"""A training should rank the next item among the first three; chance does an eighth of the time."""
LEARNED = {"next": 0.85, "last": 0.85, "cloze": 0.5}
"""How often it should, by what the model is trained to predict."""
ROUNDS = {"next": 6, "last": 6, "cloze": 16}
"""Most rounds of `EPOCHS` passes over the histories for that."""
EPOCHS = 8
NEGATIVES = {"count": 16}


def training_batch(model: SequenceModel, features: ItemFeatures, *, count: int = 8) -> Batch:
    """Return a batch of the first windows of the training histories, for the model's objective."""
    assert features.train is not None
    batches = TrainingBatches(model, features.train, TrainSettings(), torch.device("cpu"))
    return batches.make(np.arange(count), np.random.default_rng(0))


def check_gradients(settings: ModelSettings, features: ItemFeatures) -> None:
    """All loss terms are finite, and together they reach every weight."""
    model = random_model(settings.for_training(), features).train()
    if not list(model.parameters()):
        return
    objective = TrainingObjective(LossSettings.parse({"negatives": NEGATIVES}), model, features)
    torch.manual_seed(0)
    terms, _ = objective(training_batch(model, features), np.random.default_rng(0))
    for name, value in terms.values.items():
        require(bool(value.isfinite()), f"the loss term '{name}' is not finite")
    terms.total.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.to_dense().any())
        message = f"no gradient reaches {name}: use it, leave it out, or make it a buffer"
        require(reached or not parameter.requires_grad, message)


def check_learning(settings: ModelSettings, features: ItemFeatures, loss: LossSettings | None = None) -> None:
    """A training learns which item follows which, where that never changes."""
    model = build_model(settings.for_training(), features, seed=1)
    if not list(model.parameters()):
        return
    assert features.train is not None
    loss = LossSettings.parse({"negatives": NEGATIVES}) if loss is None else loss
    rounds, required = ROUNDS[model.objective], LEARNED[model.objective]
    train = TrainSettings(epochs=EPOCHS, learning_rate=0.01, schedule="constant", batch_tokens=64)
    trainer = Trainer(model, features, loss, train)
    shares: list[float] = []
    while len(shares) < rounds and (not shares or shares[-1] < required):
        trainer.fit()
        shares.append(float((ranks_of_the_next(model, features.train) <= FIRST).float().mean()))
    outcome = f"after {rounds * EPOCHS} passes over a ring of items, {shares[-1]:.0%} of the next items are among the"
    require(shares[-1] >= required, f"{outcome} first {FIRST}; at least {required:.0%} should be")


def ranks_of_the_next(model: SequenceModel, walks: Histories) -> torch.Tensor:
    """Rank of the item that follows each walk on the ring, int64 `[U]`; items of the same score count as before it."""
    scores = CatalogueScorer(model).score(walks, np.arange(len(walks)))[:, 1:]
    following = torch.tensor([int(walk[-1]) % model.item_count for walk in walks])
    return (scores >= scores.gather(1, following[:, None])).sum(1)

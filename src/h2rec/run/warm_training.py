"""A trained model learns from new histories and from replayed ones, to a budget."""

import time
from dataclasses import dataclass

import numpy as np

from h2rec.batching.sequences import cut_windows
from h2rec.data.event_log import Merged
from h2rec.data.histories import Histories, IntArray
from h2rec.data.popularity import head_items
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.settings import ModelSettings
from h2rec.models.weights import load_weights, weights_of
from h2rec.run.new_events import Learned
from h2rec.runtime import random_stream
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.trainer import Trainer

PASSES = 2
"""Epochs over what is drawn."""
RATE = 0.25
"""Share of the full training's learning rate, falling to zero: a rate as at its start would undo what it reached."""
REPLAYED = 1.0
"""Targets of replayed histories for every target of new ones: new ones alone would have the others forgotten."""


@dataclass(frozen=True)
class Further:
    """What a further training did."""

    targets: int
    """Items that it predicted."""
    cpu_seconds: float


def train_further(
    model: SequenceModel,
    settings: ModelSettings,
    learned: Learned,
    merged: Merged,
    ids: SemanticIds | None,
    *,
    budget: float,
    turn: int,
) -> Further:
    """Train a model in place, on the latest part of the histories with new events and on some of the others.

    Parameters
    ----------
    model, settings
        The model of the whole catalogue, and its settings.
    budget
        Share of the full training's targets that is predicted at most.
    turn
        How many updates there were before: each draws others.
    """
    trained = settings.for_training()
    if not settings.is_trained or budget <= 0:
        return Further(0, 0.0)
    histories = merged.log.histories
    all_targets = int(np.maximum(histories.lengths - 1, 0).sum())
    most = int(budget * learned.epochs * all_targets / PASSES)
    random = random_stream(learned.train.seed, "update", turn)
    drawn = _drawn(merged, model.max_length + 1, most, random)
    if not len(drawn) or not cut_windows(drawn, model.max_length).target_count:
        return Further(0, 0.0)
    counts = histories.counts(model.item_count)
    weights = weights_of(model)
    features = ItemFeatures(model.item_count, ids, train_counts=counts, train=drawn, stored=weights)
    learner = build_model(trained, features, seed=learned.train.seed)
    load_weights(learner, {name: weights[name] for name in weights_of(learner)})
    began = time.process_time()
    progress = (
        Trainer(
            learner.to(model.device),
            features,
            learned.loss,
            learned.train.model_copy(
                update={
                    "epochs": PASSES,
                    "learning_rate": RATE * learned.train.learning_rate,
                    "schedule": "linear",
                    "seed": learned.train.seed + turn + 1,
                }
            ),
            head=head_items(counts, learned.head_share),
        )
        .fit()
        .progress
    )
    load_weights(model, weights | weights_of(learner))
    model.after_training(features)
    return Further(sum(record["targets"] for record in progress.log), time.process_time() - began)


def _drawn(merged: Merged, room: int, most: int, random: np.random.Generator) -> Histories:
    """Histories of up to `most` targets: of users with new events, latest part, and as many of the others."""
    histories, touched = merged.log.histories, merged.touched
    lengths = histories.lengths
    new_of_user = np.add.reduceat(
        np.append(merged.is_new, False), np.minimum(histories.offsets[:-1], len(merged.is_new))
    )
    new_of_user = np.where(lengths > 0, new_of_user, 0)
    # All that is new of a user, and as much before it as the model reads.
    taken = np.minimum(lengths, np.maximum(room, new_of_user + room // 2))
    targets = np.maximum(taken - 1, 0)
    learnable = touched[targets[touched] > 0]
    chosen = _up_to(random.permutation(learnable), targets, most)
    others = np.setdiff1d(np.flatnonzero(targets > 0), touched, assume_unique=True)
    left = min(most - int(targets[chosen].sum()), int(REPLAYED * targets[chosen].sum()))
    rows = np.sort(np.concatenate([chosen, _up_to(random.permutation(others), targets, left)]))
    # A replayed history is any part of it, a new one its end.
    slack = (lengths - taken)[rows]
    shift = np.where(np.isin(rows, touched), 0, (random.random(len(rows)) * (slack + 1)).astype(np.int64))
    stops = histories.offsets[1:][rows] - shift
    return histories.slices(stops - taken[rows], taken[rows])


def _up_to(rows: IntArray, targets: IntArray, most: int) -> IntArray:
    """The first rows whose targets together are no more than `most`; one at least where there is room for any."""
    if most <= 0 or not len(rows):
        return rows[:0]
    return rows[: max(1, int(np.searchsorted(targets[rows].cumsum(), most, side="right")))]

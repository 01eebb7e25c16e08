"""Scores of the trainings of a replay, and the default encoder told the time gaps: for `time_in_model.py`."""

from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import load_file
from time_study import START, Asked, Study

from h2rec.batching.sequences import Batch
from h2rec.data.histories import IntArray
from h2rec.data.splits import cases_at
from h2rec.models.backbones import BACKBONES
from h2rec.models.backbones.convolution import ConvolutionBackbone
from h2rec.models.backbones.protocol import Sizes
from h2rec.models.backbones.registry import BackboneSettings
from h2rec.models.build import build_model
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.weights import load_weights, weights_of
from h2rec.run.pipeline import Pipeline
from h2rec.training.batches import TrainingBatches
from h2rec.training.trainer import Trainer

UNKNOWN, NONE_BEFORE, BUCKETS = 0, 1, 30
ASKED_AT_LEAST = 1_800.0
"""Gaps to the moment of asking are told no finer: whoever asks does not know the second of the event to come."""
NO_TIMES = 0.2
"""Share of training windows whose times are left out."""


@BACKBONES.register("timed")
class TimedConvolution(ConvolutionBackbone):
    """The default encoder, told at each position the gap before its event and the gap until the next is asked for."""

    told: torch.Tensor | None = None
    """Buckets int64 `[B, T, 2]` of the next call; None where times are unknown."""

    def __init__(self, sizes: Sizes, settings: BackboneSettings) -> None:
        super().__init__(sizes, settings)
        self.before = torch.nn.Parameter(torch.zeros(BUCKETS, sizes.dim))
        self.until = torch.nn.Parameter(torch.zeros(BUCKETS, sizes.dim))

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        told = TimedConvolution.told
        if told is None:
            told = torch.zeros(*vectors.shape[:2], 2, dtype=torch.int64)
        return super().forward(vectors + self.before[told[..., 0]] + self.until[told[..., 1]], lengths)


def buckets(places: IntArray, starts: IntArray, times: np.ndarray, next_times: np.ndarray) -> torch.Tensor:
    """Buckets of the gap before and until, `[.., 2]`, of events by flat position."""
    # Padding may stand at events of others, whose times go back.
    since = np.maximum(times[places] - times[np.maximum(places - 1, 0)], 0)
    before = np.log2(1 + since).clip(0, BUCKETS - 3)
    before = np.where(places > starts, 2 + before.astype(np.int64), NONE_BEFORE)
    until = np.log2(np.maximum(next_times - times[places], ASKED_AT_LEAST) / ASKED_AT_LEAST)
    return torch.from_numpy(np.stack([before, 1 + until.clip(0, BUCKETS - 2).astype(np.int64)], axis=-1))


class TimedBatches(TrainingBatches):
    """Batches that tell `TimedConvolution` their times, but for some windows."""

    times: np.ndarray

    def make(self, rows: IntArray, random: np.random.Generator) -> Batch:
        windows, times = self.windows, self.times
        lengths = windows.lengths[rows]
        columns = np.arange(int(lengths.max()))
        places = np.minimum(windows.starts[rows][:, None] + columns, len(times) - 2)
        starts = windows.histories.offsets[windows.users(rows)][:, None]
        # Behind the end of a window stands what no target reads.
        told = buckets(places, starts, times, np.maximum(times[places + 1], times[places]))
        told[torch.from_numpy(random.random(len(rows)) < NO_TIMES)] = UNKNOWN
        TimedConvolution.told = told
        return super().make(rows, random)


def model_of(
    pipeline: Pipeline, study: Study, trains: np.ndarray, stage: str, further: str | None = None
) -> SequenceModel:
    """The model of a stage of a training; or what it is after one epoch more, with times or without.

    `further`: a backbone; ``timed`` starts as the trained one, with zeros for every gap.
    """
    config, features = pipeline.config, pipeline.features_from(study.chosen(trains))
    weights = load_file(next((pipeline.out / "stages").glob(f"{stage}-*")) / "model.safetensors")
    settings, seed = config.model, config.train.seed
    if further is not None:
        settings = settings.model_copy(update={"backbone": BackboneSettings(name=further)})
        learner = build_model(settings.for_training(), features, seed=seed)
        load_weights(learner, weights_of(learner) | weights)
        trainer = Trainer(learner, features, config.loss, config.train.model_copy(update={"epochs": 1}))
        if further == "timed":
            trainer.batches.__class__ = TimedBatches
            trainer.batches.times = study.times[trains]
        trainer.fit()
        weights = weights_of(learner)
    names = {name: START[name] for name in settings.branches if name != "ids"}
    model = build_model(settings.with_weights({"ids": 1.0} | names), features, seed=seed)
    load_weights(model, weights_of(model) | weights)
    model.after_training(features)
    return model.eval()


def read(study: Study, model: SequenceModel, steps: Sequence[Asked], told: bool) -> None:
    """Compute the scores of the encoder and of like items; `told`: whether the encoder is told the times."""
    scorer = CatalogueScorer(model)
    for step in steps:
        holdout = cases_at(study.histories, step.places)
        rows = np.argsort(holdout.histories.lengths, kind="stable")
        for name in ("ids", "similar_text", "similar_vectors"):
            step.base[name] = np.zeros((len(rows), study.item_count + 1), np.float32)
        for begin in range(0, len(rows), 256):
            some = rows[begin : begin + 256]
            TimedConvolution.told = None
            if told:
                ends = step.places[some]
                first = study.starts[ends]
                lengths = np.minimum(ends - first, model.max_length)
                places = np.minimum((ends - lengths)[:, None] + np.arange(lengths.max()), ends[:, None] - 1)
                TimedConvolution.told = buckets(places, first[:, None], study.times, study.times[places + 1])
            scores = scorer.branch_scores(holdout.histories, some)
            for name, own in zip(model.branch_names, scores, strict=True):
                if name in step.base:
                    step.base[name][some] = own.numpy() / (1.0 if name == "ids" else START[name])
        TimedConvolution.told = None
        study.close(step)

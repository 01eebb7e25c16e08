"""The training loop."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from h2rec import distributed
from h2rec.batching.sequences import Batch
from h2rec.errors import H2RecError
from h2rec.losses.settings import LossSettings
from h2rec.models.backbones.precision import set_precision
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.row_shards import whole_weights
from h2rec.models.weights import Tensors, load_weights, weights_of
from h2rec.progress import progress_bar
from h2rec.runtime import random_stream
from h2rec.training.batches import TrainingBatches
from h2rec.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from h2rec.training.diagnosis import WATCH_EVERY, Diagnosis, warnings_for
from h2rec.training.objective import TrainingObjective
from h2rec.training.optimizer import Optimizer
from h2rec.training.parallel import step_loss
from h2rec.training.schedule import learning_rate
from h2rec.training.settings import TrainSettings

logger = logging.getLogger(__name__)

LAZY_ROWS = 50_000
"""Tables with more rows are updated lazily: a step costs no more for a larger catalogue."""

Validator = Callable[[], dict[str, float]]
"""Ranks the validation cases with the present model; returns metrics, `select` among them."""
OnEpoch = Callable[[dict[str, Any]], None]
"""Called with the record of an epoch: ``epoch``, ``loss``, ``seconds`` and others, ``valid`` where it was validated."""


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """The end of a training; the model holds the selected weights, but for one that is spread over workers."""

    progress: Progress
    stopped_early: bool
    weights: Tensors | None
    """The selected weights; None for any worker but the first."""


class Trainer:
    """Trains one model, for runs, searches, benchmarks and the contract tests of plug-ins.

    All randomness of an epoch derives from the seed and the epoch's number, so a stopped training continues from its
    last checkpoint exactly as if it had not stopped.

    Parameters
    ----------
    features
        Of the catalogue, with the training histories.
    epochs
        Epochs after which the training ends, on the schedule of `settings.epochs`; None for all of them.
    validate
        Called every few epochs; None trains without selection and keeps the last state.
    checkpoint
        Folder of the checkpoint, written after every epoch; None for none.
    head
        Which items are head items, bool `[N + 1]`; None leaves head and tail out of the diagnosis.
    measured
        The model that `validate` ranks with, where tables of `model` are spread over workers; None for `model`.
    on_epoch
        Called after every epoch, with those of a resumed training first; what it raises ends the training.
    """

    def __init__(
        self,
        model: SequenceModel,
        features: ItemFeatures,
        loss: LossSettings,
        settings: TrainSettings,
        *,
        epochs: int | None = None,
        validate: Validator | None = None,
        checkpoint: Path | None = None,
        head: npt.NDArray[np.bool_] | None = None,
        measured: SequenceModel | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        assert features.train is not None
        self.model = model
        self.measured = model if measured is None else measured
        self.on_epoch = on_epoch
        self.objective = TrainingObjective(loss, model, features)
        self.settings = settings
        self.epochs = settings.epochs if epochs is None else epochs
        self.validate = validate
        self.checkpoint = checkpoint
        device = model.device
        self.batches = TrainingBatches(model, features.train, settings, device)
        if len(self.batches.windows) == 0:
            raise H2RecError("no user has two training interactions: there is nothing to learn an order from")
        self.head = None if head is None else torch.from_numpy(head).to(device)
        set_precision(model, settings.precision, device)
        self.optimizer = Optimizer(model, settings.learning_rate, LAZY_ROWS)
        self.step_loss = step_loss(self.objective, self.optimizer)

    def fit(self) -> TrainingResult:
        """Train until the epochs are done or validation stops improving; load the best weights into the model.

        Of several workers all do the same, but the first one alone validates, writes and has the best weights.

        Raises `H2RecError` if the loss is not a number any more, the checkpoint belongs to another model, or another
        worker is lost.
        """
        with distributed.together():
            return self._fit()

    def _fit(self) -> TrainingResult:
        progress, best = Progress(), None
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            # popularity is counted, not trained
            return TrainingResult(progress, stopped_early=False, weights=weights_of(self.model))
        restored = load_checkpoint(self.checkpoint, self.model, self.optimizer) if self.checkpoint else None
        if restored is not None:
            progress, best = restored
            logger.info("resumed after epoch %d", progress.epoch)
            for what, now, before in (
                ("threads", torch.get_num_threads(), progress.threads),
                ("workers", distributed.size(), progress.workers),
            ):
                if before not in (None, now):
                    logger.warning(
                        "resumed on %d %s and begun on %d: the last bits will not be those of an unbroken training",
                        now,
                        what,
                        before,
                    )
        for record in progress.log:
            self._tell(record)
        with progress_bar("training", self.epochs, "epochs") as advance:
            advance(progress.epoch)
            while progress.epoch < self.epochs and not self._out_of_patience(progress):
                record = self._epoch(progress)
                best = self._select(progress, record, best)
                progress.log.append(record)
                self._tell(record)
                logger.info("%s", _one_line(record))
                if self.checkpoint is not None:
                    save_checkpoint(self.checkpoint, self.model, self.optimizer, best, progress)
                advance(1, note=_one_line(record))
        if best is not None and not self.optimizer.spread:
            load_weights(self.model, best)
        self.model.eval()
        weights = whole_weights(self.model) if progress.best_epoch is None else best
        return TrainingResult(progress, progress.epoch < self.epochs, weights)

    def _tell(self, record: dict[str, Any]) -> None:
        if self.on_epoch is not None:
            self.on_epoch(record)

    def _epoch(self, progress: Progress) -> dict[str, Any]:
        started = time.perf_counter()
        epoch = progress.epoch + 1
        random = random_stream(self.settings.seed, "epoch", epoch)
        # Dropout alone: workers have rows of their own, and masks of their own.
        torch.manual_seed(int(random.integers(2**62)) + distributed.rank())
        batches = self.batches.draw(random)
        target_count = self.batches.windows.target_count
        diagnosis, trained = Diagnosis(self.head), 0
        self.model.train()
        with progress_bar(f"epoch {epoch}", target_count, "targets") as advance:
            for number, rows in enumerate(batches):
                batch = self.batches.make(rows, random)
                rate = learning_rate(self.settings, progress.step, len(batches) * self.settings.epochs)
                self.optimizer.set_learning_rate(rate)
                self._step(batch, random, progress.step, number, diagnosis)
                progress.step += 1
                predicted = int((batch.whole.targets > 0).sum())
                trained += predicted
                advance(predicted)
        progress.epoch, progress.threads = epoch, torch.get_num_threads()
        progress.workers = distributed.size()
        summary = diagnosis.summary()
        if not math.isfinite(summary["loss"]):
            raise H2RecError(
                f"training diverged: the loss of epoch {epoch} is {summary['loss']}",
                "lower train.learning_rate; the last good checkpoint is kept",
            )
        for warning in warnings_for(summary):
            logger.warning("epoch %d: %s", epoch, warning)
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        return {"epoch": epoch, "seconds": seconds, "targets": trained, **summary}

    def _step(
        self, batch: Batch, random: np.random.Generator, step: int, number: int, diagnosis: Diagnosis
    ) -> None:
        loss, terms, states = self.step_loss(batch, random, step=step, margins=number % WATCH_EVERY == 0)
        if len(terms.values) > 1:
            diagnosis.add_gradients(terms, self.model.parameters(), self.optimizer.spread)
        self.optimizer.step(loss)
        diagnosis.add(terms, states, batch)

    def _select(self, progress: Progress, record: dict[str, Any], best: Tensors | None) -> Tensors | None:
        settings = self.settings
        due = progress.epoch % settings.evaluate_every == 0 or progress.epoch == self.epochs
        if self.validate is None or not due:
            return best
        started = time.perf_counter()
        self.model.eval()
        weights = whole_weights(self.model) if self.optimizer.spread else None
        if weights is not None:
            load_weights(self.measured, weights)
        metrics = distributed.from_first(self.validate)
        record["valid"] = metrics
        record["valid_seconds"] = time.perf_counter() - started
        value = metrics[settings.select]
        if progress.best_value is None or value > progress.best_value:
            progress.best_value, progress.best_epoch, progress.stale = value, progress.epoch, 0
            return weights_of(self.model) if distributed.rank() == 0 and weights is None else weights
        progress.stale += 1
        return best

    def _out_of_patience(self, progress: Progress) -> bool:
        return self.settings.patience is not None and progress.stale >= self.settings.patience


def _one_line(record: dict[str, Any]) -> str:
    words = [f"epoch {record['epoch']}", f"loss {record['loss']:.4f}"]
    words.append(f"{record['targets'] / max(record['seconds'], 1e-9):,.0f} targets/s")
    words += [f"valid {name} {value:.4f}" for name, value in record.get("valid", {}).items()]
    return ", ".join(words)

"""A training as what it is made of: one worker has it from the run, the others from that worker."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from h2rec import distributed
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.settings import ModelSettings
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import OnEpoch, Trainer, Validator


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """What a training is made of; see `Trainer`."""

    model: ModelSettings
    features: ItemFeatures
    loss: LossSettings
    train: TrainSettings
    device: torch.device
    head: npt.NDArray[np.bool_]
    checkpoint: Path | None = None
    epochs: int | None = None
    validated: bool = False
    """Whether the first worker validates it; the others wait for the outcome."""

    def start(
        self,
        validator: Callable[[SequenceModel], Validator] | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Trainer:
        """Make the trainer, and have the other workers make theirs; each of them then has to `fit`.

        `validator`: makes the validator of the model.

        Raises `ConfigError` if several workers can't train on the device.
        """
        distributed.check_device(self.device)
        if distributed.rank() == 0:
            distributed.send(replace(self, validated=validator is not None))
        model = build_model(self.model, self.features, seed=self.train.seed).to(self.device)
        waits = dict if self.validated else None  # what another worker passes is never called
        return Trainer(
            model,
            self.features,
            self.loss,
            self.train,
            epochs=self.epochs,
            validate=waits if validator is None else validator(model),
            checkpoint=self.checkpoint,
            head=self.head,
            on_epoch=on_epoch,
        )


def assist() -> None:
    """Take part in the trainings of the first worker, until it is done."""
    while (job := distributed.receive()) is not None:
        job.start().fit()

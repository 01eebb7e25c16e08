"""A training as what it is made of: one worker has it from the run, the others from that worker."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from h2rec import distributed
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.settings import ModelSettings
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import OnEpoch, Trainer, Validator

SPREAD = "H2REC_SPREAD_ITEMS"
"""Variable that says whether item tables are spread over the workers."""
COPIES = 4
"""A table, its gradient and two moments."""
FILLED = 0.7
"""Share of a GPU's memory that tables may take."""


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
        model, measured = self._build(), None
        if distributed.from_first(lambda: too_large(model, self.device)):
            measured = self._build().eval() if validator is not None else None
            model.spread()
        model.to(self.device)
        validate: Validator | None = dict if self.validated else None  # another worker's is never called
        if validator is not None:
            validate = validator(model if measured is None else measured)
        return Trainer(
            model,
            self.features,
            self.loss,
            self.train,
            epochs=self.epochs,
            validate=validate,
            checkpoint=self.checkpoint,
            head=self.head,
            measured=measured,
            on_epoch=on_epoch,
        )

    def _build(self) -> SequenceModel:
        return build_model(self.model, self.features, seed=self.train.seed)


def too_large(model: SequenceModel, device: torch.device) -> bool:
    """Whether several workers have to spread the model's tables: with gradient and moments they would fill a device.

    `SPREAD` in the environment decides it otherwise, 1 for yes and 0 for no.
    """
    if distributed.size() == 1:
        return False
    if (asked := os.environ.get(SPREAD)) is not None:
        return asked == "1"
    if device.type != "cuda":
        return False
    tables = sum(m.weight.nbytes for m in model.modules() if isinstance(m, nn.Embedding))
    return COPIES * tables > FILLED * torch.cuda.get_device_properties(device).total_memory


def assist() -> None:
    """Take part in the trainings of the first worker, until it is done."""
    while (job := distributed.receive()) is not None:
        job.start().fit()

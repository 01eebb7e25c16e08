"""The model that is bundled: once the figures are taken, trained again on everything."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.torch import save_file

from h2rec.data.event_log import EventLog
from h2rec.data.histories import Histories, IntArray
from h2rec.data.popularity import head_items
from h2rec.files import read_json, write_json
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.run.learning import Learning, with_weights
from h2rec.run.stages import Stage
from h2rec.training.jobs import TrainingJob

logger = logging.getLogger(__name__)


class Refit(Learning):
    """One configuration, carried out up to the model that is served; see `Learning`.

    With `bundle.refit` that is another model than the one that is measured: no figure is ever taken of it.
    """

    @property
    def served_histories(self) -> Histories:
        """What the served model was trained on, `[U]` rows: all interactions, or those that train."""
        return self.dataset.histories if self.config.bundle.refit else self.split.train

    @property
    def served_counts(self) -> IntArray:
        """Interactions of each item in `served_histories`, int64 `[N + 1]`, padding first."""
        return self.served_histories.counts(self.dataset.item_count)

    @property
    def served_log(self) -> EventLog:
        """The same with the users' own ids and the times of their interactions."""
        histories, whole = self.served_histories, self.dataset.histories
        # What trains is the beginning of every history.
        place = np.arange(len(histories.items)) - np.repeat(histories.offsets[:-1], histories.lengths)
        times = self.dataset.timestamps.to_numpy()[np.repeat(whole.offsets[:-1], histories.lengths) + place]
        return EventLog(self.dataset.user_ids, histories, times)

    @cached_property
    def served_head(self) -> npt.NDArray[np.bool_]:
        """Which items are head items by `served_counts`, bool `[N + 1]`."""
        return head_items(self.served_counts, self.config.data.head_share)

    @cached_property
    def served_features(self) -> ItemFeatures:
        """What the served model knows of the items beforehand."""
        return self.features_from(self.served_histories)

    @cached_property
    def refit_stage(self) -> Stage:
        """Weights of a training on all interactions, as long as the measured one: no case is left to stop it by."""
        # Of a model that learns nothing, or was never better than at its start, nothing is trained.
        epochs = int(read_json(self.train_stage.folder / "training.json")["best_epoch"] or 0)
        depends: dict[str, Any] = {"train": self.train_stage.key, "epochs": epochs}
        key = self.store.key("refit", depends)

        def work(folder: Path) -> None:
            config = self.config
            logger.info("refit: %d epochs on all interactions", epochs)
            job = TrainingJob(
                config.model.for_training(),
                self.served_features,
                config.loss,
                config.train,
                self.device,
                self.served_head,
                self.out / "checkpoints" / key,
                epochs,
            )
            trainer = job.start()
            result = trainer.fit()
            progress = result.progress
            assert result.weights is not None
            save_file(result.weights, folder / "model.safetensors")
            write_json(
                folder / "training.json",
                {"epochs": progress.epoch, "seconds": progress.seconds, "log": progress.log},
            )

        return self.stage("refit", depends, work)

    @property
    def served_stage(self) -> Stage:
        """The stage that holds the served model's weights."""
        return self.refit_stage if self.config.bundle.refit else self.train_stage

    @cached_property
    def served_model(self) -> SequenceModel:
        """The model that is bundled, with the weights that validation chose for the branches of the measured one."""
        if not self.config.bundle.refit:
            return self.model
        model = build_model(self.model_settings, self.served_features, seed=self.config.train.seed)
        return with_weights(model, self.refit_stage, self.served_features).to(self.device).eval()

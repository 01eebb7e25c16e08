"""The batches of an epoch: which windows go together, and what is predicted in each."""

import numpy as np
import torch

from h2rec import distributed
from h2rec.batching.sequences import Batch, cloze_batch, cut_windows, next_item_batch, pack
from h2rec.data.histories import Histories, IntArray
from h2rec.models.protocol import SequenceModel
from h2rec.training.settings import TrainSettings


class TrainingBatches:
    """Draws a model's batches from the training histories.

    Histories of fewer than two interactions give no window.
    """

    def __init__(
        self, model: SequenceModel, train: Histories, settings: TrainSettings, device: torch.device
    ) -> None:
        self._model = model
        self._settings = settings
        self._device = device
        # A cloze batch holds the whole window, its last item too.
        room = model.max_length if model.mask_item is None else model.max_length - 1
        self.windows = cut_windows(train, room, prefixes=model.objective == "last")

    def draw(self, random: np.random.Generator) -> list[IntArray]:
        """Rows of the windows in each batch of an epoch."""
        return pack(self.windows.lengths, self._settings.batch_tokens, random)

    def make(self, rows: IntArray, random: np.random.Generator) -> Batch:
        """Return the batch of some windows: of several workers, the part of this one.

        All draw the whole batch, so that it is the same however many they are.
        """
        model = self._model
        if model.mask_item is not None:
            batch = cloze_batch(self.windows, rows, model.mask_item, model.mask_share, random)
        else:
            batch = next_item_batch(self.windows, rows, last_only=model.objective == "last")
        if distributed.size() > 1:
            batch = batch.part_of(distributed.rank(), distributed.size())
        return batch.to(self._device)

"""Scores of whole catalogues for histories, as ranking and retrieval ask for them."""

import torch

from h2rec.batching.sequences import history_batch
from h2rec.data.histories import Histories, IntArray
from h2rec.models.protocol import SequenceModel


class CatalogueScorer:
    """A model whose item vectors are computed once, for scoring many users.

    The model is used as it is at the time of construction; make a new scorer after training it further.

    Parameters
    ----------
    model
        The model; put into evaluation mode.
    """

    def __init__(self, model: SequenceModel) -> None:
        self.model = model
        self.item_count = model.item_count
        self._module().eval()
        self.device = next(self._module().parameters()).device
        with torch.inference_mode():
            items = torch.arange(model.item_count + 1, device=self.device)
            self.item_matrix = torch.cat(model.item_vectors(items), dim=1)  # [N + 1, D]

    def _module(self) -> torch.nn.Module:
        assert isinstance(self.model, torch.nn.Module)
        return self.model

    def user_vectors(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """User vectors `[n, D]` of some histories, all branches side by side."""
        items, lengths = history_batch(histories, rows, self.model.max_length, self.model.mask_item)
        items, lengths = items.to(self.device), lengths.to(self.device)
        reads = torch.arange(items.shape[1], device=self.device) == (lengths - 1)[:, None]
        with torch.inference_mode():
            return torch.cat(self.model(items, lengths, reads).vectors, dim=1)

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Scores of all items, `[n, N + 1]`, the padding item's in column 0."""
        with torch.inference_mode():
            return self.user_vectors(histories, rows) @ self.item_matrix.T

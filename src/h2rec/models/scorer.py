"""Scores of whole catalogues for histories, as ranking and retrieval ask for them."""

import torch

from h2rec.batching.sequences import history_batch
from h2rec.data.histories import Histories, IntArray
from h2rec.models.protocol import SequenceModel
from h2rec.models.scoring import joint_score, saturation_ceiling


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
            vectors = model.item_vectors(items)
            self.item_matrix = torch.cat(vectors, dim=1)  # [N + 1, D]
            self._sizes = [part.shape[1] for part in vectors]
        self.saturate_at: int | None = getattr(model, "saturate_at", None)

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
        users = self.user_vectors(histories, rows)
        with torch.inference_mode():
            if self.saturate_at is None:
                return users @ self.item_matrix.T
            scores = self._of_branches(users)
            ceiling = saturation_ceiling(scores[0][:, 1:], self.saturate_at, self.item_count)
            return joint_score(scores, ceiling)

    def branch_scores(self, histories: Histories, rows: IntArray) -> list[torch.Tensor]:
        """Every branch's own part of the scores, `[n, N + 1]` each, as it is weighed in the sum."""
        users = self.user_vectors(histories, rows)
        with torch.inference_mode():
            return self._of_branches(users)

    def _of_branches(self, users: torch.Tensor) -> list[torch.Tensor]:
        parts = zip(users.split(self._sizes, 1), self.item_matrix.split(self._sizes, 1), strict=True)
        return [user @ item.T for user, item in parts]

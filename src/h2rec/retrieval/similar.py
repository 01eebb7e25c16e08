"""Items like an item: the cosine of their static vectors."""

from collections.abc import Sequence

import torch

from h2rec.data.histories import Histories
from h2rec.errors import DataError
from h2rec.evaluation.topk import top_items
from h2rec.retrieval.scoring import ItemScorer


class SimilarItems:
    """Searches a catalogue by its own items.

    `scorer`: has the item vectors, the branches side by side. `branches`: names of the branches, in that order.
    `popularity`: the branch of popularity, if there is one: what two items have in common is not how popular they
    are.
    """

    def __init__(self, scorer: ItemScorer, branches: Sequence[str], popularity: str | None) -> None:
        self._vectors = scorer.vectors
        columns = zip(branches, scorer.columns(), strict=True)
        self._columns = {name: torch.arange(start, stop) for name, (start, stop) in columns}
        self._with_vectors = [name for name, own in self._columns.items() if len(own)]
        self._popularity = popularity if len(branches) > 1 else None
        self._lengths: dict[str | None, torch.Tensor] = {}

    def search(self, item: int, k: int, branch: str | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the `k` items like an item and their cosines, `[k]` both, by one branch alone or by all of them.

        Raises `DataError` if there is no such branch, or it has no item vectors.
        """
        # In place where it can be: a copy of a large catalogue's vectors a question would fill the memory.
        vectors = self._vectors[:, self._columns_of(branch)]
        if branch not in self._lengths:
            self._lengths[branch] = vectors.norm(dim=1).clamp(min=1e-12)
        lengths = self._lengths[branch]
        cosines = (vectors @ vectors[item] / (lengths * lengths[item]))[None]
        items, values = top_items(cosines, k, Histories.from_lists([[item]]))
        return items[0], values[0]

    def _columns_of(self, branch: str | None) -> slice | torch.Tensor:
        if branch is not None and branch not in self._columns:
            raise DataError(f"the model has no branch '{branch}'", f"it has: {', '.join(self._columns)}")
        if not self._with_vectors:
            raise DataError("the model counts alone: it has no item vectors to compare")
        if branch is not None and branch not in self._with_vectors:
            known = ", ".join(self._with_vectors)
            raise DataError(
                f"the branch '{branch}' counts: it has no item vectors to compare", f"take: {known}"
            )
        kept = torch.cat(
            [
                columns
                for name, columns in self._columns.items()
                if name == branch or (branch is None and name != self._popularity)
            ]
        )
        first, last = int(kept[0]), int(kept[-1])
        return slice(first, last + 1) if last - first + 1 == len(kept) else kept

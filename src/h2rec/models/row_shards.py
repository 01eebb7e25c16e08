"""An embedding whose rows lie spread over the workers of a training, for a table that one device can't hold.

Every worker asks all others for the rows that it needs, and gets their vectors; gradients go the way back. What torch
brings does not fit: FSDP2 gathers the whole table on every device, and DTensor's row-wise embedding has dense
gradients alone (its sparse ones are not implemented), so that a step would go over every row. TorchRec wants
lookups in its own form and kernels of its own, tied to one version of torch.
"""

import torch
from torch import nn
from torch.nn import functional as F

from h2rec import collectives, distributed
from h2rec.models.weights import Tensors, load_weights, weights_of


class RowShards(nn.Embedding):
    """Row `i` lies with worker ``i % workers``, so that popular rows are spread evenly; `weight` has those of this one.

    All workers have to look up at the same time, whatever rows each of them needs.
    """

    def __init__(self, table: nn.Embedding) -> None:
        own = table.weight.detach()[distributed.rank() :: distributed.size()].clone()
        super().__init__(len(own), own.shape[1], _weight=own)
        self.num_embeddings = table.num_embeddings  # of the whole
        self.zero_row = table.padding_idx

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of rows `[..]`, `[.., d]`."""
        needed, place = items.flatten().unique(return_inverse=True)
        asked = collectives.gathered_rows(needed)
        most, workers = max(map(len, asked)), distributed.size()
        asked_of_all = torch.stack([F.pad(rows, (0, most - len(rows)), value=-1) for rows in asked])
        own = (asked_of_all % workers == distributed.rank()) & (asked_of_all >= 0)
        if self.zero_row is not None:  # it is zero, and never learns
            own &= asked_of_all != self.zero_row
        found = F.embedding(asked_of_all[own] // workers, self.weight, sparse=self.sparse)
        answers = found.new_zeros(*asked_of_all.shape, found.shape[1])
        answers[own] = found
        # One worker has each row; the others answer zero.
        vectors = collectives.exchanged(answers).sum(0)[: len(needed)]
        return vectors.index_select(0, place).view(*items.shape, -1)

    def cut(self, whole: torch.Tensor) -> torch.Tensor:
        """Rows of this worker out of a whole table, or of what belongs to its rows."""
        return whole[distributed.rank() :: distributed.size()]

    def whole(self, own: torch.Tensor) -> torch.Tensor:
        """The whole of what every worker has a part of, on the first worker's CPU; nothing for the others."""
        parts = collectives.at_first(own.cpu(), -(-self.num_embeddings // distributed.size()))
        whole = own.new_empty(self.num_embeddings if parts else 0, *own.shape[1:], device="cpu")
        for worker, part in enumerate(parts):
            rows = whole[worker :: distributed.size()]
            rows.copy_(part[: len(rows)])
        return whole


def shards_of(model: nn.Module) -> dict[str, RowShards]:
    """The spread tables of a model, by the names of their weights."""
    return {f"{name}.weight": m for name, m in model.named_modules() if isinstance(m, RowShards)}


def whole_weights(model: nn.Module) -> Tensors | None:
    """The weights as the first worker writes them, spread tables put together; all take part, the others get None."""
    together = {name: table.whole(table.weight.detach()) for name, table in shards_of(model).items()}
    return None if distributed.rank() else weights_of(model) | together


def load_whole_weights(model: nn.Module, weights: Tensors) -> None:
    """Load what `whole_weights` returned: of a spread table, the rows of this worker.

    Raises `H2RecError` if names or shapes differ.
    """
    shards = shards_of(model)
    load_weights(model, {n: shards[n].cut(w) if n in shards else w for n, w in weights.items()})

"""Adam over all weights, lazily over the rows of large tables."""

from typing import Any

import torch
from torch import nn

from h2rec import collectives, distributed
from h2rec.models.row_shards import shards_of


class Optimizer:
    """Adam, and on touched rows alone for tables of more than `lazy_rows` rows.

    A dense step reads and writes every row of a table three times, which for a million items is most of a step's time.
    A lazy step changes only the rows that the batch looked up, and their moments.

    `model`: the model; its large tables are switched to sparse gradients.
    """

    def __init__(self, model: nn.Module, learning_rate: float, lazy_rows: int | None) -> None:
        large = [
            module
            for module in model.modules()
            if isinstance(module, nn.Embedding)
            and module.weight.requires_grad
            and lazy_rows is not None
            and module.num_embeddings > lazy_rows
        ]
        for table in large:
            table.sparse = True
        lazy = {id(table.weight): table.weight for table in large}
        dense = [p for p in model.parameters() if p.requires_grad and id(p) not in lazy]

        self.optimizers: list[torch.optim.Optimizer] = []
        if dense:
            self.optimizers.append(torch.optim.Adam(dense, lr=learning_rate, fused=True))
        if lazy:
            self.optimizers.append(torch.optim.SparseAdam(list(lazy.values()), lr=learning_rate))
        self.lazy = list(lazy.values())
        """Tables that are updated lazily."""
        self.spread = [table.weight for table in shards_of(model).values()]
        """Tables of which this worker has a part; its gradient is that of all workers."""

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def step(self, loss: torch.Tensor) -> None:
        """Take one step down the gradient of `loss`; of several workers, of the mean of their losses."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        spread = {id(weight) for weight in self.spread}
        for weight in self.lazy:
            if weight.grad is not None:
                weight.grad = weight.grad.coalesce()
                if distributed.size() > 1 and id(weight) not in spread:
                    weight.grad = collectives.add_up_rows(weight.grad) / distributed.size()
        for weight in self.spread:
            if weight.grad is not None:
                weight.grad = weight.grad / distributed.size()
        for optimizer in self.optimizers:
            optimizer.step()

    def state_of(self, parameter: nn.Parameter) -> dict[str, Any]:
        """The moments of one weight; empty before its first step."""
        state: dict[str, Any] = self._optimizer_of(parameter).state.get(parameter, {})
        return state

    def restore(self, parameter: nn.Parameter, state: dict[str, Any]) -> None:
        """Restore what `state_of` returned."""
        optimizer = self._optimizer_of(parameter)
        if isinstance(optimizer, torch.optim.SparseAdam):
            # It counts steps with a plain number; the bias correction of a float32 tensor would round differently.
            state = state | {"step": int(state["step"])}
        optimizer.state[parameter] = state

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        is_lazy = any(parameter is weight for weight in self.lazy)
        return self.optimizers[-1] if is_lazy else self.optimizers[0]

"""Adam over all weights, lazily over the rows of large tables."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn


class Optimizer:
    """Adam, and on touched rows alone for tables of more than `lazy_rows` rows.

    A dense step reads and writes every row of a table three times over, whether or not the batch looked it up; for a
    million items that is most of a step's time. A lazy step leaves the other rows, and their moments, as they are.

    `model`: the model; its large tables are switched to sparse gradients.
    `own_rates`: parts of the model with a learning rate of their own.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        lazy_rows: int | None,
        own_rates: Iterable[tuple[nn.Module, float]] = (),
    ) -> None:
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
        own = {id(p): rate for module, rate in own_rates for p in module.parameters()}

        def groups(parameters: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
            by_rate: dict[float, list[torch.Tensor]] = {}
            for parameter in parameters:
                by_rate.setdefault(own.get(id(parameter), learning_rate), []).append(parameter)
            return [{"params": kept, "scale": rate / learning_rate} for rate, kept in by_rate.items()]

        self.parts: list[torch.optim.Optimizer] = []
        if dense:
            self.parts.append(torch.optim.Adam(groups(dense), lr=learning_rate, fused=True))
        if lazy:
            self.parts.append(torch.optim.SparseAdam(groups(list(lazy.values())), lr=learning_rate))
        self.set_learning_rate(learning_rate)
        self._lazy = list(lazy.values())

    def set_learning_rate(self, rate: float) -> None:
        """Give every part the learning rate of the next step, or its own in proportion."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate * group["scale"]

    def step(self, loss: torch.Tensor) -> None:
        """Take one step down the gradient of `loss`."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)
        loss.backward()
        for weight in self._lazy:
            if weight.grad is not None:
                weight.grad = weight.grad.coalesce()
        for part in self.parts:
            part.step()

    def state_of(self, parameter: nn.Parameter) -> dict[str, Any]:
        """The moments of one weight; empty before its first step."""
        state: dict[str, Any] = self._part_of(parameter).state.get(parameter, {})
        return state

    def restore(self, parameter: nn.Parameter, state: dict[str, Any]) -> None:
        """Put back what `state_of` gave."""
        part = self._part_of(parameter)
        if isinstance(part, torch.optim.SparseAdam):
            # It counts steps in a plain number: as a float32 tensor its bias correction would round differently.
            state = state | {"step": int(state["step"])}
        part.state[parameter] = state

    def _part_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        is_lazy = any(parameter is weight for weight in self._lazy)
        return self.parts[-1] if is_lazy else self.parts[0]

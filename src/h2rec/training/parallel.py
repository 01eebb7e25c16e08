"""The loss of a step whose gradient is that of the whole batch, whichever part of it this worker has."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from h2rec import collectives, distributed
from h2rec.models.protocol import UserStates
from h2rec.training.objective import Terms, TrainingObjective
from h2rec.training.optimizer import Optimizer

Seen = tuple[torch.Tensor, Terms, UserStates]
"""What to take a step by, and the terms and states behind it."""


def step_loss(objective: TrainingObjective, optimizer: Optimizer) -> Callable[..., Seen]:
    """Return the loss of a step; it is called as the objective is.

    Of several workers, gradients are averaged by DistributedDataParallel, all but those of lazily updated tables: it
    would add up their sparse gradients by an operation that NCCL does not have. The optimiser exchanges their rows.
    Tables that are spread over the workers have gradients of all of them already.
    """
    loss = _Total(objective)
    trained = [weight for weight in loss.parameters() if weight.requires_grad]
    if distributed.size() == 1 or not trained:
        return loss.seen
    spread = {id(weight) for weight in optimizer.spread}
    for weight in optimizer.lazy:
        if id(weight) not in spread:
            collectives.take_from_first(weight.detach())
    apart = spread | {id(weight) for weight in optimizer.lazy}
    names = [name for name, weight in loss.named_parameters() if id(weight) in apart]
    names += [name for name, _ in loss.named_buffers()]  # what is counted is the same everywhere, and stays
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(loss, names)
    # Not every step has every term, so not every weight has a gradient.
    parallel = DistributedDataParallel(loss, find_unused_parameters=True)

    def averaged(*batch: Any, **options: Any) -> Seen:
        # Workers' losses add up, and their gradients are averaged.
        total = parallel(*batch, **options) * distributed.size()
        return total, *loss.behind

    return averaged


class _Total(nn.Module):
    """The total as the only output, as DistributedDataParallel needs it: other parts have no gradient."""

    behind: tuple[Terms, UserStates]

    def __init__(self, objective: TrainingObjective) -> None:
        super().__init__()
        self.model = objective.model
        self._objective = objective

    def forward(self, *batch: Any, **options: Any) -> torch.Tensor:
        self.behind = self._objective(*batch, **options)
        return self.behind[0].total

    def seen(self, *batch: Any, **options: Any) -> Seen:
        """The total and what is behind it."""
        return self(*batch, **options), *self.behind

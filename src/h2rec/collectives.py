"""Sums and exchanges of tensors between the workers of one training; one worker alone gets back what it gave.

All workers must be at the same step: each of them calls the same function.
"""

from typing import Any

import torch
from torch import distributed as torch_distributed
from torch.autograd import Function

from h2rec.distributed import rank, size, together


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """Sum of all workers' tensors, in place."""
    if size() > 1:
        with together():
            torch_distributed.all_reduce(tensor)
    return tensor


def added_up(tensor: torch.Tensor) -> torch.Tensor:
    """Sum of all workers' tensors, with a gradient: that of what all of them make of it."""
    total: torch.Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def exchanged(parts: torch.Tensor) -> torch.Tensor:
    """Send row `i` of `[workers, ..]` to worker `i`, and get one from each, with a gradient."""
    received: torch.Tensor = _Exchange.apply(parts)  # type: ignore[no-untyped-call]
    return received


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """All workers' tensors of one shape, `[workers, ..]`, without a gradient."""
    parts = [torch.empty_like(tensor) for _ in range(size())]
    with together():
        torch_distributed.all_gather(parts, tensor.contiguous())
    return torch.stack(parts)


def gathered_rows(rows: torch.Tensor) -> list[torch.Tensor]:
    """All workers' `[n, ..]`, of which only `n` differs, without a gradient."""
    counts = gathered(torch.tensor([len(rows)], device=rows.device)).flatten().tolist()
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return [part[:count] for part, count in zip(gathered(padded), counts, strict=True)]


def at_first(rows: torch.Tensor, most: int) -> list[torch.Tensor]:
    """All workers' rows on the CPU, each padded to `most`, for the first worker; nothing for the others."""
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [] if rank() else [torch.empty_like(padded) for _ in range(size())]
    with together():
        torch_distributed.gather(padded, parts or None)
    return parts


def add_up_rows(gradient: torch.Tensor) -> torch.Tensor:
    """Sum of all workers' sparse gradients of one table, each coalesced: again sparse and coalesced.

    Workers have touched rows of their own, so they exchange them; NCCL adds up no sparse tensors.
    """
    if size() == 1:
        return gradient
    rows = torch.cat(gathered_rows(gradient.indices()[0]))
    values = torch.cat(gathered_rows(gradient.values()))
    return torch.sparse_coo_tensor(rows[None], values, gradient.shape, check_invariants=False).coalesce()


def take_from_first(tensor: torch.Tensor) -> None:
    """Copy the first worker's tensor into every worker's."""
    with together():
        torch_distributed.broadcast(tensor, 0)


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return add_up(tensor.clone())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return add_up(gradient.clone())


class _Exchange(Function):
    @staticmethod
    def forward(ctx: Any, parts: torch.Tensor) -> torch.Tensor:
        received = torch.empty_like(parts)
        with together():
            torch_distributed.all_to_all_single(received, parts.contiguous())
        return received

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _Exchange.forward(ctx, gradient)

"""Models on a batch in blocks of like length: what they say of the whole batch, without encoding its padding."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from h2rec.batching.sequences import Batch
from h2rec.models.protocol import SequenceModel, UserStates


def encode(model: SequenceModel, batch: Batch, reads: torch.Tensor) -> UserStates:
    """States at the positions set in `reads` `[B, T]`, in the order of a batch in one piece."""
    steps = batch.items.shape[1]
    parts = [
        model(batch.items[rows, :width], batch.lengths[rows], reads[rows, :width])
        for rows, width in blocks_of(batch)
    ]
    return parts[0] if len(parts) == 1 else _joined(parts, steps)


def blocks_of(batch: Batch) -> Iterator[tuple[slice, int]]:
    """Rows and width of each block of a batch; all of it where it has none."""
    if not batch.blocks:
        yield slice(None), batch.items.shape[1]
    for start, stop, width in batch.blocks:
        yield slice(start, stop), width


def _joined(parts: list[UserStates], steps: int) -> UserStates:
    def optional(one: Callable[[UserStates], torch.Tensor | None]) -> torch.Tensor | None:
        found = [value for value in map(one, parts) if value is not None]
        return torch.cat(found) if found else None

    return UserStates(
        tuple(torch.cat(found) for found in zip(*(part.vectors for part in parts), strict=True)),
        {name: torch.cat([part.encoded[name] for part in parts]) for name in parts[0].encoded},
        optional(lambda part: _padded(part.alpha, steps)),
        optional(lambda part: part.read_alpha),
        _mean_norms(parts),
    )


def _padded(alpha: torch.Tensor | None, steps: int) -> torch.Tensor | None:
    return None if alpha is None else F.pad(alpha, (0, 0, 0, steps - alpha.shape[1]))


def _mean_norms(parts: list[UserStates]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Mean over the positions read of all parts."""
    known = [(part.norms, len(part.vectors[0])) for part in parts if part.norms is not None]
    if not known:
        return None
    counts = torch.tensor([count for _, count in known], dtype=torch.float32)
    share = (counts / counts.sum()).to(known[0][0][0].device)
    hid, found = (torch.stack(side) @ share for side in zip(*(norms for norms, _ in known), strict=True))
    return hid, found

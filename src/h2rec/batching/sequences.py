"""Training sequences cut from histories, and the batches they make."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from h2rec.data.histories import Histories, IntArray, offsets_of

Objective = Literal["next", "last", "cloze"]
"""What a model predicts in a batch: every next item, one item a sequence, or masked items."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences padded on the right, and what to predict at which position."""

    items: torch.Tensor
    """int64 `[B, T]`, 0 is padding."""
    lengths: torch.Tensor
    """int64 `[B]`, each at least 1."""
    targets: torch.Tensor
    """int64 `[B, T]`, 0 where nothing is predicted."""
    users: torch.Tensor | None = None
    """int64 `[B]`, row of the training histories that each sequence was cut from, where that is known."""
    part: "Part | None" = None
    """Which part of a batch of several workers this is; None where it is the whole batch."""

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device; the whole batch of a part stays where it is."""
        users = None if self.users is None else self.users.to(device)
        moved = self.items.to(device), self.lengths.to(device), self.targets.to(device)
        return Batch(*moved, users, self.part)

    @property
    def whole(self) -> "Batch":
        """The batch of all workers."""
        return self if self.part is None else self.part.whole

    @property
    def rows(self) -> slice:
        """Rows of the whole batch that this worker answers for; none for a worker that has too few to do."""
        return slice(0, len(self.items)) if self.part is None else self.part.rows

    @property
    def share(self) -> float:
        """Share of the whole batch's targets that this worker answers for."""
        return 1.0 if self.part is None else self.part.share

    def part_of(self, worker: int, workers: int) -> "Batch":
        """The rows of one of several workers, balanced by targets; in the order of the workers they are all rows.

        A worker for which no row is left gets the first one with a share of 0, as it has to take part in the step.
        """
        targets = (self.targets > 0).sum(1)
        ends = targets.cumsum(0)
        # The middle of a row's targets decides whose it is.
        owner = (2 * ends - targets) * workers // (2 * int(ends[-1]))
        start, stop = (int((owner < bound).sum()) for bound in (worker, worker + 1))
        taken = slice(0, 1) if start == stop else slice(start, stop)
        width = int(self.lengths[taken].max())
        before, count = int(targets[: taken.start].sum()), int(targets[taken].sum())
        share = int(targets[start:stop].sum()) / int(ends[-1])
        return Batch(
            self.items[taken, :width],
            self.lengths[taken],
            self.targets[taken, :width],
            None if self.users is None else self.users[taken],
            Part(self, slice(start, stop), share, slice(before, before + count), int(ends[-1])),
        )


@dataclass(frozen=True, eq=False)
class Part:
    """Where the rows of one worker are in the batch of all."""

    whole: Batch
    rows: slice
    """Rows of the whole batch that the worker answers for; none where it got one to take part in the step."""
    share: float
    """Share of the whole batch's targets that it answers for."""
    places: slice
    """Places of the targets that it got among those of the whole batch."""
    target_count: int
    """Targets of the whole batch."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Slices of training histories, each an input sequence followed by its last target."""

    histories: Histories
    """The training histories."""
    starts: IntArray
    stops: IntArray
    """int64 `[W]`; a window is ``histories.items[start:stop]``: all but its last item are inputs, all but its first
    are next-item targets."""
    first_target: IntArray
    """int64 `[W]`, flat position of the first item that a window predicts. Each target belongs to one window."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> IntArray:
        """Input positions of each window, int64 `[W]`."""
        return self.stops - self.starts - 1

    @property
    def target_count(self) -> int:
        """Next-item targets in all windows."""
        return int((self.stops - self.first_target).sum())

    def users(self, rows: IntArray) -> IntArray:
        """Row of the histories that each of some windows was cut from, int64 `[n]`."""
        return np.searchsorted(self.histories.offsets, self.starts[rows], side="right") - 1


def cut_windows(histories: Histories, max_length: int, *, prefixes: bool = False) -> Windows:
    """Cut histories into windows of at most `max_length` inputs, so that every item but a user's first is a target.

    Long histories give several windows that overlap by half, so that every target has at least half a window of
    context where the history has it. With `prefixes`, every prefix is a window (as one target a sequence needs).
    """
    begins, ends = histories.offsets[:-1], histories.offsets[1:]
    usable = histories.lengths >= 2
    begins, ends = begins[usable], ends[usable]
    if prefixes:
        counts = ends - begins - 1
        user = np.repeat(np.arange(len(begins)), counts)
        step = np.arange(counts.sum()) - np.repeat(offsets_of(counts)[:-1], counts)
        stops = begins[user] + step + 2
        starts = np.maximum(begins[user], stops - max_length - 1)
        return Windows(histories, starts, stops, stops - 1)
    stride = max(1, max_length // 2)
    extra = np.maximum(0, ends - begins - 1 - max_length)
    counts = 1 + -(-extra // stride)
    user = np.repeat(np.arange(len(begins)), counts)
    back = np.repeat(offsets_of(counts)[1:], counts) - 1 - np.arange(counts.sum())
    stops = ends[user] - back * stride
    starts = np.maximum(begins[user], stops - max_length - 1)
    is_first = np.arange(len(user)) == offsets_of(counts)[:-1][user]
    first_target = np.where(is_first, begins[user] + 1, np.roll(stops, 1))
    return Windows(histories, starts, stops, first_target)


def pack(lengths: IntArray, token_budget: int, random: np.random.Generator, pool: int = 64) -> list[IntArray]:
    """Group sequences of like length so that a padded batch holds at most `token_budget` tokens.

    Sequences are shuffled, sorted by length within pools of `pool` batches, cut by the budget, and the
    batches shuffled again: padding stays small and batches differ from epoch to epoch.
    """
    order = random.permutation(len(lengths))
    mean = max(1.0, float(lengths.mean()))
    pool_size = max(1, int(pool * token_budget / mean))
    batches: list[IntArray] = []
    for begin in range(0, len(order), pool_size):
        rows = order[begin : begin + pool_size]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches.extend(_cut_by_budget(rows, lengths[rows], token_budget))
    return [batches[i] for i in random.permutation(len(batches))]


def _cut_by_budget(rows: IntArray, ascending: IntArray, budget: int) -> Iterator[IntArray]:
    # Lengths ascend, so the last row of a batch is its widest: walk back from the longest.
    stop = len(rows)
    while stop > 0:
        width = int(ascending[stop - 1])
        start = max(0, stop - max(1, budget // width))
        yield rows[start:stop]
        stop = start


def next_item_batch(windows: Windows, rows: IntArray, *, last_only: bool = False) -> Batch:
    """Inputs and next-item targets of some windows; with `last_only`, one target a sequence."""
    lengths = windows.lengths[rows]
    columns = np.arange(int(lengths.max()))
    inside = columns < lengths[:, None]
    source = windows.starts[rows][:, None] + columns
    items = np.zeros(source.shape, dtype=np.int64)
    targets = np.zeros(source.shape, dtype=np.int64)
    flat = windows.histories.items
    items[inside] = flat[source[inside]]
    if last_only:
        predicted = columns == lengths[:, None] - 1
    else:
        predicted = inside & (source + 1 >= windows.first_target[rows][:, None])
    targets[predicted] = flat[source[predicted] + 1]
    return _batch(items, lengths, targets, windows.users(rows))


def cloze_batch(
    windows: Windows, rows: IntArray, mask_item: int, mask_share: float, random: np.random.Generator
) -> Batch:
    """Whole windows with a random share of their items masked; the masked items are the targets.

    In a part of the sequences only the last item is masked, which is the case at inference (BERT4Rec,
    section 3.6).
    """
    lengths = windows.lengths[rows] + 1
    columns = np.arange(int(lengths.max()))
    inside = columns < lengths[:, None]
    source = windows.starts[rows][:, None] + columns
    items = np.zeros(source.shape, dtype=np.int64)
    items[inside] = windows.histories.items[source[inside]]
    is_last = columns == lengths[:, None] - 1
    masked = (random.random(items.shape) < mask_share) & inside
    only_last = random.random(len(rows)) < mask_share
    masked[only_last] = is_last[only_last]
    # Every sequence has a target, and an item that is not masked.
    masked |= is_last & ~masked.any(axis=1, keepdims=True)
    all_masked = (masked | ~inside).all(axis=1)
    masked[all_masked, 0] = False
    targets = np.where(masked, items, 0)
    items[masked] = mask_item
    return _batch(items, lengths, targets, windows.users(rows))


def _batch(items: IntArray, lengths: IntArray, targets: IntArray, users: IntArray) -> Batch:
    tensor = torch.from_numpy
    return Batch(tensor(items), tensor(lengths), tensor(targets), tensor(users))


def history_batch(
    histories: Histories, rows: IntArray, max_length: int, mask_item: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs for inference: the last items of each history, and a masked position where the model wants one.

    Returns
    -------
    items, lengths
        int64 `[B, T]` padded on the right, int64 `[B]`. The state to read is at ``lengths - 1``. An
        empty history becomes one padding item (or the masked position alone).
    """
    if mask_item is None:
        items, lengths = histories.padded(rows, max_length)
        return torch.from_numpy(items), torch.from_numpy(np.maximum(lengths, 1))
    items, lengths = histories.padded(rows, max_length - 1)
    items = np.concatenate([items, np.zeros((len(rows), 1), np.int64)], axis=1)
    items[np.arange(len(rows)), lengths] = mask_item
    return torch.from_numpy(items), torch.from_numpy(lengths + 1)


def read(states: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Rows of `[B, T, d]` at flat positions `[n]`, `[n, d]`; its gradient is cheaper than a boolean mask's."""
    return states.flatten(0, 1).index_select(0, at)

"""User vectors of histories, from the model."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from h2rec.batching.sequences import history_batch
from h2rec.data.histories import Histories
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import latest_items
from h2rec.models.sparse_scores import CountedScores, GroupScores, ItemScores

Run = Callable[..., tuple[torch.Tensor, ...]]
Count = Callable[[torch.Tensor], dict[str, CountedScores]]

LARGEST_NUMBER = 1e15
"""Squares and sums of smaller numbers stay finite in float32."""

_AT_ONCE = 128
"""Histories that are encoded together."""
_TRACING = threading.Lock()
_LONGEST_TRACED = 1000
"""A model without positions takes histories of any length, so its settings may claim any."""


@dataclass(frozen=True, eq=False)
class EncodedUsers:
    """What the model read from histories."""

    vectors: torch.Tensor
    """User vectors `[n, D]`, all branches side by side."""
    alpha: torch.Tensor | None
    """Weights of the levels at the last position, `[n, L]`; None for a model without codes."""
    counted: dict[str, CountedScores] = field(default_factory=dict)
    """Weighted scores of the branches that have no vectors, by name."""

    @property
    def usable(self) -> torch.Tensor:
        """Whether each user's numbers can be reckoned with, bool `[n]`."""
        # A comparison with NaN is false.
        usable = (self.vectors.abs() < LARGEST_NUMBER).all(dim=1)
        return usable if self.alpha is None else usable & self.alpha.isfinite().all(dim=1)


class LastState(nn.Module):
    """Items `[B, T]` and lengths `[B]` to user vectors `[B, D]`, and alpha `[B, L]` where the model has one."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, items: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Read every sequence at its last position."""
        last = torch.arange(items.shape[0]) * items.shape[1] + lengths - 1
        states = self.model(items, lengths, last)
        vectors = torch.cat(states.vectors, dim=1)
        return (vectors,) if states.read_alpha is None else (vectors, states.read_alpha)


class UserEncoder:
    """A trained model that only encodes users.

    Parameters
    ----------
    model
        The model; its weights must not change any more.
    frozen
        Trace the model and its counts once and run the traces: they take half the time for a few users, most of
        which is otherwise Python between small operations, and they do not hold the interpreter's lock, which a
        server needs for its requests. A trace that does not give the model's own numbers to the bit is not used.
        The model's weights ask for no gradients afterwards.
    """

    def __init__(self, model: SequenceModel, *, frozen: bool = False) -> None:
        self._model = model
        plain = LastState(model).eval()
        self._run: Run = (_frozen(plain) if frozen else None) or plain
        self._counted: Count = (_frozen_counts(model) if frozen else None) or model.counted

    def encode(self, histories: Histories) -> EncodedUsers:
        """Encode histories, each at least one row; an empty one is encoded as padding alone."""
        model = self._model
        # Of like length together: padding to the longest of many would be most of the work.
        order = np.argsort(histories.lengths, kind="stable")
        with torch.inference_mode():
            parts = [
                self._run(*history_batch(histories, rows, model.max_length, model.mask_item))
                for rows in np.array_split(order, max(1, -(-len(order) // _AT_ONCE)))
            ]
            place = torch.from_numpy(np.argsort(order))
            outputs = tuple(torch.cat(part)[place] for part in zip(*parts, strict=True))
            recent = latest_items(histories, model.recent_items)
            sparse = self._counted(recent) if model.recent_items else {}
        return EncodedUsers(outputs[0], outputs[1] if len(outputs) > 1 else None, sparse)


def _frozen(plain: LastState) -> Run | None:
    """Trace; None where that can't be done, or gives other numbers at other shapes."""
    model = plain.model
    random = np.random.default_rng(0)
    # The second and third run optimise the trace; then each number of rows and length is met once.
    longest = min(model.max_length, _LONGEST_TRACED)
    shapes = [(2, 3), (1, 1), (5, longest), (1, longest), (3, 2)]
    histories = [
        Histories.from_lists(random.integers(1, model.item_count + 1, shape).tolist()) for shape in shapes
    ]
    inputs = [history_batch(h, np.arange(len(h)), model.max_length, model.mask_item) for h in histories]
    plain.requires_grad_(False)  # else they could not be constants of the trace

    def run(items: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As a function: of a traced module torch keeps a class for each of its parts for good."""
        outputs: tuple[torch.Tensor, ...] = plain(items, lengths)
        return outputs

    return _traced(run, inputs)


def _frozen_counts(model: SequenceModel) -> Count | None:
    """Trace what branches without vectors score; None where that can't be done."""
    if not model.recent_items:
        return None
    with torch.inference_mode():
        forms = model.counted(torch.zeros(1, 1, dtype=torch.int64))
        others = model.counted(torch.ones(1, 1, dtype=torch.int64))
    for name, form in forms.items():
        # Of other kinds nobody knows what else of them depends on the history.
        if type(form) not in (ItemScores, GroupScores):
            return None
        groups = getattr(form, "groups", None)
        if groups is not None and vars(others[name])["groups"].of_item is not groups.of_item:
            return None
    names = {
        name: [key for key, value in vars(form).items() if isinstance(value, torch.Tensor)]
        for name, form in forms.items()
    }

    def run(recent: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = model.counted(recent)
        return tuple(getattr(found[name], key) for name, keys in names.items() for key in keys)

    random = np.random.default_rng(0)
    shapes = [(2, model.recent_items), (1, 1), (5, model.recent_items), (3, 2)]
    inputs = [torch.from_numpy(random.integers(0, model.item_count + 1, s)) for s in shapes]
    traced = _traced(run, [(recent,) for recent in (*inputs, torch.zeros_like(inputs[2]))])
    if traced is None:
        return None

    def counted(recent: torch.Tensor) -> dict[str, CountedScores]:
        values = iter(traced(recent))
        return {
            name: replace(form, **{key: next(values) for key in names[name]})  # type: ignore[type-var]
            for name, form in forms.items()
        }

    return counted


def _traced(run: Run, inputs: Sequence[tuple[torch.Tensor, ...]]) -> Run | None:
    """Trace with the first inputs; None where that can't be done, or where it gives other numbers for any of them."""
    try:
        with warnings.catch_warnings(), torch.no_grad(), _own_compilation_unit():
            # torch would have its compiler used, which needs a C++ compiler where the server runs.
            warnings.simplefilter("ignore")
            traced: Run = torch.jit.trace(run, inputs[0], check_trace=False)
            for example in inputs:
                pairs = zip(traced(*example), run(*example), strict=True)
                if not all(torch.equal(output, expected) for output, expected in pairs):
                    return None
    except Exception:  # what a model can't do in a trace is raised as anything
        return None
    return traced


@contextmanager
def _own_compilation_unit() -> Iterator[None]:
    """Let what is traced belong to itself.

    torch keeps all that Python ever traced, weights included, in one unit that lives as long as the process
    (pytorch/pytorch#43119). In a unit of its own a trace goes when nobody uses it any more.

    Raises `AttributeError` if this torch has no such unit.
    """
    state: Any = torch.jit._state
    with _TRACING:
        shared = state._python_cu
        state._python_cu = torch._C.CompilationUnit()
        try:
            yield
        finally:
            state._python_cu = shared

"""A bound on the memory that building a model allocates, for settings that come from elsewhere."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from h2rec.errors import H2RecError

_BY_SHAPE = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})
_BY_LENGTH = frozenset({torch.arange, torch.eye})


class TooLargeError(H2RecError):
    """Settings that ask for too much memory."""


class Room(TorchFunctionMode):
    """Bound the elements of all tensors that torch makes from sizes in the block.

    Raises `TooLargeError` in the block before more than `elements` are allocated.
    """

    def __init__(self, elements: int) -> None:
        super().__init__()
        self._left = elements

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func in _BY_SHAPE or func in _BY_LENGTH:
            self._left -= _elements(func, args, kwargs)
            if self._left < 0:
                raise TooLargeError("the settings ask for larger tables than there are weights for")
        return func(*args, **kwargs)


def _elements(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    size = kwargs.get("size", args[0] if args else ())
    if func in _BY_LENGTH:
        return math.prod(abs(value) + 1 for value in args if isinstance(value, int))
    return math.prod(size if isinstance(size, tuple | list) else args)

"""Scores from vectors of 8 bits a number, a quarter of the memory to read, with a bound on how wrong they are."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch

logger = logging.getLogger(__name__)

_MOST = 127
_ZERO = 128
"""User vectors are unsigned, as processors multiply them with signed ones."""
_PROBES = 32
_ROWS = 122_880
"""Items whose scores are looked at together: those of 32 users are 15 MiB. Memory in larger blocks than 32 MiB is taken
from the system anew each time, which takes longer than the products."""
_ROUNDING = 1e-5
"""What sums of floats may lose, of the largest score that there can be."""


class EightBits:
    """Item vectors in 8 bits a number, a scale an item.

    Of a user `u` and an item `v`, read as `u'` and `v'`, the score is wrong by ``u' (v - v') + (u - u') v``: at most
    ``|u'| max |v - v'| + |u - u'| max |v|``, by Cauchy and Schwarz.
    """

    def __init__(self, parts: "list[_Part]", error: float, longest: float) -> None:
        self._parts = parts
        self._error = error
        self._longest = longest

    @classmethod
    def of(cls, vectors: torch.Tensor) -> Self | None:
        """Compress vectors `[N, D]`; None where this torch or processor can't multiply them without fault."""
        if not vectors.numel():
            return None
        try:
            with torch.inference_mode():
                parts = [_Part.of(some) for some in vectors.split(_ROWS)]
                longest = max(part.longest for part in parts)
                return cls(parts, max(part.error for part in parts), longest)
        except (AttributeError, RuntimeError, _FaultyError) as reason:
            logger.debug("vectors are scanned as they are: %s", reason)
            return None

    def score_chunks(self, users: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Scores of all items, some at a time: index of the first one, and `[n, M]` for users `[n, D]`."""
        unit, rows = _rounded(users)
        whole, first = (rows + _ZERO).to(torch.uint8), 0
        for part in self._parts:
            scores = part.products(whole).mul_(unit)
            yield first, scores
            first += scores.shape[1]

    def error(self, users: torch.Tensor) -> torch.Tensor:
        """How far scores of users may be from the exact ones, `[n]`."""
        unit, rows = _rounded(users)
        # In units, as squares of short vectors are no longer numbers in 32 bits.
        exact = users / unit
        lost = torch.linalg.vector_norm(exact - rows, dim=1)
        length = torch.linalg.vector_norm(exact, dim=1) + lost
        error: torch.Tensor = length * (self._error + _ROUNDING * self._longest) + lost * self._longest
        return (error * unit[:, 0]).clamp_(min=torch.finfo(torch.float32).tiny)


class _FaultyError(Exception):
    """Products are wrong on this processor."""


@dataclass(frozen=True, eq=False)
class _Part:
    """Some of the vectors."""

    packed: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    error: float
    """The longest difference of a vector and what it is read as."""
    longest: float
    """The length of the longest vector."""

    @classmethod
    def of(cls, vectors: torch.Tensor) -> Self:
        scales = (vectors.abs().amax(dim=1) / _MOST).clamp(min=torch.finfo(torch.float32).tiny)
        small = (vectors / scales[:, None]).round_().to(torch.int8)
        part = cls(
            packed=torch.ops.onednn.qlinear_prepack(small, None),
            scales=scales,
            zeros=torch.zeros(len(scales), dtype=torch.int32),
            error=_longest(vectors - small * scales[:, None]),
            longest=_longest(vectors),
        )
        # Sums of processors without the instructions for it may overflow, without a word.
        probes = small[:: max(1, len(small) // _PROBES)].sign().float() * _MOST
        expected = probes @ (small * scales[:, None]).T
        found = part.products((probes + _ZERO).to(torch.uint8))
        if not torch.allclose(found, expected, rtol=1e-4, atol=1e-3 * part.longest):
            raise _FaultyError("products overflow on this processor")
        return part

    def products(self, rows: torch.Tensor) -> torch.Tensor:
        """Inner products of rows of whole numbers, from `_ZERO` on, with the compressed vectors."""
        products: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows,
            1.0,
            _ZERO,
            self.packed,
            self.scales,
            self.zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return products


def _longest(vectors: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64).amax())


def _rounded(users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A scale for each user, `[n, 1]`, and whole numbers of up to 127 that they are multiplied with."""
    unit = (users.abs().amax(dim=1, keepdim=True) / _MOST).clamp(min=torch.finfo(torch.float32).tiny)
    return unit, (users / unit).round_()

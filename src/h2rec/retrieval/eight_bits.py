"""Scores from vectors of 8 bits a number, a quarter of the memory to read, with a bound on how wrong they are."""

import logging
from typing import Self

import torch

logger = logging.getLogger(__name__)

_MOST = 127
_ZERO = 128
"""User vectors are unsigned, as processors multiply them with signed ones."""
_PROBES = 32
_ROUNDING = 1e-5
"""What sums of floats may lose, of the largest score that there can be."""


class EightBits:
    """Item vectors in 8 bits a number, a scale an item.

    Of a user `u` and an item `v`, read as `u'` and `v'`, the score is wrong by ``u' (v - v') + (u - u') v``: at most
    ``|u'| max |v - v'| + |u - u'| max |v|``, by Cauchy and Schwarz.
    """

    def __init__(self, packed: torch.Tensor, scales: torch.Tensor, error: float, longest: float) -> None:
        self._packed = packed
        self._scales = scales
        self._error = error
        self._longest = longest
        self._zeros = torch.zeros(len(scales), dtype=torch.int32)

    @classmethod
    def of(cls, vectors: torch.Tensor) -> Self | None:
        """Compress vectors `[N, D]`; None where this torch or processor can't multiply them without fault."""
        if not vectors.numel():
            return None
        try:
            with torch.inference_mode():
                scales = (vectors.abs().amax(dim=1) / _MOST).clamp(min=torch.finfo(torch.float32).tiny)
                small = (vectors / scales[:, None]).round_().to(torch.int8)
                error = torch.tensor(0.0)
                # Some at a time: all of them as floats are as many numbers as the vectors are.
                for exact, part, scale in zip(
                    vectors.split(4096), small.split(4096), scales.split(4096), strict=True
                ):
                    error = torch.maximum(error, (exact - part * scale[:, None]).norm(dim=1).amax())
                packed = torch.ops.onednn.qlinear_prepack(small, None)
                made = cls(packed, scales, float(error), float(vectors.norm(dim=1).amax()))
                return made if made._is_right(small) else None
        except (AttributeError, RuntimeError) as reason:
            logger.debug("vectors are scanned as they are: %s", reason)
            return None

    def scores(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of users `[n, D]`, `[n, N]`, and how far they may be from the exact ones, `[n]`."""
        unit = (users.abs().amax(dim=1, keepdim=True) / _MOST).clamp(min=torch.finfo(torch.float32).tiny)
        rows = (users / unit).round_()
        lost = torch.linalg.vector_norm(users - rows * unit, dim=1)
        length = torch.linalg.vector_norm(users, dim=1) + lost
        error = length * (self._error + _ROUNDING * self._longest) + lost * self._longest
        return self._products(rows).mul_(unit), error

    def _products(self, rows: torch.Tensor) -> torch.Tensor:
        """Inner products of rows of whole numbers up to 127 with the compressed vectors."""
        products: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            (rows + _ZERO).to(torch.uint8),
            1.0,
            _ZERO,
            self._packed,
            self._scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return products

    def _is_right(self, small: torch.Tensor) -> bool:
        """Whether sums do not overflow: those of processors without the instructions for it may, without a word."""
        probes = small[:: max(1, len(small) // _PROBES)].sign().float() * _MOST
        expected = probes @ (small * self._scales[:, None]).T
        return torch.allclose(self._products(probes), expected, rtol=1e-4, atol=1e-3 * self._longest)

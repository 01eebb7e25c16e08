"""Small catalogues with a known answer."""

import numpy as np
import numpy.typing as npt

from h2rec.testing.quantizers import CODES, DIMENSION, LEVELS, hierarchy

__all__ = ["CODES", "DIMENSION", "LEVELS", "hierarchy", "skewed"]


def skewed(items: int = 600, seed: int = 0) -> npt.NDArray[np.float32]:
    """Embeddings `[items, 12]` of which nine tenths lie in one dense spot."""
    stream = np.random.default_rng(seed)
    points = stream.normal(size=(items, DIMENSION))
    points[: items * 9 // 10] *= 0.2
    return points.astype(np.float32)

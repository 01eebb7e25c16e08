"""Small catalogues with a known answer."""

import numpy as np
import numpy.typing as npt

LEVELS, CODES, DIMENSION = 3, 4, 12


def hierarchy(copies: int = 4, seed: int = 0) -> npt.NDArray[np.float32]:
    """Embeddings `[4 * 4 * 4 * copies, 12]` that are sums of one vector a level, each level a tenth of the one before.

    Well separated, so that the right codes are the construction itself.
    """
    stream = np.random.default_rng(seed)
    paths = np.stack(np.meshgrid(*[np.arange(CODES)] * LEVELS, indexing="ij"), axis=-1).reshape(-1, LEVELS)
    paths = np.repeat(paths, copies, axis=0)
    directions, _ = np.linalg.qr(stream.normal(size=(DIMENSION, DIMENSION)))
    points = np.zeros((len(paths), DIMENSION))
    for level in range(LEVELS):
        codebook = directions[level * CODES : (level + 1) * CODES] * 10.0**-level
        points += codebook[paths[:, level]]
    points += stream.normal(size=points.shape) * 1e-4
    return points.astype(np.float32)


def skewed(items: int = 600, seed: int = 0) -> npt.NDArray[np.float32]:
    """Embeddings `[items, 12]` of which nine tenths lie in one dense spot."""
    stream = np.random.default_rng(seed)
    points = stream.normal(size=(items, DIMENSION))
    points[: items * 9 // 10] *= 0.2
    return points.astype(np.float32)

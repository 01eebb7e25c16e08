"""Contract tests of quantizers."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from h2rec.semantic_ids.embeddings import Embeddings, variance
from h2rec.semantic_ids.quantizers import create, load_quantizer
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.testing.catalogue import require, require_round_trip

LEVELS, CODES, DIMENSION = 3, 4, 12


def hierarchy(copies: int = 4, seed: int = 0) -> Embeddings:
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


def check_quantizer(values: Mapping[str, Any] | str) -> None:
    """Check a quantizer; `values` as in `semantic_ids.quantizer`."""
    sizes = {"levels": LEVELS, "codebook_size": CODES}
    settings = SemanticIdSettings.parse({**sizes, "quantizer": values})
    require_round_trip(settings)
    embeddings = hierarchy()
    quantizer = create(settings).fit(embeddings, seed=3)
    check_forms(quantizer, embeddings)
    check_errors(quantizer, embeddings)
    check_codes_of_rows(quantizer, embeddings)
    require_same(quantizer, create(settings).fit(embeddings, seed=3), "a second fit with the same seed")
    check_storage(quantizer)


def check_forms(quantizer: Quantizer, embeddings: Embeddings) -> None:
    """Shapes and types; codes are in range."""
    codes = quantizer.encode(embeddings)
    sizes, dimension = quantizer.codebook_sizes, quantizer.dimension
    require(
        sizes == (CODES,) * LEVELS,
        f"codebook_sizes are {sizes}, and {LEVELS} levels of {CODES} were asked for",
    )
    require(dimension == DIMENSION, f"dimension is {dimension}, and the embeddings have {DIMENSION}")
    expected = (len(embeddings), LEVELS)
    require(codes.shape == expected, f"codes have the shape {codes.shape}, and should have {expected}")
    require(
        codes.min() >= 0 and codes.max() < CODES, f"codes run from {codes.min()} to {codes.max()}, of {CODES}"
    )
    for depth in range(1, LEVELS + 1):
        decoded = quantizer.decode(codes[:, :depth])
        form = f"{depth} levels are decoded to {decoded.dtype} of {decoded.shape}"
        require(decoded.shape == embeddings.shape and decoded.dtype == np.float32, form)


def check_errors(quantizer: Quantizer, embeddings: Embeddings) -> None:
    """Codes hold some of the variance; the error quantiles are those of the fitted catalogue."""
    errors = quantizer.squared_errors(embeddings)
    share = float(errors.mean()) / variance(embeddings)
    require(share < 1, f"reconstructions leave {share:.0%} of the variance: their mean alone leaves 100%")
    quantiles = np.quantile(errors, [0, 0.5, 1])
    stored = np.array(quantizer.error_quantiles)[[0, 50, 100]]
    require(np.allclose(stored, quantiles, rtol=1e-4), f"error_quantiles are {stored}, not {quantiles}")


def check_codes_of_rows(quantizer: Quantizer, embeddings: Embeddings) -> None:
    """A batch has the codes of its rows one by one, and encoding changes nothing."""
    codes = quantizer.encode(embeddings)
    alone = np.concatenate([quantizer.encode(row[None]) for row in embeddings[::7]])
    require(np.array_equal(alone, codes[::7]), "an embedding has other codes in a batch than alone")
    require(
        np.array_equal(quantizer.encode(embeddings), codes), "codes change when embeddings are encoded again"
    )


def check_storage(quantizer: Quantizer) -> None:
    """A saved quantizer is read back with the same codes and reconstructions."""
    with tempfile.TemporaryDirectory() as folder:
        quantizer.save(Path(folder))
        loaded = load_quantizer(Path(folder))
    require(loaded.settings == quantizer.settings, "settings change by being saved and loaded")
    require(
        loaded.error_quantiles == quantizer.error_quantiles,
        "error_quantiles change by being saved and loaded",
    )
    require_same(quantizer, loaded, "saving and loading")


def require_same(quantizer: Quantizer, other: Quantizer, reason: str) -> None:
    """Raise an `AssertionError` unless two quantizers give the same codes and reconstructions, to the bit."""
    embeddings = hierarchy(copies=1, seed=1)
    codes = quantizer.encode(embeddings)
    require(np.array_equal(other.encode(embeddings), codes), f"{reason} changes codes")
    require(np.array_equal(other.decode(codes), quantizer.decode(codes)), f"{reason} changes reconstructions")

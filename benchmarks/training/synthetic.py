"""Made-up shops of any size: items drawn by a power law, codes that follow the text, training histories alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from h2rec.data.histories import Histories, offsets_of
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.settings import parse_model
from h2rec.run.presets import merge, preset_values
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

LEVELS, CODES, BLOCK = 4, 128, 100_000


@dataclass(frozen=True, eq=False)
class Shop:
    """Training histories, codes, and text vectors if there are any."""

    histories: Histories
    item_count: int
    codes: SemanticIds
    text: npt.NDArray[np.float32] | None = None


def make_histories(users: int, items: int, lengths: npt.NDArray[np.int64], seed: int) -> Histories:
    """Histories of given lengths; the i-th most popular item is drawn with probability proportional to 1 / i."""
    stream = np.random.default_rng(seed)
    cumulative = np.cumsum(1 / np.arange(1, items + 1))
    offsets = offsets_of(lengths)
    places = np.searchsorted(cumulative / cumulative[-1], stream.random(int(offsets[-1])), side="right")
    popular = stream.permutation(items).astype(np.int32) + 1
    return Histories(offsets, popular[np.minimum(places, items - 1)])


def power_law_lengths(users: int, mean: float, longest: int, seed: int) -> npt.NDArray[np.int64]:
    """History lengths from 3 up with a long tail, about `mean` on average."""
    stream = np.random.default_rng([seed, 1])
    return np.minimum(3 + (mean - 3) * stream.pareto(2.0, users), longest).astype(np.int64)


def make_codes(items: int, seed: int) -> SemanticIds:
    stream = np.random.default_rng([seed, 2])
    codes = stream.integers(0, CODES, (items, LEVELS), dtype=np.int32)
    return SemanticIds(codes, (CODES,) * LEVELS)


def make_text(path: Path, items: int, dimension: int, seed: int) -> npt.NDArray[np.float32]:
    """Text vectors mapped from disk: a few strong directions and noise."""
    stream = np.random.default_rng([seed, 3])
    directions = stream.normal(size=(64, dimension)).astype(np.float32)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(items, dimension))
    for start in range(0, items, BLOCK):
        count = min(BLOCK, items - start)
        rows = stream.standard_normal((count, 64), dtype=np.float32) @ directions
        rows += stream.standard_normal((count, dimension), dtype=np.float32)
        out[start : start + count] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    out.flush()
    del out
    return np.load(path, mmap_mode="r")


def one_epoch(
    shop: Shop,
    preset: str,
    *,
    max_length: int = 50,
    seed: int,
    batch_tokens: int = 2048,
    checkpoint: Path | None = None,
    epochs: int = 1,
) -> Trainer:
    """Return a trainer of a preset's model with the default losses and no validation."""
    section = merge(preset_values(preset)["model"], {"max_length": max_length})
    settings = parse_model(section, default="branches")
    counts = shop.histories.counts(shop.item_count)
    features = ItemFeatures(shop.item_count, shop.codes, shop.text, train_counts=counts, train=shop.histories)
    built = build_model(settings, features, seed=seed)
    train = TrainSettings(epochs=epochs, seed=seed, patience=None, batch_tokens=batch_tokens)
    return Trainer(built, features, LossSettings(), train, checkpoint=checkpoint)

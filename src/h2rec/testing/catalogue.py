"""A small synthetic catalogue, models on it with random weights, and the assertions of all checks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from h2rec.data.histories import Histories
from h2rec.models import MODELS
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.neighbours import nearest_in_text
from h2rec.models.protocol import SequenceModel, UserStates
from h2rec.models.settings import ModelSettings
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.settings import Settings

ITEMS = 24
SIZES = (4, 4, 4)
SMALL = {"dim": 16, "heads": 2, "layers": 1, "max_length": 12, "dropout": 0.1}
"""Default sizes of tested models."""


def ring(length: int = 8) -> Histories:
    """Histories that walk a ring of the items, one from each: the next item is always the present one plus one."""
    return Histories.from_lists(
        [[(start + step) % ITEMS + 1 for step in range(length)] for start in range(ITEMS)]
    )


def small_catalogue() -> ItemFeatures:
    """24 items with codes that tell them apart, random texts, and histories that walk a ring of them."""
    random = np.random.default_rng(1)
    number = random.permutation(int(np.prod(SIZES)))[:ITEMS]
    codes = np.stack(np.unravel_index(number, SIZES), axis=1).astype(np.int32)
    text = random.normal(size=(ITEMS, 20)).astype(np.float32)
    train = ring()
    return ItemFeatures(ITEMS, SemanticIds(codes, SIZES), text, train_counts=train.counts(ITEMS), train=train)


def new_items(known: ItemFeatures) -> tuple[SemanticIds, NewItems]:
    """Codes of a catalogue that grew, and its new items: the last one's twin, its sibling by two levels, and others."""
    ids, known_text = known.require_codes("growth"), known.require_text("growth")
    fresh = np.repeat(ids.codes[-1:], 4, axis=0)
    fresh[1, 2] = (fresh[1, 2] + 1) % SIZES[2]
    fresh[2, 1:] = (fresh[2, 1:] + 1) % SIZES[1]
    fresh[3] = (fresh[3] + 1) % SIZES[0]
    text = np.random.default_rng(2).normal(size=(len(fresh), 20)).astype(np.float32)
    text[0] = known_text[-1]
    new = NewItems(nearest_in_text(known_text, text), text)
    return SemanticIds(np.concatenate([ids.codes, fresh]), ids.codebook_sizes), new


def parsed(values: Mapping[str, Any]) -> ModelSettings:
    """Settings of the section `model`, small unless the values say otherwise."""
    kind = MODELS.get(values.get("name", "branches")).settings_class
    sizes = {key: value for key, value in SMALL.items() if key in kind.model_fields}
    return kind.parse({**sizes, **values}, source="model")


def random_model(settings: ModelSettings, features: ItemFeatures, *, seed: int = 1) -> SequenceModel:
    """Return a model in evaluation mode with random weights, so that no zero start hides a fault."""
    model = build_model(settings, features, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.after_training(features)
    return model.eval()


def encode(model: SequenceModel, rows: list[list[int]], *, width: int = 0) -> UserStates:
    """States of histories, padded to `width`, at every position where the model is read; without a gradient."""
    lengths = torch.tensor([len(row) for row in rows])
    items = torch.zeros(len(rows), max(width, int(lengths.max())), dtype=torch.int64)
    for place, row in enumerate(rows):
        items[place, : len(row)] = torch.tensor(row)
    reads = items > 0
    if model.objective == "last":
        reads = torch.arange(items.shape[1]) == (lengths - 1)[:, None]
    with torch.no_grad():
        return model(items, lengths, reads)  # type: ignore[no-any-return]


def users(states: UserStates) -> torch.Tensor:
    """User vectors of all branches side by side, `[n, D]`."""
    return torch.cat(states.vectors, dim=1)


def require(condition: bool, message: str) -> None:
    """Raise an `AssertionError` unless the condition holds; unlike `assert` also under ``python -O``."""
    if not condition:
        raise AssertionError(message)


def require_close(left: torch.Tensor, right: torch.Tensor, message: str, *, tolerance: float = 1e-4) -> None:
    """Raise an `AssertionError` unless two tensors agree up to `tolerance` times their largest value, or 1."""
    require(left.shape == right.shape, f"{message}: shapes {tuple(left.shape)} and {tuple(right.shape)}")
    if left.numel() == 0:
        return
    difference = float((left - right).detach().abs().max())
    allowed = tolerance * max(1.0, float(left.detach().abs().max()))
    require(difference <= allowed, f"{message}: they differ by up to {difference:.2g}")


def require_same_weights(
    left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor], message: str
) -> None:
    """Raise an `AssertionError` unless two sets of weights are equal to the bit."""
    differing = [n for n in left.keys() | right.keys() if n not in left or n not in right]
    differing += [n for n in left.keys() & right.keys() if not torch.equal(left[n], right[n])]
    require(not differing, f"{message}: {', '.join(sorted(differing))}")


def require_round_trip(settings: Settings) -> None:
    """Raise an `AssertionError` unless settings survive the plain values that a run or a bundle keeps."""
    again = type(settings).parse(settings.model_dump(mode="json"))
    require(again == settings, f"the settings {settings!r} come back from their plain values as {again!r}")

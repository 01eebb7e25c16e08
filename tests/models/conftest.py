import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.settings import ModelSettings
from h2rec.semantic_ids.codes import SemanticIds

ITEMS, LEVELS, SIZE = 40, 3, 6


@pytest.fixture
def features():
    random = np.random.default_rng(0)
    codes = random.integers(0, SIZE, (ITEMS, LEVELS)).astype(np.int32)
    text = random.normal(size=(ITEMS, 20)).astype(np.float32)
    train = Histories.from_lists([random.integers(1, ITEMS + 1, length).tolist() for length in (9, 4, 7, 2)])
    return ItemFeatures(ITEMS, SemanticIds(codes, (SIZE,) * LEVELS), text, train.counts(ITEMS), train)


@pytest.fixture
def make_model(features):
    """A small model whose weights are all random, so that nothing hides behind a zero start."""

    def make(seed=0, **values):
        sizes = {"dim": 8, "heads": 2, "layers": 2, "max_length": 12}
        model = build_model(ModelSettings.parse({**sizes, **values}), features, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        return model.eval()

    return make


def every_position(items):
    return items > 0

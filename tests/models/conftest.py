import numpy as np
import pytest
import torch
from model_forms import TWO

from h2rec.data.histories import Histories
from h2rec.models import MODELS
from h2rec.models.baselines import hashed_prefixes
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.semantic_ids.codes import SemanticIds

ITEMS, LEVELS, SIZE = 40, 3, 6


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    monkeypatch.setattr(hashed_prefixes, "ROWS", 500)


@pytest.fixture
def features():
    random = np.random.default_rng(0)
    codes = random.integers(0, SIZE, (ITEMS, LEVELS)).astype(np.int32)
    text = random.normal(size=(ITEMS, 20)).astype(np.float32)
    train = Histories.from_lists([random.integers(1, ITEMS + 1, length).tolist() for length in (9, 4, 7, 2)])
    ids = SemanticIds(codes, (SIZE,) * LEVELS)
    return ItemFeatures(ITEMS, ids, text, train_counts=train.counts(ITEMS), train=train)


def parse(**values):
    """Settings of a small model of the section `model`; codes and hash IDs where it names no branches."""
    sizes = {"dim": 8, "heads": 2, "layers": 2, "max_length": 12}
    name = values.get("name", "branches")
    branches = TWO if name == "branches" else {}
    return MODELS.get(name).settings_class.parse({**sizes, **branches, **values})


@pytest.fixture
def build(features):
    """A small model as it starts."""
    return lambda features=features, seed=0, **values: build_model(parse(**values), features, seed=seed)


@pytest.fixture
def make_model(build, features):
    """A small model whose weights are all random, so that nothing hides behind a zero start."""

    def make(seed=0, **values):
        model = build(seed=seed, **values)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        model.after_training(features)
        return model.eval()

    return make

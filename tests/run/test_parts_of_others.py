"""A backbone, a branch and a whole model of another package: from a YAML file to recommendations from a bundle."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import h2rec.registry
from h2rec.cli.main import main
from h2rec.data.histories import Histories
from h2rec.files import read_json
from h2rec.models import MODELS
from h2rec.models.backbones import BACKBONES
from h2rec.models.branches import BRANCHES
from h2rec.models.build import build_model
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from made_shop import ITEMS, write_shop

MODULE = '''
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from h2rec.models import MODELS
from h2rec.models.backbones import BACKBONES, Backbone
from h2rec.models.backbones.dropout import Dropout
from h2rec.models.backbones.registry import BackboneSettings
from h2rec.models.branch_items import DenseItems
from h2rec.models.branches import BRANCHES
from h2rec.models.branches.protocol import Branch, BranchRead
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.protocol import SequenceModel, UserStates, positions_read, read
from h2rec.models.settings import ModelSettings


class ConvSettings(BackboneSettings):
    width: int = Field(3, ge=1)


@BACKBONES.register("conv")
class Conv(Backbone):
    """A causal convolution."""

    settings_class = ConvSettings

    def __init__(self, sizes, settings):
        super().__init__(sizes, settings)
        self.dropout = Dropout(sizes.dropout)
        self.width = settings.width
        self.conv = nn.Conv1d(sizes.dim, sizes.dim, settings.width)
        self.out = nn.Linear(sizes.dim, sizes.dim)

    def forward(self, vectors, lengths):
        before = nn.functional.pad(self.dropout(vectors).transpose(1, 2), (self.width - 1, 0))
        return self.out(torch.relu(self.conv(before).transpose(1, 2)))


class RecencySettings(BranchSettings):
    decay: float = Field(0.5, gt=0, lt=1)


@BRANCHES.register("recency")
class Recency(Branch):
    """What came lately comes again; nothing to learn."""

    settings_class = RecencySettings
    is_trained = False

    def __init__(self, settings, item_count):
        super().__init__()
        self.settings, self.item_count = settings, item_count
        self.register_buffer("weight", torch.tensor(1.0))

    @classmethod
    def build(cls, settings, model, features):
        return cls(settings, features.item_count)

    def forward(self, sequences, intent):
        steps = sequences.items.shape[1]
        row, place = sequences.at // steps, sequences.at % steps
        back = place[:, None] - torch.arange(steps)
        share = torch.where(back >= 0, self.settings.decay ** back.clamp(min=0).float(), 0.0)
        user = torch.zeros(len(row), 64).scatter_add(1, sequences.items[row] % 64, share)
        return BranchRead(user * self.settings.weight)

    def items(self, items):
        return DenseItems(nn.functional.one_hot(items % 64, 64).float())

    def grow(self, smaller, new):
        pass


class MarkovSettings(ModelSettings):
    name: Literal["markov"] = "markov"
    size: int = 16


@MODELS.register("markov")
class Markov(SequenceModel):
    """An item's successor, by a bilinear form."""

    settings_class = MarkovSettings
    branch_names, branch_weights = ("pairs",), (1.0,)
    objective, max_length = "next", 10

    def __init__(self, settings, item_count):
        super().__init__()
        self.settings, self.item_count = settings, item_count
        self.first, self.second = (nn.Embedding(item_count + 1, settings.size) for _ in range(2))

    @classmethod
    def build(cls, settings, features):
        return cls(settings, features.item_count)

    def forward(self, items, lengths, reads):
        return UserStates((read(self.first(items), positions_read(reads)),))

    def item_vectors(self, items):
        return (self.second(items),)
'''
MODELS_OF_OTHERS = {
    "backbone": "{backbone: {name: conv, width: 2}, dim: 16, layers: 1}",
    "branch": "{dim: 16, layers: 1, branches: {lately: {kind: recency, decay: 0.25, weight: 0.5}}}",
    "model": "{name: markov, size: 8}",
}
NAMES = {"backbone": "conv", "branch": "recency", "model": "markov"}
REGISTRIES = {"backbone": BACKBONES, "branch": BRANCHES, "model": MODELS}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder of a module `parts_of_others` that registers all three."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "parts_of_others.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for registry in REGISTRIES.values():
            patch.setattr(registry, "_parts", dict(registry._parts))
        patch.setattr(h2rec.registry, "_started", set())
        yield folder
    sys.modules.pop("parts_of_others", None)


def written(folder, kind):
    """The shop, with a part of somebody else's in its configuration."""
    config = write_shop(folder)
    lines = [line for line in config.read_text().splitlines() if not line.startswith("model:")]
    lines += [f"model: {MODELS_OF_OTHERS[kind]}", "plugins: [parts_of_others]"]
    config.write_text("\n".join(lines))
    return config


@pytest.fixture(scope="module")
def runs(package, tmp_path_factory):
    """A finished run with each part."""
    found = {}
    for kind in MODELS_OF_OTHERS:
        folder = tmp_path_factory.mktemp(kind)
        found[kind] = Pipeline(RunConfig.load(written(folder, kind)), folder / "out")
        found[kind].evaluated()
        found[kind].bundled()
    return found


@pytest.fixture(params=MODELS_OF_OTHERS)
def run(request, runs):
    return request.param, runs[request.param]


def test_it_is_trained_and_measured_by_what_its_settings_say(run):
    kind, pipeline = run
    part = REGISTRIES[kind].get(NAMES[kind])
    assert part.__module__ == "parts_of_others"
    model = pipeline.model
    found = next(module for module in model.modules() if isinstance(module, part))
    told = {
        "backbone": lambda: found.width == 2,
        "branch": lambda: found.settings.decay == 0.25,
        "model": lambda: found.first.weight.shape == (ITEMS + 1, 8),
    }
    assert told[kind]()
    start = build_model(pipeline.config.model, pipeline.features, seed=pipeline.config.train.seed)
    moved = [not a.equal(b) for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert any(moved)
    assert [epoch["epoch"] for epoch in read_json(pipeline.train_stage.folder / "training.json")["log"]]
    assert read_json(pipeline.out / "metrics.json")["test"]["full"]["overall"]["cases"] == 80


def test_its_own_settings_make_another_training_and_a_mistake_in_them_names_the_nearest(run):
    kind, pipeline = run
    key, mistake = {
        "backbone": ("model.backbone={name: conv, width: 3}", ("width: 3", "widht: 3")),
        "branch": ("model.branches.lately.decay=0.75", ("decay", "dekay")),
        "model": ("model.size=4", ("size", "sise")),
    }[kind]
    shop = pipeline.config.data.interactions.parent / "shop.yaml"
    other = RunConfig.load(shop, [key])
    assert other.key != pipeline.config.key
    # What has nothing to learn is no part of the training.
    assert (other.training_key == pipeline.config.training_key) == (kind == "branch")
    with pytest.raises(h2rec.H2RecError, match=f"did you mean '{mistake[0].split(':')[0]}'"):
        RunConfig.load(shop, [key.replace(*mistake)])


def test_what_was_saved_is_the_same_when_it_is_read_again(run, tmp_path):
    _, pipeline = run
    resolved = RunConfig.load(pipeline.out / "config.yaml")
    assert resolved == pipeline.config
    again = Pipeline(resolved, tmp_path, pipeline.store.root)
    again.evaluated()
    assert all(stage.reused for stage in again.stages.values())


def test_its_bundle_answers_as_the_trained_model_does(run, capsys):
    _, pipeline = run
    recommender = Recommender.load(pipeline.out / "bundle")
    history = ["i1", "i5", "i9"]
    answer = recommender.recommend(history, ITEMS)
    ids = pipeline.dataset.items["item_id"].to_list()
    asked = Histories.from_lists([[ids.index(item) + 1 for item in history]])
    scores = CatalogueScorer(pipeline.served_model).score(asked, np.arange(1))[0]
    for item in answer.items:
        assert item.score == pytest.approx(scores[ids.index(item.item_id) + 1].item(), abs=1e-4)
    assert len(answer.items) == ITEMS - len(history)
    with pytest.raises(SystemExit) as ended:
        main(["recommend", str(pipeline.out / "bundle"), "--history", "i1,i5", "--k", "3"])
    assert ended.value.code == 0
    assert "number" in capsys.readouterr().out


def test_a_sum_of_branches_with_it_takes_new_items(run, tmp_path):
    kind, pipeline = run
    bundle = Recommender.load(pipeline.out / "bundle").bundle
    fresh = pl.DataFrame({"item_id": ["new"], "title": ["tea green leaf number 1000"]})
    if kind == "model":  # it does not say how it grows
        with pytest.raises(h2rec.H2RecError):
            add_items(bundle, fresh, tmp_path / "grown")
        return
    add_items(bundle, fresh, tmp_path / "grown")
    answer = Recommender.load(tmp_path / "grown").recommend(["i1", "new"], ITEMS)
    assert len(answer.items) == ITEMS - 1


ANSWER = """
import os, sys
from h2rec.cli.main import main
for plugins in ("", "parts_of_others"):
    os.environ["H2REC_PLUGINS"] = plugins
    for bundle in sys.argv[1:]:
        try:
            main(["recommend", bundle, "--history", "i1,i5", "--k", "3"])
        except SystemExit as ended:
            print("ended:", ended.code)
"""


def test_another_process_reads_its_bundle_once_it_knows_the_module(runs, package):
    bundles = [str(pipeline.out / "bundle") for pipeline in runs.values()]
    known = os.environ | {"PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", ANSWER, *bundles]
    said = subprocess.run(words, env=known, capture_output=True, text=True, check=True)
    answers = said.stdout.split("ended: ")
    assert [answer[0] for answer in answers[1:]] == ["2"] * 3 + ["0"] * 3
    assert ["number" in answer for answer in answers[:-1]] == [False] * 3 + [True] * 3
    assert said.stderr.count("unknown") == 3
    assert "Traceback" not in said.stderr

"""Modules that register parts: named by a configuration, or by the environment; never by a bundle."""

import json
import pickle
import sys

import polars as pl
import pytest

import h2rec.registry
from h2rec.data.readers import open_table
from h2rec.data.readers.formats import READERS
from h2rec.errors import BundleError, ConfigError, DataError
from h2rec.models import MODELS
from h2rec.models.backbones import BACKBONES
from h2rec.python.fit import fit
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.manifest import Manifest
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.semantic_ids.quantizers import QUANTIZERS

MODULE = """
from h2rec.models.backbones import BACKBONES
from h2rec.models.backbones.gru import GRUBackbone

@BACKBONES.register("mine")
class Mine(GRUBackbone):
    pass
"""
CODES_AND_DATA = """
import polars as pl
from h2rec.data.readers.formats import READERS
from h2rec.data.readers.table import Reader, Table
import torch
from h2rec.semantic_ids.quantizers import QUANTIZERS
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.quantizers.registry import QuantizerSettings

class MineSettings(QuantizerSettings):
    offset: int = 0

@QUANTIZERS.register("mine")
class Mine(Quantizer):
    settings_class = MineSettings
    dimension = property(lambda self: len(self.numbers))

    def learn(self, embeddings, seed, checkpoint):
        self.numbers = torch.from_numpy(embeddings.max(axis=0))

    def encode_points(self, points):
        whole = (points[:, 0].abs() * 1000).long() + self.settings.offset
        digits = [whole // self.codebook_size**level for level in range(self.levels)]
        return torch.stack(digits, dim=1) % self.codebook_size

    def decode_codes(self, codes):
        return self.numbers.expand(len(codes), -1)

    def tensors(self):
        return {"numbers": self.numbers}

    def restore(self, tensors):
        self.numbers = tensors["numbers"]

@READERS.register("lines")
class Lines(Reader):
    @classmethod
    def open(cls, path):
        rows = [line.split("|") for line in path.read_text().splitlines()]
        names, *rest = rows
        records = [dict(zip(names, row)) for row in rest]
        frame = pl.DataFrame(records, schema=dict.fromkeys(names, pl.String))
        return Table(path, tuple(names), scan=frame.lazy, records=lambda: enumerate(records, start=2))
"""
TINY = {
    "preset": "light",
    "data": {"source": "made-shop"},
    "text": {"encoder": "tfidf", "dim": 16},
    "model": {"backbone": "mine", "dim": 16, "layers": 1, "max_length": 10},
    "train": {"epochs": 1, "evaluate_every": 1, "evaluate_users": 50},
    "runtime": {"threads": 1, "device": "cpu"},
}


@pytest.fixture
def forgotten(tmp_path, monkeypatch):
    """A module `h2rec_mine` that can be imported; called, what is known of it is forgotten, as in a new process."""
    (tmp_path / "h2rec_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("H2REC_PLUGINS", raising=False)

    def forget():
        for registry in (BACKBONES, QUANTIZERS, READERS):
            parts = {k: v for k, v in registry._parts.items() if k not in ("mine", "lines")}
            monkeypatch.setattr(registry, "_parts", parts)
        monkeypatch.setattr(h2rec.registry, "_started", set())
        monkeypatch.delitem(sys.modules, "h2rec_mine", raising=False)

    forget()
    yield forget
    sys.modules.pop("h2rec_mine", None)


def test_a_configuration_names_the_module_of_its_parts(forgotten):
    with pytest.raises(ConfigError, match="unknown backbone 'mine'"):
        RunConfig.parse(TINY)
    config = RunConfig.parse({**TINY, "plugins": ["h2rec_mine"]})
    assert BACKBONES.get(config.model.backbone.name).__module__ == "h2rec_mine"
    forgotten()
    assert RunConfig.parse_resolved(config.model_dump(mode="json")) == config


def test_the_environment_names_modules_for_every_command(forgotten, monkeypatch):
    monkeypatch.setenv("H2REC_PLUGINS", "json, h2rec_mine,")
    assert "mine" in BACKBONES.names()
    forgotten()
    config = RunConfig.parse(TINY)
    assert config.plugins == []
    assert config.key == RunConfig.parse({**TINY, "plugins": ["h2rec_mine"]}).key


def test_a_quantizer_and_a_reader_of_ones_own(forgotten, tmp_path):
    (tmp_path / "h2rec_mine.py").write_text(CODES_AND_DATA)
    rows = [f"u{user}|i{(user + 7 * step) % 30}|{step}" for user in range(40) for step in range(5)]
    (tmp_path / "buys.lines").write_text("\n".join(["user_id|item_id|timestamp", *rows]))
    kinds = ("red mug", "blue lamp", "green chair")
    items = [f"i{item}|{kinds[item % 3]} model {item}" for item in range(30)]
    (tmp_path / "items.lines").write_text("\n".join(["item_id|title", *items]))
    data = {"interactions": str(tmp_path / "buys.lines"), "items": str(tmp_path / "items.lines")}
    own = {"plugins": ["h2rec_mine"], "data": data, "preset": "hid_sid_add"}
    small = {**TINY, "model": {"dim": 8, "layers": 1}, "evaluate": {"protocols": ["full"]}}
    codes = {"quantizer": {"name": "mine", "offset": 3}, "levels": 2, "codebook_size": 4}
    recommender = fit({**small, **own, "semantic_ids": codes}, tmp_path / "run").recommender
    assert recommender.bundle.semantic_ids.codebook_sizes == (4, 4)
    fresh = pl.DataFrame({"item_id": ["new"], "title": ["red mug model 31"]})
    add_items(recommender.bundle, fresh, tmp_path / "grown")
    assert "new" in Recommender.load(tmp_path / "grown").item_ids


def test_an_unknown_quantizer_or_ending_is_told_with_the_known_ones(forgotten, tmp_path):
    with pytest.raises(ConfigError, match="unknown quantizer 'mine'"):
        RunConfig.parse({**TINY, "model": {}, "semantic_ids": {"quantizer": "mine"}})
    (tmp_path / "buys.lines").write_text("a")
    with pytest.raises(DataError, match=r"unknown format '\.lines'"):
        open_table(tmp_path / "buys.lines")


def test_our_own_parts_import_nothing_of_others(forgotten, monkeypatch):
    monkeypatch.setenv("H2REC_PLUGINS", "h2rec_nowhere")
    assert BACKBONES.get("sasrec").__name__ == "SASRecBackbone"
    assert MODELS.get("branches").__name__ == "BranchModel"
    with pytest.raises(ConfigError, match=r"H2REC_PLUGINS: the module 'h2rec_nowhere' can't be imported"):
        BACKBONES.get("mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"plugins: the module 'h2rec_mine' can't be imported \(ModuleNotFoundError"),
        ("1 / 0", r"plugins: the module 'h2rec_mine' can't be imported \(ZeroDivisionError"),
    ],
)
def test_a_module_that_can_not_be_imported_is_told_every_time(forgotten, tmp_path, text, message):
    path = tmp_path / "h2rec_mine.py"
    path.unlink() if text is None else path.write_text(text)
    for _ in range(2):
        with pytest.raises(ConfigError, match=message) as caught:
            RunConfig.parse({**TINY, "plugins": ["h2rec_mine"]}, source="shop.yaml")
        assert caught.value.message.startswith("shop.yaml: ")
        # What is raised while it is imported is not mended by installing it.
        assert (caught.value.hint is None) == (text is not None)


@pytest.mark.parametrize("plugins", ["h2rec_mine", [7], {"a": 1}])
def test_what_is_no_list_of_modules_is_told(forgotten, plugins):
    values = {**TINY, "model": {"name": "mine"}, "plugins": plugins}
    with pytest.raises(ConfigError, match="plugins: expected a list of modules"):
        RunConfig.parse(values)
    assert "h2rec_mine" not in sys.modules


def test_a_process_that_is_handed_a_configuration_knows_its_parts(forgotten):
    config = RunConfig.parse({**TINY, "plugins": ["h2rec_mine"]})
    handed = pickle.dumps(config)
    forgotten()
    assert pickle.loads(handed) == config
    assert "mine" in BACKBONES.names()


def test_a_bundle_needs_its_module_and_names_none(forgotten, tmp_path, monkeypatch):
    fit({**TINY, "plugins": ["h2rec_mine"]}, tmp_path / "run")
    bundle = tmp_path / "run" / "bundle"
    forgotten()
    with pytest.raises(BundleError, match="unknown backbone 'mine'"):
        Recommender.load(bundle)
    values = json.loads((bundle / "manifest.json").read_text())
    values["model"]["backbone"] = {"name": "sasrec"}
    Manifest.parse(values)
    with pytest.raises(ConfigError, match="unknown key 'plugins'"):
        Manifest.parse({**values, "plugins": ["h2rec_mine"]})
    assert "h2rec_mine" not in sys.modules
    monkeypatch.setenv("H2REC_PLUGINS", "h2rec_mine")
    recommender = Recommender.load(bundle)
    known = recommender.bundle.items["item_id"][:3].to_list()
    assert len(recommender.recommend(known, k=5).items) == 5

"""The page on parts of one's own: its examples pass the contract tests, and train, grow old and answer in a run."""

import re
import sys
from pathlib import Path

import pytest
import yaml

import h2rec.registry
from h2rec.files import read_yaml
from h2rec.losses import RANKING_LOSSES
from h2rec.models import MODELS
from h2rec.models.backbones import BACKBONES
from h2rec.models.branches import BRANCHES
from h2rec.python.fit import fit
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
PARTS, TESTS = ["my_parts"], "def test_contracts"
TINY = {
    "preset": "light",
    "data": {"source": "made-shop"},
    "text": {"encoder": "tfidf", "dim": 16},
    "semantic_ids": {"levels": 2, "codebook_size": 8},
    "train": {"epochs": 1, "evaluate_every": 1, "evaluate_users": 50},
    "evaluate": {"protocols": ["full"]},
    "runtime": {"threads": 1, "device": "cpu"},
}
SMALL = {"dim": 16, "layers": 1, "max_length": 10}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """The page's file of parts, in a folder that modules are imported from."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_parts.py").write_text("\n".join(block for block in blocks if TESTS not in block))
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (BACKBONES, BRANCHES, MODELS, RANKING_LOSSES):
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    monkeypatch.setattr(h2rec.registry, "_started", set())
    yield next(block for block in blocks if TESTS in block)
    sys.modules.pop("my_parts", None)


def test_the_examples_pass_the_contract_tests(parts, monkeypatch):
    monkeypatch.setenv("H2REC_PLUGINS", "my_parts")
    names = {}
    exec(parts, names)
    names["test_contracts"]()


def test_what_the_page_says_in_yaml_is_known(parts):
    inline = [yaml.safe_load(code) for code in re.findall(r"`(\{?[a-z]+: \{[^`]*\}|\{[^`]*\})`", PAGE)]
    assert len(inline) == 5
    for values in inline:
        RunConfig.parse(
            {**TINY, "plugins": PARTS, **{k: v for k, v in values.items() if "margin" not in str(v)}}
        )


@pytest.mark.parametrize(
    "model",
    [
        {**SMALL, "backbone": {"name": "conv"}, "branches": {"recency": {"kind": "recency", "weight": 0.5}}},
        {"name": "markov", "size": 8},
    ],
    ids=["backbone and branch", "model"],
)
def test_they_train_and_are_bundled_and_served(parts, model, tmp_path):
    asked = {**TINY, "plugins": PARTS, "model": model, "loss": {"ranking": "hinge"}}
    model_of_run = fit(asked, tmp_path / "run")
    assert read_yaml(tmp_path / "run" / "config.yaml")["plugins"] == PARTS
    known = model_of_run.recommender.bundle.items["item_id"][:3].to_list()
    answer = Recommender.load(tmp_path / "run" / "bundle").recommend(known, k=5, explain=True)
    assert len(answer.items) == 5

"""Whoever reads a bundle loads nothing of what makes one."""

import json
import os
import subprocess
import sys

import pytest

from made_bundles import make_bundle

ROOMS = (
    "h2rec.training",
    "h2rec.research",
    "h2rec.run",
    "h2rec.models.baselines",
    "h2rec.losses",
    "h2rec.cli",
)
NEEDED = {f"h2rec.losses{name}" for name in ("", ".protocol", ".contrastive", ".positives")}
"""What models themselves name of the losses: the terms that tie branches, and the base of what is minimised."""

READ = """
import json, sys
from h2rec import Recommender
recommender = Recommender.load(sys.argv[1])
answer = recommender.recommend(["i1", "i5"], k=3)
modules = sorted(sys.modules)
import h2rec.testing
framework = "pytest" in sys.modules
print(json.dumps({"items": len(answer.items), "modules": modules, "framework": framework}))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What a process has loaded that read a bundle and was asked for items, and then loaded the checks of parts."""
    bundle = make_bundle(tmp_path_factory.mktemp("light") / "bundle")
    words = [sys.executable, "-c", READ, str(bundle)]
    ended = subprocess.run(words, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_checks_of_parts_need_no_test_framework(read):
    assert not read["framework"]


@pytest.mark.parametrize("room", ROOMS)
def test_reading_a_bundle_loads_nothing_that_trains_or_compares(read, room):
    assert read["items"] == 3
    found = {name for name in read["modules"] if name == room or name.startswith(f"{room}.")}
    assert found - NEEDED == set()


def test_what_a_model_needs_is_loaded(read):
    assert {"h2rec.models.branch_model", "h2rec.models.branches.codes", "h2rec.retrieval.bundle"} <= set(
        read["modules"]
    )
    # Other backbones and models than the one that is read are not.
    assert not {"h2rec.models.backbones.gru", "h2rec.models.baselines.llm_esr"} & set(read["modules"])


COMMANDS = """
import sys
from h2rec.cli.main import COMMANDS, make_app
for name in sys.argv[1:]:
    make_app([name])
print(*sorted(sys.modules))
"""


def test_a_command_starts_without_what_it_may_never_use():
    asked = ["run", "train", "evaluate", "bundle", "compare", "recommend", "update", "export", "serve"]
    words = [sys.executable, "-c", COMMANDS, *asked]
    loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert {"h2rec.run.pipeline", "h2rec.research.suite.report", "torch"} <= set(loaded)
    # Seconds each, and only some stages want them.
    slow = {"sklearn", "scipy.stats", "pandas", "matplotlib", "fastapi", "faiss", "ray", "transformers"}
    assert slow & set(loaded) == set()

"""The house keeps its measures: size, settings, and who may ask what a part is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import h2rec
from h2rec.losses import RANKING_LOSSES
from h2rec.models import MODELS
from h2rec.models.backbones.registry import BACKBONES
from h2rec.models.branches import BRANCHES
from h2rec.registry import Registry
from h2rec.research.search.space import value_at
from h2rec.run.config import RunConfig
from h2rec.semantic_ids.quantizers import QUANTIZERS
from h2rec.settings import Settings

SOURCE = Path(h2rec.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
BY_NAME: dict[str, Registry] = {
    "model": MODELS,
    "model.branches": BRANCHES,
    "model.backbone": BACKBONES,
    "loss.ranking": RANKING_LOSSES,
    "semantic_ids.quantizer": QUANTIZERS,
}
"""Sections whose settings depend on a name."""


def leaves(settings: type[Settings], above: str = "") -> Iterator[str]:
    """Dotted names of all settings, those of every named part among them, each once."""
    for name, field in settings.model_fields.items():
        key = f"{above}{name}"
        if key in BY_NAME:
            for part in BY_NAME[key].names():
                own = BY_NAME[key].get(part).settings_class
                yield from leaves(own, f"{key}.*." if key == "model.branches" else f"{key}.")
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]
        for part in inner:
            yield from leaves(part, f"{key}.")
        if not inner:
            yield key


def test_settings_are_few_and_each_is_documented():
    found = sorted(set(leaves(RunConfig)))
    assert len(found) <= 80, found
    assert {"data.interactions", "model.branches.*.window", "semantic_ids.quantizer.epochs"} <= set(found)


def test_25_settings_are_told_first():
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([a-z_.*]+)` \|", page, re.MULTILINE)
    assert len(told) == len(set(told)) == 25
    assert set(told) <= set(leaves(RunConfig))
    assert f"lists all {len(set(leaves(RunConfig)))}." in page
    # Defaults that are told as a value: a name in marks, or a number.
    defaults = re.findall(r"^\| `([a-z_.]+)` \| (?:`([a-z0-9_]+)`|([0-9.]+)) \|", page, re.MULTILINE)
    config = RunConfig.parse({"data": {"interactions": "i.csv"}})
    assert len(defaults) > 12
    assert {key: name or number for key, name, number in defaults} == {
        key: str(value_at(config, key)) for key, *_ in defaults
    }


@pytest.mark.parametrize("registry", [None, *BY_NAME.values()], ids=lambda r: r.what if r else "run")
def test_every_setting_says_what_it_does(registry):
    classes = [RunConfig] if registry is None else [registry.get(n).settings_class for n in registry.names()]

    def undocumented(settings: type[Settings]) -> Iterator[str]:
        for name, field in settings.model_fields.items():
            if not field.description:
                yield f"{settings.__name__}.{name}"
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, Settings):
                    yield from undocumented(kind)

    assert [name for settings in classes for name in undocumented(settings)] == []


def code_lines(path: Path) -> int:
    """Lines of a file that are neither blank, nor a comment, nor of a docstring."""
    text = path.read_text(encoding="utf-8")
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            told |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for number, line in lines if number not in told and line.strip() and line.strip()[0] != "#")


def test_the_source_is_small_and_so_is_every_file():
    assert [path.name for path in FILES if len(path.read_text().splitlines()) > 300] == []
    assert sum(map(code_lines, FILES)) <= 28_390


def asks_what_a_part_is(path: Path) -> list[str]:
    """Calls of hasattr and isinstance, and getattr with a default, that ask an object of our models what it is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("h2rec.models")
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        named = {
            part.id for argument in node.args[1:] for part in ast.walk(argument) if isinstance(part, ast.Name)
        }
        subject = ast.unparse(node.args[0]) if node.args else ""
        of_model = any(word in subject for word in ("model", "branch", "backbone"))
        if node.func.id == "isinstance" and named & ours:
            found.append(ast.unparse(node))
        if node.func.id in ("hasattr", "getattr") and of_model:
            found.append(ast.unparse(node))
    return found


def test_what_a_model_can_do_is_in_its_contract():
    rooms = [path for path in FILES if path.relative_to(SOURCE).parts[0] not in ("models", "testing")]
    assert {path.name: asked for path in rooms if (asked := asks_what_a_part_is(path))} == {}


def test_the_search_for_such_questions_finds_them(tmp_path):
    asked = tmp_path / "asked.py"
    asked.write_text(
        "from h2rec.models.branch_model import BranchModel\n"
        "isinstance(x, BranchModel | int); hasattr(model, 'grow'); getattr(self.branch, 'grow', None)\n"
        "isinstance(x, int); getattr(settings, 'name')\n"
    )
    assert len(asks_what_a_part_is(asked)) == 3


def test_no_two_files_of_tests_have_one_name():
    """Pytest imports them by their bare names, and collects only the first."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))

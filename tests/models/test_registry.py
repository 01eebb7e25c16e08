"""Parts by name: ours, registered ones, and those of installed packages."""

import sys
from importlib import metadata
from types import ModuleType

import pytest

import h2rec.registry
from h2rec.errors import ConfigError
from h2rec.models.backbones.gru import GRUBackbone
from h2rec.models.backbones.protocol import Backbone
from h2rec.registry import Registry


class Mine(GRUBackbone):
    """A backbone of another package."""


class Other(GRUBackbone):
    """And another."""


PACKAGE = ModuleType("h2rec_mine")
PACKAGE.Mine, PACKAGE.Other = Mine, Other
PACKAGE.function = lambda sizes, settings: None
Mine.__module__ = Other.__module__ = "h2rec_mine"


@pytest.fixture
def make(monkeypatch):
    """A registry, on a machine whose packages have the given entry points."""
    monkeypatch.setitem(sys.modules, "h2rec_mine", PACKAGE)

    def make(*points):
        installed = [metadata.EntryPoint(name, place, "h2rec.backbones") for name, place in points]

        def entry_points(*, group):
            return metadata.EntryPoints(point for point in installed if point.group == group)

        monkeypatch.setattr(h2rec.registry, "entry_points", entry_points)
        own = {"gru4rec": "h2rec.models.backbones.gru:GRUBackbone", "broken": "h2rec.nowhere:Nothing"}
        base = "h2rec.models.backbones.protocol:Backbone"
        return Registry("backbone", "h2rec.backbones", own, base)

    return make


def test_our_own_are_imported_when_asked_for(make):
    registry = make()
    assert registry.names() == ["gru4rec", "broken"]
    assert "broken" in registry
    assert registry.get("gru4rec") is GRUBackbone
    with pytest.raises(ModuleNotFoundError):
        registry.get("broken")


def test_a_part_is_registered_by_its_decorator(make):
    registry = make()
    assert registry.register("mine")(Mine) is Mine
    assert registry.get("mine") is Mine
    assert registry.names() == ["gru4rec", "broken", "mine"]
    registry.register("mine")(Mine)  # a module that is read twice
    with pytest.raises(ConfigError, match="there is a backbone 'mine' already"):
        registry.register("mine")(Other)
    with pytest.raises(ConfigError, match="there is a backbone 'gru4rec' already"):
        registry.register("gru4rec")(Other)
    assert registry.get("gru4rec") is GRUBackbone


def test_a_part_of_an_installed_package_needs_no_import(make):
    registry = make(("mine", "h2rec_mine:Mine"), ("other", "h2rec_mine:Other"))
    assert registry.names() == ["gru4rec", "broken", "mine", "other"]
    assert registry.get("mine") is Mine
    with pytest.raises(ConfigError, match="there is a backbone 'other' already"):
        registry.register("other")(Mine)


def test_a_part_may_be_both_decorated_and_installed(make, monkeypatch):
    """The module of an entry point registers its part while it is loaded."""
    registry = make(("mine", "h2rec_mine:Mine"))
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: registry.register("mine")(Mine))
    assert registry.get("mine") is Mine
    assert registry.names() == ["gru4rec", "broken", "mine"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("h2rec_nowhere:Mine", r"'mine' can't be imported \(ModuleNotFoundError: .*h2rec_nowhere"),
        ("h2rec_mine:Nothing", r"'mine' can't be imported \(AttributeError"),
        ("h2rec_mine:function", r"the backbone 'mine' is <function .*\n.*subclass of .*protocol\.Backbone"),
        ("h2rec.registry:Registry", r"the backbone 'mine' is <class .*\n.*subclass of .*protocol\.Backbone"),
    ],
)
def test_a_package_that_can_not_be_used_is_told_and_spoils_nothing_else(make, place, message):
    registry = make(("mine", place))
    assert registry.get("gru4rec") is GRUBackbone
    with pytest.raises(ConfigError, match=message):
        registry.get("mine")


def test_a_module_that_raises_what_it_likes_is_an_error_with_its_place(make, monkeypatch):
    registry = make(("mine", "h2rec_mine:Mine"))

    def fails(self):
        raise ZeroDivisionError("at import")

    monkeypatch.setattr(metadata.EntryPoint, "load", fails)
    with pytest.raises(ConfigError, match=r"ZeroDivisionError: at import\)\n.*entry point h2rec_mine:Mine"):
        registry.get("mine")


def test_what_is_none_of_its_kind_is_not_registered(make):
    registry = make()
    with pytest.raises(ConfigError, match="should be a subclass"):
        registry.register("mine")(dict)
    assert "mine" not in registry
    assert issubclass(registry.register("mine")(Mine), Backbone)


def test_two_packages_of_one_name_are_told(make, caplog):
    registry = make(
        ("mine", "h2rec_mine:Mine"), ("mine", "h2rec_mine:Other"), ("gru4rec", "h2rec_mine:Other")
    )
    assert registry.get("mine") is Mine
    assert registry.get("gru4rec") is GRUBackbone
    assert (
        "two backbones are called 'mine': h2rec_mine:Mine is used, and h2rec_mine:Other is not" in caplog.text
    )
    assert "two backbones are called 'gru4rec'" in caplog.text


@pytest.mark.parametrize("name", ["gru4rek", "min", "zzz", "h2rec_mine:Mine", ""])
def test_an_unknown_name_is_told_with_the_nearest(make, name):
    registry = make(("mine", "h2rec_mine:Mine"))
    with pytest.raises(ConfigError, match=rf"unknown backbone '{name}'") as caught:
        registry.get(name)
    nearest = {"gru4rek": "gru4rec", "min": "mine"}.get(name)
    assert "known are: gru4rec, broken, mine. A part of another package needs" in caught.value.hint
    assert (f"did you mean '{nearest}'?" in caught.value.hint) == (nearest is not None)

"""Presets: small YAML files that name a whole run, merged under what the user's file says."""

import difflib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from h2rec.errors import ConfigError
from h2rec.models import MODELS

DEFAULT = "h2rec"

_ORDER = ("h2rec", "paper", "light")
_FOLDER = files("h2rec.run") / "presets"


def preset_names() -> list[str]:
    """Names of all presets: what most users want first, then by name."""
    names = sorted(
        path.name.removesuffix(".yaml") for path in _FOLDER.iterdir() if path.name.endswith(".yaml")
    )
    return [*_ORDER, *(name for name in names if name not in _ORDER)]


def preset_title(name: str) -> str:
    """First comment of a preset's file."""
    lines = preset_text(name).splitlines()
    comment = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return " ".join(comment)


def preset_text(name: str) -> str:
    """Text of a preset's file. Raises `ConfigError` if there is none of that name."""
    if name not in preset_names():
        raise ConfigError(f"preset: unknown preset '{name}'", _nearest(name))
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, preset_names(), n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}h2rec presets lists them"


def preset_values(name: str) -> dict[str, Any]:
    """Plain values of a preset."""
    values: dict[str, Any] = yaml.safe_load(preset_text(name))
    return values


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put a user's values over those of the preset that they name; the user's win.

    ``model: {name: sasrec}`` is short for ``preset: sasrec``.

    Raises `ConfigError` if there is no such preset or model, or the values name two.
    """
    own = dict(values)
    name = own.get("preset")
    section = own.get("model")
    if isinstance(section, Mapping) and isinstance(section.get("name"), str):
        short = section["name"]
        if short not in preset_names() and short not in MODELS:
            raise ConfigError(f"model.name: unknown model '{short}'", _nearest(short))
        if short in preset_names() and (short not in MODELS or name is None):
            if name not in (None, short):
                raise ConfigError(f"preset is '{name}' and model.name '{short}': two presets", "name one")
            name = short
            if short not in MODELS:
                own["model"] = {key: value for key, value in section.items() if key != "name"}
    name = DEFAULT if name is None else name
    if not isinstance(name, str):
        raise ConfigError(f"preset: expected a name, found {name!r}", "h2rec presets lists them")
    merged: dict[str, Any] = merge(preset_values(name), own)
    return merged | {"preset": name}


def merge(under: Any, over: Any) -> Any:
    """Merge mappings, key by key; what stands in `over` wins.

    Mappings that say by ``name`` or ``kind`` that they are different things are not mixed.
    """
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return over
    for key in ("name", "kind"):
        default = "branches" if key == "name" and "branches" in under else None
        if isinstance(over.get(key), str) and over[key] != under.get(key, default):
            return dict(over)
    return {**under, **{key: merge(under.get(key), value) for key, value in over.items()}}

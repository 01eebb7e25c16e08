"""Which settings a search varies, and within which bounds."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from h2rec.errors import ConfigError
from h2rec.files import read_yaml
from h2rec.run.config import RunConfig
from h2rec.settings import Settings


class Range(Settings):
    """Values that one setting may take: between two bounds, or one of a list."""

    low: float | None = None
    """Lower bound; whole numbers are searched as choices."""
    high: float | None = None
    """Upper bound."""
    log: bool = False
    """Search the logarithm of the value."""
    choices: list[Any] | None = Field(None, min_length=1)
    """The values to choose from, instead of bounds."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Range":
        if self.choices is None:
            if self.low is None or self.high is None or self.low >= self.high:
                raise ValueError("give 'choices', or 'low' and a greater 'high'")
            if self.log and self.low <= 0:
                raise ValueError("'log' needs a 'low' above zero")
        elif self.low is not None or self.high is not None or self.log:
            raise ValueError("'choices' goes without 'low', 'high' and 'log'")
        return self

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        return isinstance(value, int | float) and self.low <= value <= self.high


SearchSpace = Mapping[str, Range]
"""Ranges by dotted key of the configuration."""


def default_space(config: RunConfig) -> SearchSpace:
    """Return the ranges that the settings name themselves (``search`` in a field's schema).

    What decides most for every model is searched for every model; wider ranges need more trials than one can spare for
    twenty models.
    """
    model = config.model
    space = dict(_named(model, "model"))
    if model.is_trained:
        space = dict(_named(config.train, "train")) | space
    return {key: among for key, among in space.items() if key.removeprefix("model.") not in model.unsearched}


def _named(settings: Settings, above: str) -> Iterator[tuple[str, Range]]:
    """Ranges that a section's fields name, by dotted key."""
    for name, field in type(settings).model_fields.items():
        key, value = f"{above}.{name}", getattr(settings, name)
        extra = field.json_schema_extra
        searched = extra.get("search") if isinstance(extra, dict) else None
        if isinstance(searched, dict):
            yield key, Range.parse(searched, source=key)
        for inner, part in {"": value}.items() if isinstance(value, Settings) else _parts(value):
            yield from _named(part, f"{key}.{inner}" if inner else key)


def _parts(value: Any) -> Iterable[tuple[str, Settings]]:
    inner = value.items() if isinstance(value, Mapping) else ()
    return ((name, part) for name, part in inner if isinstance(part, Settings))


def read_space(path: Path) -> SearchSpace:
    """Read ranges from a YAML file: ``train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}``.

    Raises `ConfigError` if it is no such file, or a range is not one.
    """
    return {
        key: Range.parse(_mapping(path, key, value), source=f"{path}: {key}")
        for key, value in read_yaml(path).items()
    }


def value_at(config: RunConfig, key: str) -> Any:
    """Value of a dotted key. Raises `ConfigError` if the configuration has no such key."""
    node: Any = config.model_dump(mode="json")
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise ConfigError(f"search space: the configuration has no key '{key}'")
        node = node[part]
    return node


def with_values(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with some dotted keys set, validated anew.

    Raises `ConfigError` if a value does not fit its key.
    """
    plain = config.model_dump(mode="json")
    for key, value in values.items():
        *sections, last = key.split(".")
        node = plain
        for section in sections:
            node = node[section]
        node[last] = value
    return RunConfig.parse_resolved(plain, source="search")


def _mapping(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key}: expected {{low: .., high: ..}} or {{choices: [..]}}")
    return value

"""Which settings a search varies, and within which bounds: the same for all models, and a few of each model's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from h2rec.errors import ConfigError
from h2rec.experiments.config import RunConfig, read_yaml
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

SHARED: dict[str, Range] = {
    "train.learning_rate": Range(low=1e-3, high=1e-2, log=True),
    "train.batch_tokens": Range(choices=[512, 2048]),
    "model.dropout": Range(low=0.2, high=0.6),
    "model.score.temperature": Range(low=0.05, high=0.15, log=True),
}
"""What decides most for every model; wider ranges need more trials than one can spare for twenty models."""
OF_BRANCHES: dict[str, Range] = {
    "model.sid_dropout": Range(choices=[None, 0.2, 0.3, 0.4, 0.5]),
    "model.score.sid_temperature": Range(choices=[None, 0.05, 0.06, 0.08, 0.1]),
    "train.sid_learning_rate": Range(choices=[None, 0.002, 0.003, 0.0055, 0.01]),
}
"""What two branches may have of their own; None is what the other branch has."""
OF_MODEL: dict[str, dict[str, Range]] = {
    "h2rec": {"loss.beta": Range(choices=[0.0, 0.1, 0.5])} | OF_BRANCHES,
    "two_hid": OF_BRANCHES,
    "three_hid": OF_BRANCHES,
    "bert4rec": {"model.mask_share": Range(low=0.1, high=0.6)},
    "llm_esr": {
        "model.llm_esr.distillation": Range(low=0.01, high=1.0, log=True),
        "model.llm_esr.residual": Range(choices=[True, False]),
    },
    # Tables that are updated alike (lazily, above `train.lazy_rows`) and large enough for most prefixes to have a row.
    "pg_sid": {"model.pg_sid.rows": Range(choices=[131_072, 262_144, 1_048_576])},
    "pop": {"model.pop.window": Range(choices=[None, 0.1, 0.2, 0.4])},
}


def default_space(config: RunConfig) -> SearchSpace:
    """Return the ranges that all models share and those of the model's own."""
    model = config.model
    if model.name == "pop":
        return OF_MODEL["pop"]
    space = SHARED | OF_MODEL.get(model.name, {})
    if model.name == "h2rec" and not config.loss.beta:
        del space["loss.beta"]  # a row without the alignment stays without
    if model.name == "h2rec" and model.backbone == "bert4rec":
        space |= OF_MODEL["bert4rec"]
    if model.score.kind == "inner":
        space = {key: among for key, among in space.items() if not key.endswith("temperature")}
    return space


def read_space(path: Path) -> SearchSpace:
    """Read ranges from a YAML file: ``train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}``.

    Raises
    ------
    ConfigError
        If it is no such file, or a range is not one.
    """
    return {
        key: Range.parse(_mapping(path, key, value), source=f"{path}: {key}")
        for key, value in read_yaml(path).items()
    }


def value_at(config: RunConfig, key: str) -> Any:
    """Value of a dotted key.

    Raises
    ------
    ConfigError
        If the configuration has no such key.
    """
    node: Any = config.model_dump(mode="json")
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise ConfigError(f"search space: the configuration has no key '{key}'")
        node = node[part]
    return node


def with_values(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with some dotted keys set, validated anew.

    Raises
    ------
    ConfigError
        If a value does not fit its key.
    """
    plain = config.model_dump(mode="json")
    for key, value in values.items():
        *sections, last = key.split(".")
        node = plain
        for section in sections:
            node = node[section]
        node[last] = value
    return RunConfig.parse(plain, source="search")


def _mapping(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key}: expected {{low: .., high: ..}} or {{choices: [..]}}")
    return value

"""The base of every settings class, and errors that name the nearest valid key."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from h2rec.errors import ConfigError


class Settings(BaseModel):
    """Immutable, validated settings; an unknown key is an error.

    Every component keeps its own subclass beside it. Attribute docstrings are the reference.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, source: str = "configuration") -> Self:
        """Validate plain values.

        Raises `ConfigError`, naming the key, what was expected and, for an unknown key, the nearest valid one.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            lines = [_explain(cls, dict(entry)) for entry in error.errors()]
            raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def by_name(
    base: type[Settings], class_of: Callable[[str], type[Settings]], *, what: str, source: str
) -> BeforeValidator:
    """Validate the settings of a named part: its name alone, a mapping with its name, or settings of class `base`.

    `class_of` gives the settings class of the part that has a name.
    """

    def parse(value: Any) -> Settings:
        values = value.model_dump() if isinstance(value, base) else value
        values = {"name": values} if isinstance(values, str) else values
        if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
            raise ValueError(f"expected the name of a {what}, or a mapping with its name")
        return class_of(values["name"]).parse(values, source=source)

    return BeforeValidator(parse)


def _explain(root: type[Settings], entry: Mapping[str, Any]) -> str:
    location = [part for part in entry["loc"] if isinstance(part, str)]
    dotted = ".".join(str(part) for part in entry["loc"])
    if entry["type"] != "extra_forbidden":
        message = str(entry["msg"]).removeprefix("Value error, ")
        return f"{dotted}: {message}" if dotted else message
    known = _keys_at(root, location[:-1])
    nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    elsewhere = [path for path in _all_paths(root) if path.split(".")[-1] == location[-1]]
    if elsewhere:
        return f"unknown key '{dotted}', did you mean '{elsewhere[0]}'?"
    if nearest:
        return f"unknown key '{dotted}', did you mean '{'.'.join([*location[:-1], nearest[0]])}'?"
    return f"unknown key '{dotted}', valid keys are: {', '.join(known)}"


def _keys_at(root: type[Settings], path: list[str]) -> list[str]:
    node: Any = root
    for part in path:
        field = node.model_fields.get(part)
        if field is None:  # the name of an entry, in a mapping of settings
            continue
        nested = _settings_class(field.annotation)
        if nested is None:
            return []
        node = nested
    return list(node.model_fields)


def _all_paths(root: type[Settings], prefix: str = "") -> list[str]:
    paths = []
    for name, field in root.model_fields.items():
        paths.append(prefix + name)
        nested = _settings_class(field.annotation)
        if nested is not None:
            paths.extend(_all_paths(nested, f"{prefix}{name}."))
    return paths


def _settings_class(annotation: Any) -> type[Settings] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Settings)), None)

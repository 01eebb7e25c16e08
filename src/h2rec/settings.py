"""The base of every settings class, and errors that name the nearest valid key."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from h2rec.errors import ConfigError

_MEANT = 3
"""Keys that a hint names at most."""


class Settings(BaseModel):
    """Immutable, validated settings; an unknown key is an error.

    Every component keeps its own subclass beside it. Attribute docstrings are the reference.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    @classmethod
    def named_parts(cls) -> Mapping[str, "type[Settings]"]:
        """For hints: by field where a name chooses the part, the settings of the default part."""
        return {}

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
    paths = _all_paths(root)
    meant = _ending(paths, location[-1])
    if not meant and nearest:
        meant = [".".join([*location[:-1], nearest[0]])]
    if not meant:
        names = [path.rpartition(".")[2] for path in paths]
        meant = _ending(paths, *difflib.get_close_matches(location[-1], names, n=1, cutoff=0.75))
    if meant:
        named = " or ".join(f"'{path}'" for path in meant[:_MEANT])
        return f"unknown key '{dotted}', did you mean {named}?"
    return f"unknown key '{dotted}', valid keys are: {', '.join(known)}"


def _ending(paths: list[str], *names: str) -> list[str]:
    """Paths whose last key has one of these names."""
    return [path for path in paths if path.rpartition(".")[2] in names]


def _keys_at(root: type[Settings], path: list[str]) -> list[str]:
    node: Any = root
    for part in path:
        field = node.model_fields.get(part)
        if field is None:  # the name of an entry, in a mapping of settings
            continue
        nested = node.named_parts().get(part) or _settings_class(field.annotation)
        if nested is None:
            return []
        node = nested
    return list(node.model_fields)


def _all_paths(root: type[Settings], prefix: str = "") -> list[str]:
    paths = []
    named = root.named_parts()
    # What a name chooses is mostly what is meant: the model before the text encoder.
    for name, field in sorted(root.model_fields.items(), key=lambda entry: entry[0] not in named):
        paths.append(prefix + name)
        nested = named.get(name) or _settings_class(field.annotation)
        if nested is not None:
            paths.extend(_all_paths(nested, f"{prefix}{name}."))
    return paths


def _settings_class(annotation: Any) -> type[Settings] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Settings)), None)

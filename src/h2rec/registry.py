"""Parts that settings name: ours, and those that other packages bring."""

import difflib
import importlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from h2rec.errors import ConfigError

logger = logging.getLogger(__name__)

PLUGINS = "H2REC_PLUGINS"
"""Environment variable with the names of modules that register parts, separated by commas."""

Part = TypeVar("Part", bound=type)


class Registry(Generic[Part]):
    """Parts of one kind by name; a part is imported when it is asked for.

    Another package adds a part with the decorator `register`, in a module that is imported, or with an entry point
    of `group` in its metadata, which needs no import; or with both. The modules that `H2REC_PLUGINS` names are imported
    before a part of another package is looked for.

    Parameters
    ----------
    what
        What the parts are, for messages: ``backbone``.
    group
        Group of entry points: ``h2rec.backbones``.
    own
        Our parts: name -> ``module:attribute``.
    base
        The class that every part is a subclass of, as ``module:attribute``.
    """

    def __init__(self, what: str, group: str, own: Mapping[str, str], base: str) -> None:
        self.what = what
        self.group = group
        self._places = dict(own)
        self._base = base
        self._parts: dict[str, Part] = {}
        self._installed: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[Part], Part]:
        """Give a part a name.

        Raises
        ------
        ConfigError
            If the name is taken by another part, or the part is none of this kind.
        """

        def keep(part: Part) -> Part:
            self._check(name, part)
            place = f"{part.__module__}:{part.__qualname__}"
            installed = self._entry_points().get(name)
            taken = name in self._places or (installed is not None and installed.value != place)
            if taken or self._parts.get(name, part) is not part:
                raise ConfigError(f"there is a {self.what} '{name}' already", "give yours another name")
            self._parts[name] = part
            return part

        return keep

    def get(self, name: str) -> Part:
        """Return the part of a name, imported now if it was not yet.

        Raises
        ------
        ConfigError
            If there is none, it can't be imported, or it is none of this kind.
        """
        if name not in self._places:
            import_plugins(_named_by_environment(), source=PLUGINS)
        if name in self._parts:
            return self._parts[name]
        if name in self._places:
            part: Part = _import(self._places[name])
        elif name in self._entry_points():
            part = self._load(self._entry_points()[name])
        else:
            raise ConfigError(f"unknown {self.what} '{name}'", self._hint(name))
        self._parts[name] = part
        return part

    def names(self) -> list[str]:
        """All names: ours first, in our order."""
        import_plugins(_named_by_environment(), source=PLUGINS)
        return list(dict.fromkeys([*self._places, *self._entry_points(), *self._parts]))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def _hint(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.names(), n=1)
        known = f"known are: {', '.join(self.names())}"
        own = f"did you mean '{near[0]}'? {known}" if near else known
        return f"{own}. A part of another package needs its module under `plugins` or in {PLUGINS}"

    def _load(self, point: EntryPoint) -> Part:
        try:
            part: Part = point.load()
        except Exception as error:  # another package's module may raise what it likes
            raise ConfigError(
                f"the {self.what} '{point.name}' can't be imported ({type(error).__name__}: {error})",
                f"it comes from the entry point {point.value}",
            ) from error
        self._check(point.name, part)
        return part

    def _check(self, name: str, part: Any) -> None:
        base = _import(self._base)
        # Not issubclass: a protocol that is subclassed says as much as a class.
        if not isinstance(part, type) or base not in part.__mro__:
            raise ConfigError(
                f"the {self.what} '{name}' is {part!r}",
                f"it should be a subclass of {self._base.replace(':', '.')}",
            )

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        if self._installed is None:
            self._installed = {}
            for point in entry_points(group=self.group):
                kept = self._places.get(point.name) or self._installed.get(point.name, point).value
                if kept == point.value:
                    self._installed.setdefault(point.name, point)
                else:
                    message = "two %ss are called '%s': %s is used, and %s is not"
                    logger.warning(message, self.what, point.name, kept, point.value)
        return self._installed


def import_plugins(modules: Iterable[str], *, source: str = "plugins") -> None:
    """Import modules, which register their parts while they are imported; each once in a process.

    Raises `ConfigError`, naming the first module that can't be imported, and the `source` that names it.
    """
    for module in modules:
        if module in _started:
            continue
        _started.add(module)  # a module that asks for parts while it is imported does not come back here
        try:
            importlib.import_module(module)
        except Exception as error:  # another package's module may raise what it likes
            _started.discard(module)
            raise ConfigError(
                f"{source}: the module '{module}' can't be imported ({type(error).__name__}: {error})",
                "install it, or put its folder into PYTHONPATH" if isinstance(error, ImportError) else None,
            ) from error


_started: set[str] = set()


def _named_by_environment() -> list[str]:
    return os.environ.get(PLUGINS, "").replace(",", " ").split()


def _import(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)

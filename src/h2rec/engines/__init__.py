"""Where the parts of batch work are done: one after another in this process, or on a cluster.

Work is cut into parts of which each is done by itself, and what they give is put together in their order. So the
result is the same on every engine. What is large lies in files that a part reads and writes; an engine carries
descriptions of parts, and what fits into memory.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Engine(Protocol):
    """Does the parts of some work."""

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Apply a function to every part and give the results in the order of the parts.

        The function may be sent to another process, and may be applied to a part again where one died: it writes
        whole files or none. What it raises is raised here.
        """


class LocalEngine:
    """Does one part after the other in this process."""

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        return map(function, parts)


LOCAL: Engine = LocalEngine()
"""What does the work where nothing else is asked for."""


class EngineName(StrEnum):
    """Engines that the command line offers."""

    LOCAL = "local"
    RAY = "ray"


def open_engine(name: EngineName) -> Engine:
    """Return an engine by its name.

    Raises `MissingExtraError` if it needs a package that is not installed.
    """
    if name is EngineName.LOCAL:
        return LOCAL
    from h2rec.engines.on_ray import RayEngine  # imports Ray, which one machine never needs

    return RayEngine()

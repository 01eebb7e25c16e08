"""The contract of a destination: what it holds, write a table of vectors, search it."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.errors import ConfigError, needs_extra

Held = Literal["nothing", "ours", "others"]
Found = list[tuple[str, float]]
"""Items and their inner products, the best first."""


@dataclass(frozen=True, eq=False)
class VectorTable:
    """Items with their vectors, some at a time."""

    schema: pl.Schema
    """Columns: ``item_id`` first, then ``item_index``, ``head``, ``train_count``, attributes, and ``vector`` last."""
    shape: tuple[int, int]
    """Rows, and numbers of a vector."""
    batches: Iterator[pl.DataFrame]
    """The rows, each once, in index order."""


class Destination(ABC):
    """One table of item vectors somewhere."""

    @classmethod
    @abstractmethod
    def open(cls, address: str) -> Self:
        """Take the name of a file, or ``SCHEME://HOST:PORT/TABLE``.

        Raises `MissingExtraError` without the client's library, `ConfigError` for an address that names no table.
        """

    @abstractmethod
    def held(self) -> Held:
        """What is there: nothing, an earlier export, or anything else."""

    @abstractmethod
    def write(self, table: VectorTable) -> None:
        """Write all rows; they take the place of what is there at once, when they are whole, or not at all."""

    @abstractmethod
    def search(self, users: npt.NDArray[np.float32], k: int) -> list[Found]:
        """The `k` items of the highest inner products for each user vector, `[n, D]`."""

    def close(self) -> None:  # noqa: B027  # most have nothing open
        """Let go of files and connections."""


def split(address: str) -> tuple[SplitResult, str, str]:
    """Parts of an address, what stands before the table's name, and the name.

    ``SCHEME+https:`` asks for TLS. Without ``//HOST`` it is of this machine: ``qdrant:folder/items``.
    """
    parts = urlsplit(address)
    before, _, name = parts.path.rpartition("/")
    if not name or not (parts.netloc or before):
        scheme = parts.scheme
        raise ConfigError(f"{hidden(address)}: names no table", f"expected {scheme}://HOST:PORT/NAME")
    return parts, before, name


def library(name: str, extra: str) -> Any:
    """Import the client of a store. Raises `MissingExtraError` where it is not installed."""
    with needs_extra(f"an export to {extra}", extra):
        return importlib.import_module(name)


def web_address(parts: SplitResult) -> str:
    """Address of a service over HTTP."""
    return f"{'https' if parts.scheme.endswith('+https') else 'http'}://{parts.netloc}"


def hidden(address: str) -> str:
    """Leave out user and password, for messages."""
    before, slashes, rest = address.partition("//")
    host, slash, path = rest.partition("/")
    return f"{before}{slashes}{host.rpartition('@')[2]}{slash}{path}"

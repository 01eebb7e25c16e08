"""What a named data set is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FetchedSource:
    """Files that the readers understand."""

    interactions: Path
    items: Path
    """An atomic or Parquet file each."""


@dataclass(frozen=True)
class Source:
    """A public data set under a name."""

    name: str
    """What users call it."""
    description: str
    """What it holds, in a line."""
    address: str
    """Where its owners publish it, with its terms of use."""
    build: Callable[[Path], FetchedSource]
    """Downloads into a folder and converts; what is there already is not done again."""

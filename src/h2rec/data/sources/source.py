"""What a named data set is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FetchedSource:
    """Files that the readers understand.

    Parameters
    ----------
    interactions, items
        An atomic or Parquet file each.
    """

    interactions: Path
    items: Path


@dataclass(frozen=True)
class Source:
    """A public data set under a name.

    Parameters
    ----------
    name
        What users call it.
    description
        What it holds, in a line.
    address
        Where its owners publish it, with its terms of use.
    build
        Downloads into a folder and converts; what is there already is not done again.
    """

    name: str
    description: str
    address: str
    build: Callable[[Path], FetchedSource]

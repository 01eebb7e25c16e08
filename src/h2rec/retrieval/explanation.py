"""Why an item was recommended: each branch's part of its score, and the codes it shares with the history."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SharedCodes:
    """An item of the history and how many leading codes the recommended item has in common with it."""

    item_id: str
    levels: int


@dataclass(frozen=True)
class Explanation:
    """Why an item was recommended."""

    branches: dict[str, float]
    """What each branch adds to the score, by its name; the parts add up to the score."""
    shared: list[SharedCodes]
    """Items of the history that share most leading codes, latest first among equals; at most three."""

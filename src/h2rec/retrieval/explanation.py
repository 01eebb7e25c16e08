"""Why an item was recommended: each branch's part of its score, and the items of the history that speak for it."""

from dataclasses import dataclass

from h2rec.models.reasons import ReasonKind


@dataclass(frozen=True)
class Because:
    """An item of the history that speaks for a recommended one."""

    item_id: str
    """Its own id."""
    kind: ReasonKind
    """follows: the recommended item often followed it; kind_follows: the kind of one, its leading codes, often followed
    the kind of the other; codes: both share leading codes."""
    strength: float
    """codes: how many they share; follows, kind_follows: its share, 0 to 1, in what the user's latest items say."""

    def sentence(self) -> str:
        """As words that go on after the recommended item."""
        if self.kind == "codes":
            return f"shares {self.strength:.0f} leading {_CODES[self.strength == 1]} with {self.item_id}"
        return f"{_FOLLOWS[self.kind].format(self.item_id)} ({self.strength:.0%})"


_CODES = ("codes", "code")
_FOLLOWS = {"follows": "often follows {}", "kind_follows": "its kind often follows {}'s kind"}


@dataclass(frozen=True)
class Explanation:
    """Why an item was recommended."""

    branches: dict[str, float]
    """What each branch adds to the score, by its name; the parts add up to the score."""
    reasons: list[Because]
    """At most three: the strongest of each kind in turn (follows, kind_follows, codes), an item of the history once."""

"""Why an item was recommended: each branch's part of its score, and the items of the history that speak for it."""

from dataclasses import dataclass, field

from h2rec.models.reasons import ReasonKind


@dataclass(frozen=True)
class Because:
    """An item of the history that speaks for a recommended one."""

    item_id: str | int
    """Its own id."""
    kind: ReasonKind
    """In training histories, the recommended item often came after it (follows), before it (precedes), or either
    (goes_with); where one of the two is new, items like it in text did (like_goes_with). Or the kind of one, its
    leading codes, goes with the kind of the other (kind_goes_with); both share leading codes (codes); or their texts
    are alike (similar_text), or the vectors that training gave them (similar_vectors)."""
    strength: float
    """codes: how many they share; else its share, 0 to 1, in what the user's latest items say."""

    def sentence(self) -> str:
        """As words that go on after the recommended item."""
        if self.kind == "codes":
            return f"shares {self.strength:.0f} leading {_CODES[self.strength == 1]} with {self.item_id}"
        return _SENTENCES[self.kind].format(self.item_id)


_CODES = ("codes", "code")
_SENTENCES = {
    "follows": "often follows {}",
    "precedes": "often comes before {}",
    "goes_with": "often goes with {}",
    "like_goes_with": "items like it often go with items like {}",
    "kind_goes_with": "its kind often goes with {}'s kind",
    "similar_text": "its text is like that of {}",
    "similar_vectors": "the model takes it to be like {}",
}


@dataclass(frozen=True)
class Explanation:
    """Why an item was recommended."""

    branches: dict[str, float]
    """What each branch adds to the score, by its name; the parts add up to the score."""
    reasons: list[Because]
    """At most three: the strongest of each kind in turn, an item of the history once."""
    paths: dict[str, list[float]] = field(default_factory=dict)
    """For each branch that decodes items, log-probabilities of the steps to this one: of its codes, coarse to fine, and
    of the item among those that share them all."""

    def sentence(self) -> str:
        """All reasons, as words that go on after the recommended item; empty where there are none."""
        return "; ".join(reason.sentence() for reason in self.reasons)

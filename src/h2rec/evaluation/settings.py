"""Protocols, metrics and rules of an evaluation."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from h2rec.settings import Settings

FULL = "full"
"""The protocol that ranks the target among every item of the catalogue."""

Protocol = Annotated[str, StringConstraints(pattern=r"^(full|sampled[1-9][0-9]*)$")]
RepeatRule = Literal["allowed", "excluded"]
"""Whether items of a user's history are candidates; see `evaluation.repeats`."""
RepeatSetting = Literal["auto", "allowed", "excluded"]
Positive = Annotated[int, Field(ge=1)]


def sampled_negatives(protocol: str) -> int:
    """Return how many negatives a sampled protocol draws: 100 for ``sampled100``."""
    return int(protocol.removeprefix("sampled"))


class EvaluateSettings(Settings):
    """Protocols, cut-offs and slices of an evaluation."""

    protocols: list[Protocol] = Field(["full", "sampled100"], min_length=1)
    """full: the target among all items. sampledN (sampled100 is the paper's): among N uniform negatives."""
    ks: list[Positive] = Field([1, 5, 10, 20, 50, 100, 200, 500], min_length=1)
    """Cut-offs of Hit@k and NDCG@k; a sampled protocol reports those up to its number of negatives."""
    repeats: RepeatSetting = "auto"
    """allowed: items of a user's history are ranked and recommended as any other. excluded: they never are, and a case
    whose target is one of them is in no figure. auto: allowed where 2% or more of the validation targets are in their
    users' histories. The bundle keeps the rule, and serving follows it."""

    @field_validator("protocols", "ks")
    @classmethod
    def _no_duplicates(cls, values: list[str] | list[int]) -> list[str] | list[int]:
        if len(set(values)) < len(values):
            raise ValueError(f"{values} names something twice")
        return values

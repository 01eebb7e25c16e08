"""What is measured, and under which protocol."""

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from h2rec.settings import Settings

FULL = "full"
"""The protocol that ranks the target among every item of the catalogue."""

Protocol = Annotated[str, StringConstraints(pattern=r"^(full|sampled[1-9][0-9]*)$")]
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
    exclude_history: bool = True
    """Leave a user's history out of the full ranking (a sampled one never draws from it)."""
    exposure_ks: list[Positive] = Field([10, 100])
    """Lengths of the recommended lists whose coverage, tail share and concentration are measured."""
    history_length_groups: Positive = 5
    """Slices by history length, of about equal size."""
    chunk: Positive = 256
    """Users scored at once, fewer where the catalogue is so large that their scores would fill the memory;
    figures do not change."""

    @field_validator("protocols", "ks", "exposure_ks")
    @classmethod
    def _no_duplicates(cls, values: list[str] | list[int]) -> list[str] | list[int]:
        if len(set(values)) < len(values):
            raise ValueError(f"{values} names something twice")
        return values

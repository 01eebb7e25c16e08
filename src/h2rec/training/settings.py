"""Settings of the training loop."""

import re
from typing import Literal

from pydantic import Field, field_validator

from h2rec.settings import Settings


class TrainSettings(Settings):
    """How long and how fast a model learns, and which state is kept."""

    epochs: int = Field(12, ge=1)
    """Passes over the training targets, at most."""
    seed: int = Field(0, ge=0)
    """Seed of everything random in the run."""
    learning_rate: float = Field(
        2e-3, gt=0, json_schema_extra={"search": {"low": 1e-3, "high": 1e-2, "log": True}}
    )
    """Adam's learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Learning rate over the epochs: constant, or falling to zero."""
    batch_tokens: int = Field(512, ge=1, json_schema_extra={"search": {"choices": [512, 2048]}})
    """Sequence positions in a batch; padding counts."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoders in training: auto is bfloat16 on a GPU that has it, float32 elsewhere. Weights, scores
    and losses are always float32."""
    evaluate_every: int = Field(2, ge=1)
    """Epochs between two validations."""
    evaluate_users: int | None = Field(10_000, ge=1)
    """Users that are ranked in a validation during training, at most; null for all."""
    select: str = Field(
        "full.overall.ndcg@100",
        pattern=r"^(full|sampled[1-9]\d*)\.(overall|head|tail|weighted)\.(mrr|(hit|ndcg)@[1-9]\d*)$",
    )
    """Validation metric that picks the state to keep; by default the order of a hundred candidates, as a recall stage
    needs it. `weighted` in the place of `overall` weighs the cases by `data.columns.weight`."""
    patience: int | None = Field(3, ge=1)
    """Stop after this many validations without a better one; null trains all epochs."""

    @field_validator("select")
    @classmethod
    def _negatives_reach_cutoff(cls, select: str) -> str:
        negatives = re.match(r"sampled(\d+)\.", select)
        cutoff = select.rpartition("@")[2]
        if negatives and cutoff.isdigit() and int(cutoff) > int(negatives[1]):
            raise ValueError(f"'{select}': a sample of {negatives[1]} has no first {cutoff}")
        return select

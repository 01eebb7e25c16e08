"""How targets are ranked in training."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializeAsAny, field_validator

from h2rec.batching.negatives import NegativeSettings
from h2rec.losses import RANKING_LOSSES
from h2rec.losses.protocol import RankingSettings
from h2rec.settings import Settings


class LossSettings(Settings):
    """The ranking loss; what ties branches brings terms of its own (`model.ties`)."""

    ranking: SerializeAsAny[RankingSettings] = RankingSettings(name="sampled_softmax")
    """sampled_softmax (competitive today), bpr (the paper's), softmax, bce, gbce, or one of another package; a name, or
    a mapping of its name and its own settings."""
    negatives: NegativeSettings = NegativeSettings()
    """What targets are compared with."""
    joint: float = Field(0.0, ge=0, le=1)
    """Share of the loss that looks at the branches' scores added up (the paper: 1); the rest looks at each branch's own
    score, without its weight in the sum."""

    @field_validator("ranking", mode="before")
    @classmethod
    def _of_its_name(cls, value: Any) -> Any:
        if isinstance(value, RankingSettings):
            return value
        values = {"name": value} if isinstance(value, str) else value
        if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
            raise ValueError("expected the name of a ranking loss, or a mapping with its name")
        return RANKING_LOSSES.get(values["name"]).settings_class.parse(values, source="loss.ranking")

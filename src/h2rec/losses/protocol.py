"""The contract of a ranking loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import SerializeAsAny

from h2rec.losses import RANKING_LOSSES
from h2rec.settings import Settings, by_name


class RankingSettings(Settings):
    """A ranking loss by name; losses with further settings have a subclass."""

    name: str
    """sampled_softmax (competitive today), bpr (the paper's), softmax, bce, gbce, or one of another package."""


NamedRankingLoss = Annotated[
    SerializeAsAny[RankingSettings],
    by_name(
        RankingSettings,
        lambda name: RANKING_LOSSES.get(name).settings_class,
        what="ranking loss",
        source="loss.ranking",
    ),
]


@dataclass(frozen=True, eq=False)
class ComparedScores:
    """Scores of `n` targets and of the items that they are compared with."""

    positive: torch.Tensor
    """Of the targets, `[n]`."""
    others: torch.Tensor
    """Of `M` negatives, `[n, M]`; of the items 1..N where the loss compares with the whole catalogue."""
    targets: torch.Tensor
    """The targets, int64 `[n]`."""
    hit: torch.Tensor
    """Row and column, int64 `[2, h]`, of the negatives that are the target itself and do not count."""
    log_expected_count: float
    """Log of how often the draw holds each negative."""
    item_count: int
    """N."""


class RankingLoss(ABC):
    """A loss over one target and some other items a position, made from its settings."""

    settings_class: ClassVar[type[RankingSettings]] = RankingSettings
    """Settings of `loss.ranking` for this loss."""
    whole_catalogue: ClassVar[bool] = False
    """Whether it compares with every item; no negatives are drawn then."""

    def __init__(self, settings: RankingSettings) -> None:
        self.settings = settings

    @abstractmethod
    def __call__(self, scores: ComparedScores) -> torch.Tensor:
        """Mean over the positions, a scalar."""

"""How targets are ranked in training."""

from pydantic import Field

from h2rec.batching.negatives import NegativeSettings
from h2rec.losses.protocol import NamedRankingLoss, RankingSettings
from h2rec.settings import Settings


class LossSettings(Settings):
    """The ranking loss. Ties between branches add terms of their own (`model.ties`)."""

    ranking: NamedRankingLoss = RankingSettings(name="sampled_softmax")
    """sampled_softmax (competitive today), bpr (the paper's), softmax, bce, gbce, or one of another package; a name, or
    a mapping of its name and its own settings."""
    negatives: NegativeSettings = NegativeSettings()
    """Items that targets are compared with."""
    joint: float = Field(0.0, ge=0, le=1)
    """Share of the loss on the sum of the branches' scores (the paper: 1). The rest is on each branch's own
    score, without its weight in the sum."""

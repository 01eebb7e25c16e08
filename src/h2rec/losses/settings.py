"""Which losses are added up, and their weights."""

from typing import Literal

from pydantic import Field, model_validator

from h2rec.batching.negatives import NegativeSettings
from h2rec.settings import Settings

RankingName = Literal["sampled_softmax", "softmax", "bpr", "bce", "gbce"]


class AlignmentSettings(Settings):
    """Code-guided alignment (item level)."""

    temperature: float = Field(0.2, gt=0)
    """tau of the InfoNCE over items."""
    items: int = Field(512, ge=2)
    """In-batch items that the loss compares, at most; its memory is the square of this."""
    shared_levels: int = Field(3, ge=1)
    """p: items that share at least this many levels, or all where there are fewer, are positives of each other."""
    rule: Literal["prefix", "any"] = "prefix"
    """What sharing p levels means: the first p, or any p."""
    window: int = Field(1, ge=0)
    """w: items within this many positions of one training sequence are positives; 0 turns that off."""
    every: int = Field(4, ge=1)
    """One batch in so many computes the term, with its weight multiplied by that: the same on average, for less."""
    symmetric: bool = True
    """Both directions, SID to HID and HID to SID, or the first alone."""
    spare_head: float | None = Field(None, gt=0)
    """Beyond the paper: an item with c training interactions takes ``s / (s + c)`` of the term's gradient into its HID,
    so that codes guide the tail's and leave what the head's have learned; null lets all of it through."""


class MaskingSettings(Settings):
    """Masked sequence granularity (user level)."""

    temperature: float = Field(0.2, gt=0)
    """Temperature of the InfoNCE over users."""
    level: Literal["random", "lowest", "highest"] = "random"
    """Which granularity is masked: random, or the one with the lowest or highest alpha."""
    every: int = Field(8, ge=1)
    """One batch in so many computes the term, with its weight multiplied by that: the same on average, for less."""


class LossSettings(Settings):
    """Weighted sum of the loss terms.

    ``joint * ranking + branch * own + beta * alignment + gamma * masking``.
    """

    ranking: RankingName = "sampled_softmax"
    """bpr is the paper's; sampled_softmax the one that is competitive today."""
    negatives: NegativeSettings = NegativeSettings()
    """What targets are compared with."""
    gbce_t: float = Field(0.75, ge=0, le=1)
    """Calibration t of gBCE: 0 is BCE, 1 is fully calibrated."""
    joint: float = Field(0.0, ge=0)
    """Weight of the ranking loss on the branches' scores added up (the paper's form: 1, with branch at 0)."""
    branch: float = Field(1.0, ge=0)
    """Weight of each branch's own ranking loss, on its score without its weight in the sum."""
    beta: float = Field(0.5, ge=0)
    """Weight of the code-guided alignment."""
    gamma: float = Field(0.1, ge=0)
    """Weight of the masked sequence granularity loss."""
    alignment: AlignmentSettings = AlignmentSettings()
    """Details of the alignment."""
    masking: MaskingSettings = MaskingSettings()
    """Details of the masking."""

    @model_validator(mode="after")
    def _something_ranks(self) -> "LossSettings":
        if not self.joint and not self.branch:
            raise ValueError("joint and branch are both 0: nothing would learn to rank")
        return self

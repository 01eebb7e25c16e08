"""Settings of ties between branches: fusion, cross-attention, alignment, masking (H2Rec's own parts)."""

from typing import Literal

from pydantic import Field

from h2rec.settings import Settings

FusionName = Literal["adaptive", "equal", "mean_history"]
IntentName = Literal["causal", "last"]
CrossAttentionName = Literal["residual", "plain", "none"]


class AlignmentSettings(Settings):
    """Code-guided alignment of the branches of codes and of hash IDs (item level)."""

    beta: float = Field(0.5, ge=0, json_schema_extra={"search": {"choices": [0.0, 0.1, 0.5]}})
    """Weight of the term; 0 turns it off."""
    shared_levels: int = Field(3, ge=1)
    """p: items that share at least this many levels, or all where there are fewer, are positives of each other."""
    rule: Literal["prefix", "any"] = "prefix"
    """Whether the shared levels are the first p, or any p."""
    window: int = Field(1, ge=0)
    """w: items within this many positions of one training sequence are positives; 0 turns that off."""


class MaskingSettings(Settings):
    """Masked sequence granularity in the branch of codes (user level)."""

    gamma: float = Field(0.1, ge=0)
    """Weight of the term; 0 turns it off."""
    level: Literal["random", "lowest", "highest"] = "random"
    """Which granularity is masked: random, or the one with the lowest or highest alpha."""


class TieSettings(Settings):
    """Ties between the branches of codes and of hash IDs, if a model has both."""

    intent: IntentName = "causal"
    """Read alpha at each position (trains all positions), or once from the last item (the paper)."""
    fusion: FusionName = "adaptive"
    """alpha from the item (adaptive), fixed and equal (without fusion), or from the mean of the history."""
    cross_attention: CrossAttentionName = "residual"
    """Hash IDs read their items' codes: the result is added to them (residual), replaces them (plain), or is not used
    (none)."""
    temperature: float = Field(0.2, gt=0)
    """tau of the contrastive losses, over items and over users."""
    every_batch: bool = False
    """Compute the terms below for every batch (the paper); or the alignment for one in 4 and the masking for one in 8,
    with weights multiplied by that: the same on average, for less."""
    alignment: AlignmentSettings = AlignmentSettings()
    """Code-guided alignment."""
    masking: MaskingSettings = MaskingSettings()
    """Masked sequence granularity."""

"""Pure functions of tensors: ranking, alignment, masking."""

from typing import TYPE_CHECKING

from h2rec.registry import Registry

if TYPE_CHECKING:
    from h2rec.losses.protocol import RankingLoss

RANKING_LOSSES: Registry[type["RankingLoss"]] = Registry(
    "ranking loss",
    "h2rec.losses",
    {
        name: f"h2rec.losses.named:{cls}"
        for name, cls in {
            "sampled_softmax": "SampledSoftmax",
            "softmax": "Softmax",
            "bpr": "BPR",
            "bce": "BCE",
            "gbce": "GBCE",
        }.items()
    },
    base="h2rec.losses.protocol:RankingLoss",
)
"""Ranking losses by name; `loss.ranking` names one."""

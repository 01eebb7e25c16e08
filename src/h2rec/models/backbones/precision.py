"""Automatic mixed precision, inside the backbones alone.

They are where a GPU's time goes. Scores keep float32: a cosine over a temperature reaches some ten, where bfloat16 has
steps of a sixteenth.
"""

import torch
from torch import nn

from h2rec.models.backbones.protocol import Backbone


def set_precision(model: nn.Module, precision: str, device: torch.device) -> bool:
    """Let a model's backbones train in bfloat16, or not; returns which.

    `precision`: ``auto``: bfloat16 on a GPU that has it. ``float32``, ``bfloat16``: that.
    """
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    mixed = precision == "bfloat16" or (precision == "auto" and has)
    for module in model.modules():
        if isinstance(module, Backbone):
            module.mixed = mixed
    return mixed


def mixed_precision(backbone: Backbone, device: torch.device) -> torch.autocast:
    """Context in which a backbone that is `mixed` computes in bfloat16, while it trains."""
    return torch.autocast(device.type, torch.bfloat16, enabled=backbone.mixed and backbone.training)

"""Automatic mixed precision, inside the encoders and decoders of sequences alone.

They are where a GPU's time goes. Scores keep float32: a cosine over a temperature reaches some ten, where bfloat16 has
steps of a sixteenth.
"""

import torch
from torch import nn


class Mixed(nn.Module):
    """Layers that may train in bfloat16."""

    mixed: bool = False
    """Whether training computes in bfloat16 (automatic mixed precision); outputs are float32 all the same."""


def set_precision(model: nn.Module, precision: str, device: torch.device) -> bool:
    """Let the layers of a model that can train in bfloat16 do so, or not; returns which.

    `precision`: ``auto``: bfloat16 on a GPU that has it. ``float32``, ``bfloat16``: that.
    """
    has = device.type == "cuda" and torch.cuda.is_bf16_supported()
    mixed = precision == "bfloat16" or (precision == "auto" and has)
    for module in model.modules():
        if isinstance(module, Mixed):
            module.mixed = mixed
    return mixed


def mixed_precision(layers: Mixed, device: torch.device) -> torch.autocast:
    """Context in which layers that are `mixed` compute in bfloat16, while they train."""
    return torch.autocast(device.type, torch.bfloat16, enabled=layers.mixed and layers.training)

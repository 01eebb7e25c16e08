"""A model's weights as plain tensors: copied out of a model, and loaded into one of the same shape."""

import torch
from torch import nn

from h2rec.errors import H2RecError

Tensors = dict[str, torch.Tensor]


def weights_of(model: nn.Module) -> Tensors:
    """Copy of the weights, on the CPU, each tensor once (shared modules keep one name)."""
    seen: dict[int, str] = {}
    return {
        name: tensor.detach().cpu().clone()
        for name, tensor in model.state_dict().items()
        if seen.setdefault(tensor.data_ptr(), name) == name or tensor.numel() == 0
    }


def load_weights(model: nn.Module, weights: Tensors) -> None:
    """Load weights from `weights_of` into a model of the same shape.

    Raises `H2RecError` if names or shapes differ.
    """
    expected = set(weights_of(model))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if expected != set(weights) or any(weights[name].shape != shapes[name] for name in expected):
        raise H2RecError("the weights belong to a model of other sizes")
    model.load_state_dict(weights, strict=False)

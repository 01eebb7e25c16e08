"""Contract tests of backbones."""

from collections.abc import Mapping
from typing import Any

import torch

from h2rec.models.backbones import BACKBONES, Backbone, Sizes
from h2rec.models.backbones.precision import set_precision
from h2rec.testing.catalogue import require, require_close, require_round_trip
from h2rec.testing.models import check_model

SIZES = Sizes(dim=8, layers=2, heads=2, dropout=0.2, max_length=6)


def check_backbone(values: Mapping[str, Any] | str) -> None:
    """Check a backbone by itself and under a branch of hash IDs; `values` as in `model.backbone`."""
    plain = {"name": values} if isinstance(values, str) else dict(values)
    kind = BACKBONES.get(plain["name"])
    settings = kind.settings_class.parse(plain, source="model.backbone")
    require_round_trip(settings)
    message = "a backbone that sees later items predicts masked ones: its objective must be 'cloze'"
    require(kind.causal or kind.objective == "cloze", message)
    torch.manual_seed(0)
    backbone = kind(SIZES, settings).eval()
    with torch.no_grad():
        for weights in backbone.parameters():  # some start at zero
            weights.add_(0.1 * torch.randn_like(weights))
    check_encoding(backbone)
    check_precision(backbone)
    check_model({"name": "branches", "backbone": plain, "branches": {"ids": {"kind": "ids"}}})


def check_encoding(backbone: Backbone) -> None:
    """Shapes; padding changes nothing; a batch equals its rows, positions read alone those read with all others.

    A causal backbone sees nothing later.
    """
    vectors, lengths = torch.randn(3, 6, 8), torch.tensor([6, 1, 3])
    real = torch.arange(6) < lengths[:, None]
    with torch.no_grad():
        encoded = backbone(vectors, lengths)
        message = f"[B, T, d] of {tuple(vectors.shape)} is encoded to {tuple(encoded.shape)}"
        require(encoded.shape == vectors.shape, message)
        require(torch.equal(encoded, backbone(vectors, lengths)), "in evaluation, two passes differ")
        spoiled = backbone(torch.where(real[..., None], vectors, 9.0), lengths)
        require_close(encoded[real], spoiled[real], "what stands at padding changes a real position")
        for row, length in enumerate(lengths.tolist()):
            alone = backbone(vectors[row : row + 1, :length], lengths[row : row + 1])[0]
            require_close(
                encoded[row, :length], alone, "a sequence is encoded otherwise in a batch than alone"
            )
        for places in ([5, 6, 14], [0, 4, 13], [12], [0, 1, 2, 3, 6, 12]):
            at = torch.tensor(places)
            message = "positions are read otherwise than all are encoded"
            require_close(backbone.read(vectors, lengths, at), encoded.flatten(0, 1)[at], message)
        if backbone.causal:
            later = vectors.clone()
            later[:, 3:] += 1
            message = "a causal backbone's output depends on something later than its position"
            require_close(encoded[:1, :3], backbone(later, lengths)[:1, :3], message)


def check_precision(backbone: Backbone) -> None:
    """In training, outputs are float32 with mixed precision or without, gradients reach all weights, dropout works."""
    vectors, lengths = torch.randn(2, 5, 8, requires_grad=True), torch.tensor([5, 4])
    backbone.train()
    first, second = backbone(vectors, lengths), backbone(vectors, lengths)
    require(not torch.equal(first, second), "in training, dropout changes nothing")
    for precision in ("bfloat16", "float32"):
        set_precision(backbone, precision, torch.device("cpu"))
        encoded = backbone(vectors, lengths)
        require(encoded.dtype == torch.float32, f"training in {precision} gives {encoded.dtype}, not float32")
        require(bool(encoded.isfinite().all()), f"training in {precision} gives numbers that are not finite")
        backbone.zero_grad()
        encoded.square().sum().backward()
        for name, parameter in backbone.named_parameters():
            require(parameter.grad is not None, f"no gradient reaches {name}")
    backbone.eval()

"""Sequence encoders behind one contract: `[B, T, d]` in, `[B, T, d]` out."""

from typing import TYPE_CHECKING

from h2rec.models.backbones.protocol import Backbone, Sizes
from h2rec.models.backbones.registry import BACKBONES

if TYPE_CHECKING:
    from h2rec.models.settings import EncoderSettings

__all__ = ["BACKBONES", "Backbone", "Sizes", "make_backbone"]


def make_backbone(settings: "EncoderSettings", layers: int | None = None) -> Backbone:
    """Return a new backbone; `layers` override the model's."""
    sizes = Sizes(
        dim=settings.dim,
        layers=settings.layers if layers is None else layers,
        heads=settings.heads,
        dropout=settings.dropout,
        max_length=settings.max_length,
    )
    return BACKBONES.get(settings.backbone.name)(sizes, settings.backbone)

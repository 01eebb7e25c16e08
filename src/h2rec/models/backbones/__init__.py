"""Sequence encoders behind one contract: `[B, T, d]` in, `[B, T, d]` out."""

from h2rec.models.backbones.gru import GRUBackbone
from h2rec.models.backbones.protocol import Backbone
from h2rec.models.backbones.transformer import TransformerBackbone
from h2rec.models.settings import ModelSettings

__all__ = ["Backbone", "GRUBackbone", "TransformerBackbone", "make_backbone"]


def make_backbone(name: str, settings: ModelSettings, layers: int | None = None) -> Backbone:
    """Return a new backbone, sasrec, bert4rec or gru4rec, with as many layers as the settings say unless told."""
    sizes = (settings.dim, layers or settings.layers, settings.dropout)
    if name == "gru4rec":
        return GRUBackbone(*sizes)
    return TransformerBackbone(
        *sizes,
        settings.heads,
        settings.max_length,
        causal=name == "sasrec",
        attention_dropout=settings.attention_dropout,
    )

"""Backbones by name, and the settings that every one has."""

from typing import TYPE_CHECKING, Annotated

from pydantic import SerializeAsAny

from h2rec.registry import Registry
from h2rec.settings import Settings, by_name

if TYPE_CHECKING:
    from h2rec.models.backbones.protocol import Backbone

BACKBONES: Registry[type["Backbone"]] = Registry(
    "backbone",
    "h2rec.backbones",
    {
        "sasrec": "h2rec.models.backbones.transformer:SASRecBackbone",
        "convolution": "h2rec.models.backbones.convolution:ConvolutionBackbone",
        "bsarec": "h2rec.models.backbones.bsarec:BSARecBackbone",
        "esasrec": "h2rec.models.backbones.esasrec:ESASRecBackbone",
        "bert4rec": "h2rec.models.backbones.transformer:BERT4RecBackbone",
        "gru4rec": "h2rec.models.backbones.gru:GRUBackbone",
    },
    base="h2rec.models.backbones.protocol:Backbone",
)
"""Backbones by name; `model.backbone` names one."""


class BackboneSettings(Settings):
    """A backbone's name; backbones with further settings have a subclass."""

    name: str
    """sasrec, convolution (SASRec with a convolution beside attention), bsarec, esasrec, bert4rec, gru4rec, or one of
    another package."""


NamedBackbone = Annotated[
    SerializeAsAny[BackboneSettings],
    by_name(
        BackboneSettings,
        lambda name: BACKBONES.get(name).settings_class,
        what="backbone",
        source="model.backbone",
    ),
]

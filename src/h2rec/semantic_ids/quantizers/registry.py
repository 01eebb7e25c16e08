"""Quantizers by name, and the settings that every one has."""

from typing import TYPE_CHECKING, Annotated

from pydantic import SerializeAsAny

from h2rec.registry import Registry
from h2rec.settings import Settings, by_name

if TYPE_CHECKING:
    from h2rec.semantic_ids.quantizers.protocol import Quantizer

QUANTIZERS: Registry[type["Quantizer"]] = Registry(
    "quantizer",
    "h2rec.quantizers",
    {
        "rqvae": "h2rec.semantic_ids.quantizers.rqvae:RQVAE",
        "rqkmeans": "h2rec.semantic_ids.quantizers.rqkmeans:RQKMeans",
        "pq": "h2rec.semantic_ids.quantizers.pq:ProductQuantizer",
        "opq": "h2rec.semantic_ids.quantizers.pq:ProductQuantizer",
    },
    base="h2rec.semantic_ids.quantizers.protocol:Quantizer",
)
"""Quantizers by name; `semantic_ids.quantizer` names one."""


class QuantizerSettings(Settings):
    """A quantizer's name; quantizers with further settings have a subclass."""

    name: str
    """rqvae, rqkmeans, pq, opq, one of another package, or a file of codes: PATH.index.json or PATH.json."""

    @property
    def is_file(self) -> bool:
        """Whether the codes come from a file."""
        return self.name.endswith(".json")


def _settings_class(name: str) -> type[QuantizerSettings]:
    is_file = QuantizerSettings(name=name).is_file
    return QuantizerSettings if is_file else QUANTIZERS.get(name).settings_class


NamedQuantizer = Annotated[
    SerializeAsAny[QuantizerSettings],
    by_name(QuantizerSettings, _settings_class, what="quantizer", source="semantic_ids.quantizer"),
]

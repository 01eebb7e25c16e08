"""Quantizers by name, and the settings that every one has."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from h2rec.registry import Registry
from h2rec.settings import Settings

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
    """A quantizer's name; one with settings of its own has a subclass."""

    name: str
    """rqvae, rqkmeans, pq, opq, one of another package, or a file of codes: PATH.index.json or PATH.json."""

    @property
    def is_file(self) -> bool:
        """Whether the codes come from a file."""
        return self.name.endswith(".json")


def _of_its_name(value: Any) -> QuantizerSettings:
    values = value.model_dump() if isinstance(value, QuantizerSettings) else value
    values = {"name": values} if isinstance(values, str) else values
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise ValueError("expected the name of a quantizer, or a mapping with its name")
    is_file = QuantizerSettings(name=values["name"]).is_file
    kind = QuantizerSettings if is_file else QUANTIZERS.get(values["name"]).settings_class
    return kind.parse(values, source="semantic_ids.quantizer")


NamedQuantizer = Annotated[SerializeAsAny[QuantizerSettings], BeforeValidator(_of_its_name)]
"""Settings of the quantizer that a name, or a mapping with a name, stands for."""

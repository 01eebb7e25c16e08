"""Quantizers: one file per algorithm, all behind `h2rec.semantic_ids.protocol.Quantizer`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from h2rec.errors import ConfigError, SemanticIdError
from h2rec.registry import Registry
from h2rec.semantic_ids.protocol import Quantizer
from h2rec.semantic_ids.quantizers.pq import ProductQuantizer
from h2rec.semantic_ids.quantizers.reduced import ReducedQuantizer
from h2rec.semantic_ids.quantizers.rqkmeans import RQKMeans
from h2rec.semantic_ids.quantizers.rqvae import RQVAE
from h2rec.semantic_ids.storage import load_description

if TYPE_CHECKING:  # the settings are made of the quantizers' own
    from h2rec.semantic_ids.settings import SemanticIdSettings

QUANTIZERS: Registry[type[Quantizer]] = Registry(
    "quantizer",
    "h2rec.quantizers",
    {
        "rqvae": "h2rec.semantic_ids.quantizers.rqvae:RQVAE",
        "rqkmeans": "h2rec.semantic_ids.quantizers.rqkmeans:RQKMeans",
        "pq": "h2rec.semantic_ids.quantizers.pq:ProductQuantizer",
        "opq": "h2rec.semantic_ids.quantizers.pq:ProductQuantizer",
    },
    base="h2rec.semantic_ids.protocol:Quantizer",
)
"""Quantizers by name; `semantic_ids.quantizer` names one. Another package's is made of levels and codes a level."""


def create(settings: SemanticIdSettings) -> Quantizer:
    """Return the unfitted quantizer that the settings name.

    Raises
    ------
    SemanticIdError
        If the settings name a file of codes, which needs no quantizer.
    """
    quantizer: Quantizer
    sizes = settings.levels, settings.codebook_size
    match settings.quantizer:
        case "rqvae":
            quantizer = RQVAE(settings.rqvae, *sizes)
        case "rqkmeans":
            quantizer = RQKMeans(settings.kmeans, *sizes)
        case "pq" | "opq":
            quantizer = ProductQuantizer(settings.quantizer, settings.pq, *sizes)
        case name if name in QUANTIZERS:
            make: Callable[..., Quantizer] = QUANTIZERS.get(name)
            quantizer = make(*sizes)
        case name:
            raise SemanticIdError(f"'{name}' is a file of codes, there is nothing to fit")
    return quantizer if settings.pca is None else ReducedQuantizer(quantizer, settings.pca)


def load_quantizer(folder: Path) -> Quantizer:
    """Read a fitted quantizer of any kind.

    Raises
    ------
    SemanticIdError
        If the folder holds no quantizer of a known kind, or a damaged one.
    DataError
        If `quantizer.json` is missing or not JSON.
    """
    kind = load_description(folder)["kind"]
    if kind != ReducedQuantizer.kind and kind not in QUANTIZERS:
        known = ", ".join([*QUANTIZERS.names(), ReducedQuantizer.kind])
        raise SemanticIdError(f"{folder}: unknown quantizer '{kind}', known are {known}")
    try:
        return (ReducedQuantizer if kind == ReducedQuantizer.kind else QUANTIZERS.get(kind)).load(folder)
    except ConfigError as error:  # its settings
        raise SemanticIdError(error.message, error.hint) from None
    except (KeyError, TypeError, ValueError) as error:
        raise SemanticIdError(f"{folder}: damaged description of a quantizer ({error!r})") from None

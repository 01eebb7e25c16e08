"""Quantizers: one file per algorithm, all behind `Quantizer`."""

from pathlib import Path
from typing import TYPE_CHECKING

from h2rec.errors import ConfigError, SemanticIdError
from h2rec.semantic_ids.quantizers.registry import QUANTIZERS

if TYPE_CHECKING:  # settings that name a quantizer load none
    from h2rec.semantic_ids.quantizers.protocol import Quantizer
    from h2rec.semantic_ids.settings import SemanticIdSettings

__all__ = ["QUANTIZERS", "create", "load_quantizer"]


def create(settings: "SemanticIdSettings") -> "Quantizer":
    """Return the unfitted quantizer that the settings name.

    Raises `SemanticIdError` if the settings name a file of codes, which needs no quantizer.
    """
    chosen = settings.quantizer
    if chosen.is_file:
        raise SemanticIdError(f"'{chosen.name}' is a file of codes, there is nothing to fit")
    return QUANTIZERS.get(chosen.name)(chosen, settings.levels, settings.codebook_size)


def load_quantizer(folder: Path) -> "Quantizer":
    """Read a fitted quantizer of any kind.

    Raises `SemanticIdError` if the folder holds no quantizer of a known kind, or a damaged one; `DataError` if
    `quantizer.json` is missing or not JSON.
    """
    from h2rec.semantic_ids.storage import load_parts

    description, tensors = load_parts(folder)
    settings = description.quantizer
    try:
        kind = QUANTIZERS.get(settings.name)
        quantizer = kind(settings, description.levels, description.codebook_size)
        quantizer.restore(tensors)
    except (ConfigError, SemanticIdError) as error:
        raise SemanticIdError(f"{folder}: {error.message}", error.hint) from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # from another package
        raise SemanticIdError(f"{folder}: damaged numbers of a quantizer ({error!r})") from None
    quantizer.error_quantiles = tuple(description.error_quantiles)
    return quantizer

"""Quantizers and unfinished fits on disk: safetensors for numbers, JSON for the rest, nothing executable."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, StrictInt, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from h2rec.errors import ConfigError, DataError, SemanticIdError
from h2rec.files import array_hash, atomic_path, content_key, write_json
from h2rec.semantic_ids.embeddings import Embeddings
from h2rec.semantic_ids.quantizers.registry import NamedQuantizer
from h2rec.settings import Settings
from h2rec.untrusted import read_finite_tensors, read_strict_json

logger = logging.getLogger(__name__)

FORMAT = 2
DESCRIPTION = "quantizer.json"
NUMBERS = "quantizer.safetensors"
_LARGEST_DESCRIPTION = 1 << 20


class Description(Settings):
    """Content of `quantizer.json`, without its format."""

    quantizer: NamedQuantizer
    """Its name and settings."""
    levels: StrictInt = Field(ge=1)
    """L."""
    codebook_size: StrictInt = Field(ge=2)
    """K."""
    error_quantiles: list[float]
    """Percentiles of the squared reconstruction errors."""

    @field_validator("error_quantiles")
    @classmethod
    def _rising(cls, values: list[float]) -> list[float]:
        if len(values) != 101 or sorted(values) != values or values[0] < 0:
            raise ValueError("they are not 101 rising numbers")
        return values


def save_parts(folder: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a quantizer's description and numbers into an existing folder."""
    _save_tensors(folder / NUMBERS, tensors, {})
    write_json(folder / DESCRIPTION, {"format": FORMAT, **description})


def load_parts(folder: Path) -> tuple[Description, dict[str, Tensor]]:
    """Read what `save_parts` wrote. `check_shapes` checks the sizes that it claims.

    Raises `SemanticIdError` if it is of another format, damaged, or holds numbers that are none; `DataError` if the
    description is missing or not JSON.
    """
    path = folder / DESCRIPTION
    values = read_strict_json(path, _LARGEST_DESCRIPTION)
    if not isinstance(values, dict) or (format_number := values.pop("format", None)) is None:
        raise SemanticIdError(f"{path}: not the description of a quantizer")
    if format_number != FORMAT:
        raise SemanticIdError(f"{path}: format {str(format_number)[:40]}, this version reads {FORMAT}")
    try:
        return Description.parse(values, source=str(path)), read_finite_tensors(folder / NUMBERS)
    except ConfigError as error:
        raise SemanticIdError(f"{path}: {error.message.removeprefix(f'{path}: ')}", error.hint) from None
    except DataError as error:
        raise SemanticIdError(f"can't read the quantizer: {error.message}", error.hint) from None


def check_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Check that float32 tensors with these names and shapes are there; None stands for any length but 0.

    Raises `SemanticIdError` naming the first that is not.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise SemanticIdError(f"{NUMBERS}: '{name}' is missing")
        actual = tuple(tensors[name].shape)
        fits = len(actual) == len(shape) and all(
            length > 0 if claim is None else length == claim
            for length, claim in zip(actual, shape, strict=True)
        )
        if not fits or tensors[name].dtype != torch.float32:
            claimed = ", ".join("any" if claim is None else str(claim) for claim in shape)
            raise SemanticIdError(
                f"{NUMBERS}: '{name}' has shape {list(actual)} of {tensors[name].dtype}, the quantizer claims "
                f"[{claimed}] of float32"
            )


def fit_key(settings: Mapping[str, Any], embeddings: Embeddings, seed: int) -> str:
    """Return a key of settings, data and seed that identifies a fit."""
    return content_key({**settings, "seed": seed, "embeddings": array_hash(embeddings)})


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit keeps its state; nowhere without a path."""

    path: Path | None
    """The file."""
    key: str
    """Identifies the fit."""

    def save(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write the state after `step` steps, in one piece or not at all."""
        if self.path is not None:
            metadata = {"fingerprint": self.key, "step": str(step)}
            _save_tensors(self.path, tensors, metadata | {"hash": _hash_of(metadata, tensors)})

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """Read what `save` wrote for the same fit; None if there is nothing, or it is damaged."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as stream:
                metadata = dict(stream.metadata() or {})
            tensors = load_file(self.path)
            if metadata.pop("hash", None) != _hash_of(metadata, tensors):
                logger.warning("%s was changed after it was written, and is passed over", self.path)
                return None
            return (int(metadata["step"]), tensors) if metadata.get("fingerprint") == self.key else None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s can't be read (%s), and is passed over", self.path, error)
            return None


def _hash_of(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    hashes = {name: array_hash(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()}
    return content_key({**metadata, "tensors": hashes})


def _save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata=metadata)

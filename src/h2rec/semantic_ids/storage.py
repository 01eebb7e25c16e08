"""Quantizers and half-done fits on disk: safetensors for numbers, JSON for the rest, nothing executable."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from h2rec.errors import DataError, SemanticIdError
from h2rec.files import array_hash, atomic_path, content_key, write_json
from h2rec.semantic_ids.protocol import Embeddings
from h2rec.untrusted import read_finite_tensors, read_strict_json

logger = logging.getLogger(__name__)

FORMAT = 1
DESCRIPTION = "quantizer.json"
NUMBERS = "quantizer.safetensors"
_LARGEST_DESCRIPTION = 1 << 20
_QUANTILES = 101


def save_parts(
    folder: Path, kind: str, description: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a quantizer's description and numbers into an existing folder."""
    _save_tensors(folder / NUMBERS, tensors, {})
    write_json(folder / DESCRIPTION, {"format": FORMAT, "kind": kind, **description})


def load_description(folder: Path) -> dict[str, Any]:
    """Read `quantizer.json`.

    Raises
    ------
    SemanticIdError
        If it is of another format or tells no kind.
    DataError
        If it is missing or not JSON.
    """
    description = read_strict_json(folder / DESCRIPTION, _LARGEST_DESCRIPTION)
    if not isinstance(description, dict) or not isinstance(description.get("kind"), str):
        raise SemanticIdError(f"{folder / DESCRIPTION}: not the description of a quantizer")
    if description.get("format") != FORMAT:
        raise SemanticIdError(
            f"{folder / DESCRIPTION}: format {description.get('format')}, this version reads {FORMAT}"
        )
    return description


def load_tensors(folder: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Tensor]:
    """Read `quantizer.safetensors` and check type and shape of every named tensor; None stands for any length.

    Raises
    ------
    SemanticIdError
        If the file is missing, damaged, or holds other tensors, or numbers that are none.
    """
    path = folder / NUMBERS
    try:
        tensors = read_finite_tensors(path)
    except DataError as error:
        raise SemanticIdError(f"can't read the quantizer: {error.message}", error.hint) from None
    check_shapes(path, tensors, shapes)
    return tensors


def check_shapes(
    path: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int | None, ...]]
) -> None:
    """Check that tensors of some names are there, in float32 and in these shapes; None stands for any length.

    Raises
    ------
    SemanticIdError
        Naming the first that is not.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise SemanticIdError(f"{path}: '{name}' is missing")
        found = tuple(tensors[name].shape)
        fits = len(found) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, found, strict=True)
        )
        if not fits or tensors[name].dtype != torch.float32:
            raise SemanticIdError(
                f"{path}: '{name}' has shape {found} of {tensors[name].dtype}, expected {shape} of float32"
            )


def load_codebooks(
    folder: Path, shapes: Mapping[str, tuple[int | None, ...]]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a quantizer with codebooks `[L, K, d]`, whose description tells `L` and `K`.

    The numbers are read first and the description is held against them: a file can't claim sizes that it
    does not have.

    Returns
    -------
    description, tensors
        The description, its `levels` and `codebook_size` those of the codebooks; and the numbers.

    Raises
    ------
    SemanticIdError
        If they do not fit together.
    """
    description = load_description(folder)
    tensors = load_tensors(folder, {"codebooks": (None, None, None), **shapes})
    found = tuple(tensors["codebooks"].shape)
    claimed = description.get("levels"), description.get("codebook_size")
    if any(type(size) is not int for size in claimed) or claimed != found[:2] or 0 in found:
        raise SemanticIdError(
            f"{folder / DESCRIPTION}: it claims {str(claimed[0])[:40]} levels of {str(claimed[1])[:40]} codes, "
            f"{NUMBERS} has {found[0]} of {found[1]}"
        )
    return description, tensors


def quantiles_of(folder: Path, description: Mapping[str, Any]) -> tuple[float, ...]:
    """Percentiles of the reconstruction errors, as a description tells them.

    Raises
    ------
    SemanticIdError
        If they are not 101 numbers that rise.
    """
    found = description.get("error_quantiles")
    found = found if isinstance(found, list) else []
    numbers = all(type(value) in (int, float) for value in found)
    if not numbers or len(found) != _QUANTILES or sorted(found) != found or found[0] < 0:
        raise SemanticIdError(
            f"{folder / DESCRIPTION}: its error quantiles are not {_QUANTILES} rising numbers"
        )
    return tuple(map(float, found))


def fit_fingerprint(description: Mapping[str, Any], embeddings: Embeddings, seed: int) -> str:
    """Return a key that tells one fit from another: settings, data and seed."""
    return content_key({**description, "seed": seed, "embeddings": array_hash(embeddings)})


def save_checkpoint(path: Path, fingerprint: str, step: int, tensors: Mapping[str, Tensor]) -> None:
    """Write the state of a fit after `step` steps, in one piece or not at all."""
    metadata = {"fingerprint": fingerprint, "step": str(step)}
    _save_tensors(path, tensors, metadata | {"hash": _hash_of(metadata, tensors)})


def load_checkpoint(path: Path | None, fingerprint: str) -> tuple[int, dict[str, Tensor]] | None:
    """Read the state that `save_checkpoint` wrote for the same fit, or None where there is none, or a damaged one."""
    if path is None or not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
        tensors = load_file(path)
        told = metadata.pop("hash", None)
        if told != _hash_of(metadata, tensors):
            logger.warning("%s was changed after it was written, and is passed over", path)
            return None
        return (int(metadata["step"]), tensors) if metadata.get("fingerprint") == fingerprint else None
    except (OSError, SafetensorError, KeyError, ValueError, json.JSONDecodeError) as error:
        logger.warning("%s can't be read (%s), and is passed over", path, error)
        return None


def _hash_of(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    hashes = {name: array_hash(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()}
    return content_key({**metadata, "tensors": hashes})


def _save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(whole, temporary, metadata=metadata)

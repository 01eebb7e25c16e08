"""Quantizers and half-done fits on disk: safetensors for numbers, JSON for the rest, nothing executable."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from h2rec.errors import SemanticIdError
from h2rec.files import array_hash, atomic_path, content_key, read_json, write_json
from h2rec.semantic_ids.protocol import Embeddings

logger = logging.getLogger(__name__)

FORMAT = 1
DESCRIPTION = "quantizer.json"
NUMBERS = "quantizer.safetensors"


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
    description = read_json(folder / DESCRIPTION)
    if not isinstance(description, dict) or not isinstance(description.get("kind"), str):
        raise SemanticIdError(f"{folder / DESCRIPTION}: not the description of a quantizer")
    if description.get("format") != FORMAT:
        raise SemanticIdError(
            f"{folder / DESCRIPTION}: format {description.get('format')}, this version reads {FORMAT}"
        )
    return description


def load_tensors(folder: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Tensor]:
    """Read `quantizer.safetensors` and check the shape of every named tensor; None stands for any length.

    Raises
    ------
    SemanticIdError
        If the file is missing, damaged, or holds other tensors.
    """
    path = folder / NUMBERS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SemanticIdError(f"{path}: can't read the quantizer ({error})") from None
    for name, shape in shapes.items():
        if name not in tensors:
            raise SemanticIdError(f"{path}: '{name}' is missing")
        found = tuple(tensors[name].shape)
        fits = len(found) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, found, strict=True)
        )
        if not fits:
            raise SemanticIdError(f"{path}: '{name}' has shape {found}, expected {shape}")
    return tensors


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

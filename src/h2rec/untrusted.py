"""Readers of files that may be hostile: claimed sizes are checked against the file before memory is allocated."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load_file

from h2rec.errors import DataError

RIGHT_TO_READ = "let the user who runs this read it: chmod -R a+rX FOLDER"


def read_strict_json(path: Path, largest: int | None = None) -> Any:
    """Read JSON by its standard: UTF-8, finite numbers, and no key twice in one object.

    `largest`: bytes that such a file has at most; None for any. What is read takes a small multiple of the file's
    size. Raises `DataError` if the file is missing, larger, or anything else.
    """
    try:
        size = path.stat().st_size
        if largest is not None and size > largest:
            raise DataError(f"{path}: {size:,} bytes, larger than any real one")
        return json.loads(
            path.read_bytes().decode(),
            object_pairs_hook=_each_key_once,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        hint = RIGHT_TO_READ if isinstance(error, PermissionError) else None
        raise DataError(f"{path}: can't be read ({error.strerror})", hint) from None
    except (ValueError, RecursionError, MemoryError) as error:  # no JSON, no UTF-8, nested without end
        raise DataError(f"{path}: not valid JSON ({str(error)[:200] or type(error).__name__})") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice[:80]!r} stands twice")
    return values


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is out of range")
    return number


def check_npy(path: Path, dtype: type[np.generic], shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Check that a `.npy` holds numbers of one type and shape, and exactly as many bytes as they need.

    `shape`: lengths of the axes; None stands for any. Returns the whole shape. Raises `DataError` if it is anything
    else; nothing but its header was read.
    """
    try:
        with path.open("rb") as stream:
            actual, fortran, kind = _npy_header(stream)
            start = stream.tell()
    except Exception as error:  # a header is parsed as Python: syntax errors, tokens, anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a plain .npy array ({reason[:200]})") from None
    if kind.hasobject:
        raise DataError(f"{path}: it holds Python objects, which are never read")
    fits = len(actual) == len(shape) and all(
        type(length) is int and length >= 0 and want in (None, length)
        for want, length in zip(shape, actual, strict=True)
    )
    if kind != np.dtype(dtype) or fortran or not fits:
        wanted = ", ".join("any" if want is None else f"{want:,}" for want in shape)
        raise DataError(
            f"{path}: it holds {str(kind)[:80]} {str(list(actual))[:80]}, not {np.dtype(dtype)} [{wanted}]"
        )
    held, needed = path.stat().st_size - start, math.prod(actual) * kind.itemsize
    if held != needed:
        raise DataError(f"{path}: {held:,} bytes of numbers, where its header claims {needed:,}")
    return actual


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def read_finite_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file whose numbers are all numbers; its format holds no more than the file has.

    Raises `DataError` if it can't be read, or a tensor holds NaN or infinity.
    """
    try:
        tensors = load_file(path)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from None
    except Exception as error:  # of safetensors, of JSON, of torch for types that it does not have
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: no safetensors file that can be read ({reason[:200]})") from None
    check_finite(path, tensors)
    return tensors


def check_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that hold NaN or infinity. Raises `DataError`, naming the first."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{path}: '{name[:80]}' holds NaN or infinity")

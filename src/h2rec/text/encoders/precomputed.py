"""Ready embeddings from a .npy file."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from h2rec.data.identifiers import clean_id
from h2rec.errors import ConfigError, DataError
from h2rec.files import array_hash, read_json, write_json

logger = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.integer]


class PrecomputedEncoder:
    """Stands for ready-made embeddings; it can't embed anything itself, and `encode` raises `ConfigError`.

    `name` is that of the file, `fingerprint` the hash of the embeddings.
    """

    maker: str | None = None

    def __init__(self, name: str, fingerprint: str) -> None:
        self.name = name
        self.fingerprint = fingerprint

    def unknown_share(self, texts: Sequence[str]) -> Vectors:
        return np.ones(len(texts), np.float32)

    def fit(self, texts: Sequence[str]) -> Self:
        del texts
        return self

    def encode(self, texts: Sequence[str]) -> NoReturn:
        raise ConfigError(
            f"{len(texts)} texts can't be embedded: the embeddings came ready-made from {self.name}",
            "train with text.encoder: minilm (or another model) to add items from their text",
        )

    def save(self, folder: Path) -> None:
        description = {"kind": "precomputed", "file": self.name, "fingerprint": self.fingerprint}
        write_json(folder / "encoder.json", description)

    @classmethod
    def load(cls, folder: Path) -> Self:
        description = read_json(folder / "encoder.json")
        try:
            return cls(str(description["file"]), str(description["fingerprint"]))
        except (KeyError, TypeError):
            raise DataError(f"{folder / 'encoder.json'}: not a description of ready embeddings") from None


def read_precomputed(
    path: Path, item_ids: Sequence[str], item_file_index: Rows | None = None
) -> tuple[Vectors, npt.NDArray[np.bool_], PrecomputedEncoder]:
    """Read ready embeddings in index order, with rows scaled to unit length.

    Rows are matched by id if there is a list of ids beside the file (`NAME.ids.txt`, one a line, or `NAME.ids.json`).
    Otherwise they are in the order of the item file: `item_file_index` has the index (1..N) of each row's item, 0 for
    none. Without it the rows must be those of the catalogue, `item_ids` `[N]`.

    Returns
    -------
    vectors, has_vector, encoder
        float32 `[N, m]`, zeros for items without a row; bool `[N]`; the encoder's substitute.

    Raises `DataError` for a file that is missing, damaged, holds objects (a pickle), NaN or infinity, or has another
    number of rows than there are items or ids.
    """
    stored = read_matrix(path)
    ids = _read_ids(path)
    if ids is not None:
        sources, targets = _rows_by_id(path, stored, ids, item_ids)
    else:
        sources, targets = _rows_by_position(path, stored, len(item_ids), item_file_index)
    chosen = np.asarray(stored[sources], dtype=np.float32)
    broken = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if len(broken):
        item = item_ids[targets[broken[0]]]
        raise DataError(f"{path}: row {sources[broken[0]] + 1} (item '{item}') holds NaN or infinity")
    lengths = np.linalg.norm(chosen, axis=1)
    vectors = np.zeros((len(item_ids), chosen.shape[1]), np.float32)
    nonzero = lengths > 0
    vectors[targets[nonzero]] = chosen[nonzero] / lengths[nonzero, None]
    has_vector = np.zeros(len(item_ids), dtype=np.bool_)
    has_vector[targets[nonzero]] = True
    return vectors, has_vector, PrecomputedEncoder(path.name, array_hash(vectors)[:16])


def read_matrix(path: Path) -> npt.NDArray[Any]:
    """Map a `.npy` of embeddings from disk, `[items, m]`.

    Raises `DataError` if it is missing, damaged, holds objects (a pickle), or is no matrix of numbers.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", "expected a .npy of embeddings, a row an item")
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header is parsed as Python: syntax errors, tokens, anything
        hint = "write it with numpy.save as a float array of two dimensions"
        raise DataError(f"{path}: not a plain .npy array ({error})", hint) from None
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise DataError(
            f"{path}: expected numbers of shape [items, size], found {array.dtype} {list(array.shape)}"
        )
    return array


def _read_ids(path: Path) -> list[str] | None:
    as_json, as_text = path.with_suffix(".ids.json"), path.with_suffix(".ids.txt")
    if as_json.exists():
        values = read_json(as_json)
        if not isinstance(values, list):
            raise DataError(f"{as_json}: expected a list of item ids, found {json.dumps(values)[:40]}")
        wrong = [value for value in values if type(value) not in (str, int) or not str(value).strip()]
        if wrong:
            hint = "give a list of texts or whole numbers"
            raise DataError(f"{as_json}: {json.dumps(wrong[0])[:40]} is no item id", hint)
        return [str(value).strip() for value in values]
    if as_text.exists():
        try:
            lines = as_text.read_text(encoding="utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{as_text}: not UTF-8 ({error})", "save it as UTF-8, an id a line") from None
        ids = [line.strip() for line in lines]
        while ids and not ids[-1]:
            ids.pop()
        if "" in ids:
            raise DataError(f"{as_text}:{ids.index('') + 1}: no id in this line", "give every row its id")
        return ids
    return None


def _rows_by_id(
    path: Path, stored: npt.NDArray[Any], ids: list[str], item_ids: Sequence[str]
) -> tuple[Rows, Rows]:
    ids = [clean_id(item) for item in ids]
    if len(ids) != len(stored):
        raise DataError(f"{path}: {len(stored):,} rows, but {len(ids):,} ids beside it")
    row_of = {item: row for row, item in enumerate(ids)}
    if len(row_of) != len(ids):
        twice = next(item for row, item in enumerate(ids) if row_of[item] != row)
        raise DataError(f"{path}: id '{twice}' occurs twice beside it")
    pairs = [(row_of[item], target) for target, item in enumerate(item_ids) if item in row_of]
    if not pairs:
        raise DataError(
            f"{path}: none of its ids is an item", f"'{ids[0]}' there, '{item_ids[0]}' in the data"
        )
    if len(pairs) < len(ids):
        items = set(item_ids)
        without = next(item for item in ids if item not in items)
        message = "%s: %s of %s ids are no item of the data, such as %r"
        logger.warning(message, path, len(ids) - len(pairs), len(ids), without)
    sources, targets = np.array(pairs, dtype=np.int64).T
    return sources, targets


def _rows_by_position(
    path: Path, stored: npt.NDArray[Any], item_count: int, item_file_index: Rows | None
) -> tuple[Rows, Rows]:
    index = np.arange(1, item_count + 1) if item_file_index is None else np.asarray(item_file_index)
    if len(stored) != len(index):
        rows_of = "items" if item_file_index is None else "rows in the item file"
        raise DataError(
            f"{path}: {len(stored):,} rows, but there are {len(index):,} {rows_of}",
            f"write the item ids, one a line, to {path.with_suffix('.ids.txt').name} beside it",
        )
    sources = np.flatnonzero(index)
    return sources, index[sources].astype(np.int64) - 1

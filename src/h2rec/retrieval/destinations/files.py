"""Item vectors in files: one Parquet table, or a NumPy array with the rest of the table beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from h2rec.files import atomic_path
from h2rec.frames import has_note, read_parquet
from h2rec.retrieval.destinations.protocol import Destination, Found, Held, VectorTable

NOTE = "h2rec.export"
"""Note in the footer of a Parquet file of ours."""

Vectors = npt.NDArray[np.float32]


class TableWriter:
    """A Parquet file that is written some rows at a time, marked as ours; `notes` stand in its footer, too."""

    def __init__(self, path: Path, schema: pl.Schema, notes: Mapping[str, str] | None = None) -> None:
        arrow = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        self.schema = arrow.with_metadata({NOTE: "1", **(notes or {})})
        self.file = pq.ParquetWriter(path, self.schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, rows: pl.DataFrame) -> None:
        """Write some rows."""
        self.file.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self.schema))


class ParquetFile(Destination):
    """All columns in one Parquet file, vectors as lists of a fixed length."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = path

    @classmethod
    def open(cls, address: str) -> Self:
        return cls(Path(address))

    def held(self) -> Held:
        if not (self.path.exists() or self.table.exists()):
            return "nothing"
        return "ours" if has_note(self.table, NOTE) else "others"

    def write(self, table: VectorTable) -> None:
        with atomic_path(self.path) as temporary, TableWriter(temporary, table.schema) as file:
            for rows in table.batches:
                file.write(rows)

    def search(self, users: Vectors, k: int) -> list[Found]:
        rows = read_parquet(self.path, ["item_id", "vector"])
        return found(rows["item_id"], rows["vector"].to_numpy(), users, k)


class NumpyFile(ParquetFile):
    """``NAME.npy``, float32 `[N, D]`; ``NAME.items.parquet`` has the other columns of the same rows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.table = path.with_suffix(".items.parquet")

    def write(self, table: VectorTable) -> None:
        others = pl.Schema({name: kind for name, kind in table.schema.items() if name != "vector"})
        header = {"descr": "<f4", "fortran_order": False, "shape": table.shape}
        with (
            atomic_path(self.path) as vectors,
            atomic_path(self.table) as items,
            TableWriter(items, others) as file,
            vectors.open("wb") as array,
        ):
            np.lib.format.write_array_header_1_0(array, header)
            for rows in table.batches:
                file.write(rows.drop("vector"))
                array.write(rows["vector"].to_numpy().astype("<f4", copy=False).tobytes())

    def search(self, users: Vectors, k: int) -> list[Found]:
        vectors = np.load(self.path, allow_pickle=False, mmap_mode="r")
        return found(read_parquet(self.table, ["item_id"])["item_id"], vectors, users, k)


def found(ids: pl.Series, vectors: Vectors, users: Vectors, k: int) -> list[Found]:
    """Scan vectors `[N, D]` for each of `[n, D]` users."""
    scores = users @ vectors.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [
        list(zip(ids[rows].to_list(), of[rows].tolist(), strict=True))
        for rows, of in zip(best, scores, strict=True)
    ]

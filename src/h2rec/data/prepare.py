"""From files to a `Dataset`: read, clean, cut to the k-core, index, sort."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from h2rec.data.assemble import Placed, assembled, check_core, check_split
from h2rec.data.by_parts import prepare_by_parts
from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories, IntArray, offsets_of
from h2rec.data.interactions import Report, read_interactions
from h2rec.data.k_core import k_core
from h2rec.data.readers import Table, open_table
from h2rec.data.readers.parquet import shards_below
from h2rec.data.settings import DataSettings
from h2rec.data.sources import fetch
from h2rec.engines import LOCAL, Engine
from h2rec.errors import DataError
from h2rec.files import content_key, file_hash

REPLACED_HINT = "run the same command again once nothing writes to it: nothing of this try was kept"
"""What to do about an input that changed under way."""

ROWS_IN_MEMORY = 5_000_000
"""Up to so many rows of Parquet are prepared at once, more of them part by part."""


def prepare(settings: DataSettings, *, engine: Engine = LOCAL, work: Path | None = None) -> Dataset:
    """Read interactions and items and bring them into index order.

    Users are numbered by their first interaction in the file. Items of the item file come first, in its
    order, then those that only the interactions name, by first appearance. Within a user, interactions
    are in time order; ties keep the order of the file. What cleaning did is in the data set's `report`.

    Parquet of more than `ROWS_IN_MEMORY` rows, and all Parquet on a cluster, is prepared part by part, with the same
    result.

    Parameters
    ----------
    engine
        What does the parts.
    work
        Folder of finished parts, from which a killed try goes on; it is for this input and these settings alone, and
        the caller deletes it. By default a temporary one.

    Raises
    ------
    DataError
        If a file can't be read or understood (naming file, line and remedy), or nothing is left.
    """
    located = _with_files(settings)
    assert located.interactions is not None
    interactions = open_table(located.interactions, separator=settings.separator)
    items = None if located.items is None else open_table(located.items, separator=settings.separator)
    if interactions.rows <= (ROWS_IN_MEMORY if engine is LOCAL else 0):
        return prepare_tables(settings, interactions, items)
    if work is not None:
        return prepare_by_parts(settings, interactions, items, engine, work)
    with TemporaryDirectory(prefix="h2rec-") as folder:
        return prepare_by_parts(settings, interactions, items, engine, Path(folder))


def prepare_tables(settings: DataSettings, interactions: Table, items: Table | None) -> Dataset:
    """Prepare tables that were opened, as `prepare` does; the settings' own paths are not read."""
    report: Report = {}
    rows = read_interactions(
        interactions,
        settings.columns,
        report,
        min_rating=settings.min_rating,
        time_format=settings.time_format,
    )
    check_split(settings, interactions, report)
    rows = _cut_to_core(rows, settings.k_core, report)
    user_ids, users = _numbered(rows["user"])
    seen_ids, seen = _numbered(rows["item"])

    def place(item_numbers: IntArray) -> Placed:
        order = np.lexsort((rows["time"].to_numpy(), users))  # stable: ties keep the order of the file
        offsets = offsets_of(np.bincount(users, minlength=len(user_ids)))
        weights = rows["weight"].to_numpy()[order] if "weight" in rows.columns else None
        return Placed(Histories(offsets, item_numbers[seen[order]]), rows["time"].to_numpy()[order], weights)

    return assembled(settings, interactions, items, report, user_ids=user_ids, seen_ids=seen_ids, place=place)


def prepare_as_hashed(
    settings: DataSettings,
    fingerprint: Mapping[str, Any],
    *,
    engine: Engine = LOCAL,
    work: Path | None = None,
) -> Dataset:
    """Prepare data whose fingerprint was taken before, and hold the files to it.

    `engine`, `work`: as in `prepare`. Raises `DataError` as it does, and if a file was replaced or written to since.
    """
    try:
        dataset = prepare(settings, engine=engine, work=work)
    except DataError:
        # Half of a file that is being written is no mistake in the file.
        _refuse_replaced(settings, fingerprint)
        raise
    _refuse_replaced(settings, fingerprint)
    return dataset


def _refuse_replaced(settings: DataSettings, fingerprint: Mapping[str, Any]) -> None:
    now = input_fingerprint(settings)
    located = _with_files(settings)
    for name, path in (("interactions", located.interactions), ("items", located.items)):
        if now[name] != fingerprint[name]:
            raise DataError(f"{path}: changed while it was read", REPLACED_HINT)


def input_fingerprint(settings: DataSettings) -> dict[str, Any]:
    """Describe all that the prepared data depend on: settings and hashes of the files, not their places.

    A named data set is fetched first, if it was not yet.

    Raises `DataError` if a file is missing.
    """
    located = _with_files(settings)
    fingerprint = settings.model_dump(mode="json", exclude={"interactions", "items"})
    # Groups are read off the prepared data: whatever their number, it is the same data still.
    fingerprint["popularity_groups"] = DataSettings.model_fields["popularity_groups"].default
    for name, path in (("interactions", located.interactions), ("items", located.items)):
        if path is not None and not path.exists():
            raise DataError(f"{path}: no such file", f"check data.{name}")
        fingerprint[name] = None if path is None else _identity(path)
    return fingerprint


def _identity(path: Path) -> dict[str, str]:
    if path.is_dir():
        hashes = {file.relative_to(path).as_posix(): file_hash(file) for file in shards_below(path)}
        return {"format": "folder of .parquet", "sha256": content_key(hashes)}
    # The name's endings tell the format, so they count as well.
    return {"format": "".join(path.suffixes[-2:]), "sha256": file_hash(path)}


def _with_files(settings: DataSettings) -> DataSettings:
    if settings.source is None:
        return settings
    fetched = fetch(settings.source)
    files = {"source": None, "interactions": fetched.interactions, "items": fetched.items}
    return settings.model_copy(update=files)


def _cut_to_core(rows: pl.DataFrame, k: int | None, report: Report) -> pl.DataFrame:
    if k is None:
        return rows
    users, items = (rows[name].to_physical().to_numpy() for name in ("user", "item"))
    kept = rows.filter(pl.Series(k_core(users, items, k)))
    check_core(k, rows.height, kept.height, report)
    return kept


def _numbered(values: pl.Series) -> tuple[pl.Series, IntArray]:
    """Return the distinct values by first appearance, as strings, and each row's number among them."""
    distinct = values.unique(maintain_order=True)
    codes = distinct.to_physical().to_numpy()
    number_of_code = np.zeros(int(codes.max()) + 1, dtype=np.int32)
    number_of_code[codes] = np.arange(len(codes), dtype=np.int32)
    return distinct.cast(pl.String).rename("id"), number_of_code[values.to_physical().to_numpy()]

"""Users whose histories can be looked up."""

from pathlib import Path

import polars as pl

from h2rec.data.settings import ColumnSettings
from h2rec.errors import DataError
from h2rec.retrieval.history_files import open_histories

_SCHEMA = pl.Schema([("user", pl.String()), ("history", pl.List(pl.String()))])


class Users:
    """Histories by user, held in memory as columns: what a lookup costs is one comparison a user.

    `path`: a file of histories or of events, see `open_histories`. `most`: items of a history
    that are kept, the newest. `known`: how the training's columns were called.

    Raises `DataError` if the file can't be read as one.
    """

    def __init__(self, path: Path, most: int, known: ColumnSettings) -> None:
        batches = [
            pl.DataFrame(
                {"user": batch.users, "history": [items[-most:] for items in batch.histories]}, _SCHEMA
            )
            for batch in open_histories(path, known=known).batches()
        ]
        self._table = pl.concat([pl.DataFrame(schema=_SCHEMA), *batches])

    def __len__(self) -> int:
        return self._table.height

    def history(self, user_id: str) -> list[str]:
        """Item ids, oldest first. Raises `DataError` for a user who is not in the table."""
        rows = self._table.filter(pl.col("user") == user_id.strip())["history"].to_list()
        if not rows:
            raise DataError(f"no user '{user_id[:80]}' in the table of histories")
        history: list[str] = rows[0]
        return history

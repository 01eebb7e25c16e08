"""A cache of embeddings by text: an SQLite file in the cache folder, with a hash for each vector."""

import contextlib
import hashlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)

Vector = npt.NDArray[np.float32]
_FILE = "vectors.sqlite"
_LARGEST_BYTES = 4 << 30
_SECONDS_A_DAY = 86_400
_KEYS_A_QUESTION = 500
_WAIT_SECONDS = 20
_TABLE = """CREATE TABLE IF NOT EXISTS vector
(key BLOB PRIMARY KEY, numbers BLOB NOT NULL, hash BLOB NOT NULL, day INTEGER NOT NULL) WITHOUT ROWID"""


class VectorStore:
    """A cache that stops nothing when it is shared, damaged, full or forbidden: it then keeps less, and says so.

    SQLite keeps it consistent through kills and between processes. Vectors are checked against their hashes; a damaged
    row counts as absent. Above `largest` bytes the vectors that were unused the longest are deleted. `maker` is the
    encoder's key for everything that decides a vector besides the text.
    """

    def __init__(self, folder: Path, maker: str, *, largest: int = _LARGEST_BYTES) -> None:
        self._path = folder / _FILE
        self._maker = maker.encode()
        self._largest = largest
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._recover(error)
        except OSError as error:
            self._disable(error)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def find(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Return the cached vectors of texts, `[m]` each."""
        text_of = {self._key(text): text for text in texts}
        vectors: dict[str, Vector] = {}
        damaged = 0
        keys = list(text_of)
        try:
            for start in range(0, len(keys) if self._connection else 0, _KEYS_A_QUESTION):
                for key, numbers, check in self._ask(keys[start : start + _KEYS_A_QUESTION]):
                    if _hash(key, numbers) == check and len(numbers) % 4 == 0:
                        vectors[text_of[key]] = np.frombuffer(numbers, dtype="<f4").astype(np.float32)
                    else:
                        damaged += 1
        except sqlite3.DatabaseError as error:
            self._recover(error)
        if damaged:
            logger.warning("%s: %s embeddings are damaged and are made again", self._path, damaged)
        if len({len(vector) for vector in vectors.values()}) > 1:
            return {}  # vectors of one maker have one size
        return vectors

    def keep(self, vectors: Mapping[str, Vector]) -> None:
        """Keep the vectors of texts, at once: a killed run loses none of them."""
        if self._connection is None:
            return
        day = int(time.time()) // _SECONDS_A_DAY
        rows = []
        for text, vector in vectors.items():
            key, numbers = self._key(text), np.asarray(vector, dtype="<f4").tobytes()
            rows.append((key, numbers, _hash(key, numbers), day))
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?, ?)", rows)
            self._sweep()
        except sqlite3.DatabaseError as error:
            self._recover(error)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self._path, timeout=_WAIT_SECONDS)
        with self._connection:
            self._connection.execute(_TABLE)

    def _ask(self, keys: Sequence[bytes]) -> Iterable[tuple[bytes, bytes, bytes]]:
        assert self._connection is not None
        places = ",".join("?" * len(keys))
        rows = self._connection.execute(
            f"SELECT key, numbers, hash, day FROM vector WHERE key IN ({places})", keys
        )
        answers = rows.fetchall()
        day = int(time.time()) // _SECONDS_A_DAY
        old = [(day, key) for key, _, _, used in answers if used < day]
        # A file that can't be written can still be read.
        with contextlib.suppress(sqlite3.OperationalError), self._connection:
            self._connection.executemany("UPDATE vector SET day = ? WHERE key = ?", old)
        return ((bytes(key), bytes(numbers), bytes(check)) for key, numbers, check, _ in answers)

    def _sweep(self) -> None:
        assert self._connection is not None
        size = self._path.stat().st_size
        free, page = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("freelist_count", "page_size")
        )
        if size - free * page <= self._largest:
            return
        count = self._connection.execute("SELECT count(*) FROM vector").fetchone()[0]
        with self._connection:  # the file reuses the room
            self._connection.execute(
                "DELETE FROM vector WHERE key IN (SELECT key FROM vector ORDER BY day LIMIT ?)", (count // 2,)
            )
        message = "%s: larger than %s bytes; the half that was unused the longest is gone"
        logger.info(message, self._path, self._largest)

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        self._close()
        if isinstance(error, sqlite3.OperationalError):  # locked, full, forbidden
            self._disable(error)
            return
        logger.warning("%s is damaged (%s) and is made again", self._path, error)
        try:
            for name in (_FILE, f"{_FILE}-journal"):
                self._path.with_name(name).unlink(missing_ok=True)
            self._open()
        except (OSError, sqlite3.DatabaseError) as again:
            self._disable(again)

    def _disable(self, error: Exception) -> None:
        self._close()
        message = "embeddings are not kept for later runs: %s: %s; H2REC_CACHE names another cache folder"
        logger.warning(message, self._path, error)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _key(self, text: str) -> bytes:
        # A lone surrogate, which JSON may bring, has no UTF-8.
        return hashlib.sha256(self._maker + b"\0" + text.encode("utf-8", "surrogatepass")).digest()


def _hash(key: bytes, numbers: bytes) -> bytes:
    return hashlib.sha256(key + numbers).digest()[:16]

"""JSON lines that outlive the process that writes them."""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from h2rec.errors import StorageError
from h2rec.files import flush_to_disk
from h2rec.serving.experiment.settings import LogSettings

_MEGABYTE = 1 << 20
PART = ".part"
"""Ending of the name of a file that is being written, or whose writer was killed."""


class DurableLog:
    """Writes rows into a folder, a file at a time, named ``KIND-PROCESS-TIME-NUMBER.jsonl``.

    When `write` returns, the operating system has the rows: they survive the end of this process, however it ends. A
    file carries `.part` at the end of its name until the next one is begun or the log is closed. Any number of
    processes may write into one folder; each has files of its own. May be called from any thread.

    Raises `StorageError` if the folder can't be made.

    `kind`: begin of the files' names. `clock`: tells the time in seconds since 1970.
    """

    def __init__(self, settings: LogSettings, kind: str, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._kind = kind
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._descriptor: int | None = None
        self._path = Path()
        self._size = 0
        self._begun = 0.0
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"can't make {settings.folder}: {error.strerror}") from None

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows, all or none. Raises `StorageError` if the system does not take them."""
        text = "".join(f"{json.dumps(row, allow_nan=False)}\n" for row in rows).encode()
        with self._lock:
            try:
                self._rotate_if_due()
                descriptor = self._opened()
                self._append(descriptor, text)
            except OSError as error:
                raise StorageError(
                    f"can't write {self._path if self._descriptor is not None else self._settings.folder}: "
                    f"{error.strerror}",
                    "check free space and permissions of the folder of the log",
                ) from None
            self._size += len(text)

    def rotate_if_due(self) -> None:
        """Finish a file whose time is over, also where nothing is written any more."""
        with self._lock, suppress(OSError):  # it is tried again with the next rows
            self._rotate_if_due()

    def close(self) -> None:
        """Finish the file; what is written later begins another."""
        with self._lock, suppress(OSError):
            self._finish()

    def _append(self, descriptor: int, text: bytes) -> None:
        left = memoryview(text)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
            if self._settings.fsync:
                os.fsync(descriptor)
        except OSError:
            try:
                os.ftruncate(descriptor, self._size)  # half a row would spoil the next one
            except OSError:
                self._descriptor = None
                os.close(descriptor)  # half a row at the end of a file that stays .part spoils nothing
            raise

    def _opened(self) -> int:
        if self._descriptor is not None:
            return self._descriptor
        folder = self._settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._begun = self._clock()
        begun = datetime.fromtimestamp(self._begun, UTC).strftime("%Y%m%dT%H%M%SZ")
        while True:
            name = f"{self._kind}-{os.getpid()}-{begun}-{next(self._numbers)}.jsonl"
            self._path = folder / f"{name}{PART}"
            if (folder / name).exists():
                continue
            with suppress(FileExistsError):
                # Appending, so that what is taken back leaves no hole.
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                self._descriptor = os.open(self._path, flags, 0o666)
                self._size = 0
                if self._settings.fsync:
                    flush_to_disk(folder)
                return self._descriptor

    def _rotate_if_due(self) -> None:
        full = self._size >= self._settings.max_mb * _MEGABYTE
        if full or self._clock() - self._begun >= self._settings.max_minutes * 60:
            self._finish()

    def _finish(self) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        os.close(descriptor)
        self._path.rename(self._path.with_suffix(""))  # without the .part

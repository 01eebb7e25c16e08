"""One at a time: locks of files that the system drops with the process that holds them."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

_held: dict[Path, int] = {}
_guard = threading.Lock()


@contextmanager
def locked(path: Path, what: str, level: int = logging.INFO) -> Iterator[bool]:
    """Wait for the lock of a file, which is created, and hold it; yield whether it is held.

    The system drops it with the process, so a killed one blocks nobody. Where there are no such locks (Windows, some
    network drives, a folder that can't be written), a warning says so and the work goes on; two
    processes then both do all of it.

    `what`: what is waited for, for the log. `level`: how loudly the log tells that it is waited for.
    """
    with ExitStack() as stack:
        stream = _open(path)
        if stream is None:
            yield False
            return
        stack.enter_context(stream)
        yield _acquire(stream, what, level)


@contextmanager
def locked_by_process(path: Path, what: str, level: int = logging.INFO) -> Iterator[bool]:
    """Do as `locked` does, but never wait for this same process: it may hold a lock several times over."""
    path = path.resolve()
    with _guard:
        again = path in _held
        _held[path] = _held.get(path, 0) + 1
    try:
        if again:
            yield True
        else:
            with locked(path, what, level) as held:
                yield held
    finally:
        with _guard:
            _held[path] -= 1
            if not _held[path]:
                del _held[path]


def _open(path: Path) -> IO[str] | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        # Writing beside it will raise the error; reading needs no lock.
        logger.debug("%s: no lock (%s)", path, error.strerror)
        return None


def _acquire(stream: IO[str], what: str, level: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.log(level, "%s: another process is at it; waiting", what)
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError as error:
        logger.warning(
            "%s: this file system has no locks (%s); don't run two commands on it at once",
            stream.name,
            error.strerror,
        )
        return False
    return True

"""Several processes behind one socket: each takes connections in its turn, so that none has most of them."""

import asyncio
from collections.abc import Callable, MutableSequence
from socket import socket

COMING = 2**31 - 1
"""The count of a process that will take some soon."""
GONE = COMING - 1
"""The count of a process that takes none."""
_PATIENCE = 0.002
"""Seconds that others are given to take a connection first."""
_WAITS, _TURNS = 3, 16
"""After so many waits in which nobody else took one, so many connections are taken without waiting."""
_TOGETHER = 60.0
"""Seconds that those who are loading are waited for."""
_WAITING = 2048
"""Connections that may wait to be taken."""
_BREATH = 1.0
"""Seconds to wait where the system has no room for another connection."""


class FairAccepter:
    """Takes connections one by one, and lets processes that have fewer go first.

    asyncio's own servers take all that wait at once. So of connections that come together, and stay, as those of a
    load balancer do, most are with the process that woke up first, and the others have nothing to do.

    Parameters
    ----------
    listening
        The socket that all listen on.
    counts
        Open connections of every process, shared by all, without a lock: a process that is killed would keep it.
    place
        Which of them is this one's.
    count
        Tells how many connections are open here.
    make
        Makes the protocol of a connection.
    """

    def __init__(
        self,
        listening: socket,
        counts: MutableSequence[int],
        place: int,
        count: Callable[[], int],
        make: Callable[[], asyncio.BaseProtocol],
    ) -> None:
        self._listening = listening
        self._counts = counts
        self._place = place
        self._count = count
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[None]] = set()
        self._has_waited = False
        self._turns = self._unmoved = 0
        self._others = -1
        self._again: asyncio.TimerHandle | None = None

    async def start(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Begin, together with the others if these do not take too long: the first one would get all.

        `stopped`: whether there is nothing to begin any more.
        """
        self.publish()
        until = self._loop.time() + _TOGETHER
        while COMING in self._counts[:] and self._loop.time() < until and not stopped():
            await asyncio.sleep(0.05)
        if stopped():
            return
        self._listening.setblocking(False)
        self._listening.listen(_WAITING)
        self._listen()

    def publish(self) -> int:
        """Let the others know how many connections are open here."""
        count = self._counts[self._place] = self._count() + len(self._coming)
        return count

    def close(self) -> None:
        """Take no more."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listening)
        self._counts[self._place] = GONE

    def _listen(self) -> None:
        self._again = None
        self.publish()
        self._loop.add_reader(self._listening, self._take)

    def _take(self) -> None:
        own, counts = self.publish(), self._counts[:]
        if own > min(counts) and not self._turns:
            if not self._has_waited:
                self._has_waited = True
                self._pause(_PATIENCE)
                return
            # Others may just have waited, too; who took nothing in several waits is busy, or hangs.
            others = sum(counts) - own
            self._unmoved = self._unmoved + 1 if others == self._others else 0
            self._others = others
            self._turns = _TURNS if self._unmoved > _WAITS else 1
        self._has_waited = False
        self._turns = max(0, self._turns - 1)
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # another process was faster, or the client is gone
        except OSError:
            self._pause(_BREATH)
            return
        coming = self._loop.create_task(self._connect(connection))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._again = self._loop.call_later(seconds, self._listen)

    async def _connect(self, connection: socket) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:
            connection.close()  # the client is gone

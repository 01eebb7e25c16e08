"""Several processes behind one socket: each takes connections in its turn, so that none has most of them."""

import asyncio
from collections.abc import Callable
from multiprocessing.sharedctypes import SynchronizedArray
from socket import socket

NOBODY = 2**31 - 1
"""The count of a process that takes none."""
_PATIENCE = 0.002
_TOGETHER = 60.0
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
        Open connections of every process, shared by all.
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
        counts: "SynchronizedArray[int]",
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
        self._again: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin, together with the others if these do not take too long: the first one would get all."""
        self.publish()
        until = self._loop.time() + _TOGETHER
        while NOBODY in self._counts[:] and self._loop.time() < until:
            await asyncio.sleep(0.05)
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
        self._counts[self._place] = NOBODY

    def _listen(self) -> None:
        self._again = None
        self.publish()
        self._loop.add_reader(self._listening, self._take)

    def _take(self) -> None:
        if self.publish() > min(self._counts[:]) and not self._has_waited:
            self._has_waited = True  # whoever has fewer may be busy, or gone
            self._pause(_PATIENCE)
            return
        self._has_waited = False
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

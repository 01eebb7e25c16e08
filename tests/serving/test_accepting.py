"""Connections that come together are shared out."""

import asyncio
import socket
from multiprocessing import get_context

from h2rec.serving.accepting import COMING, GONE, FairAccepter


class Kept(asyncio.Protocol):
    def __init__(self, kept):
        self.kept = kept

    def connection_made(self, transport):
        self.kept.append(transport)

    def connection_lost(self, _):
        self.kept.pop()


class Scene:
    """Some processes in one loop, behind one socket."""

    def __init__(self, processes):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.counts = get_context("spawn").Array("q", [COMING] * processes, lock=False)
        self.kept = [[] for _ in range(processes)]
        self.clients = []

    def accepter(self, place):
        kept = self.kept[place]
        return FairAccepter(self.listening.dup(), self.counts, place, lambda: len(kept), lambda: Kept(kept))

    def connect(self, count):
        self.clients += [socket.create_connection(self.listening.getsockname()) for _ in range(count)]

    async def taken(self, count):
        async with asyncio.timeout(5):
            while sum(map(len, self.kept)) != count:
                await asyncio.sleep(0.01)
        return [len(kept) for kept in self.kept]


def test_connections_that_come_at_once_are_shared_out():
    async def scene():
        made = Scene(3)
        await asyncio.gather(*(made.accepter(place).start() for place in range(3)))
        made.connect(30)
        assert max(await made.taken(30)) <= 12
        made.connect(30)
        assert max(await made.taken(60)) <= 22

    asyncio.run(scene())


def test_who_has_more_lets_others_go_first(monkeypatch):
    async def scene():
        monkeypatch.setattr("h2rec.serving.accepting._PATIENCE", 0.3)
        made = Scene(2)
        made.counts[1] = 0
        await made.accepter(0).start()
        made.connect(2)
        await asyncio.sleep(0.1)
        assert made.kept[1] == []
        assert len(made.kept[0]) == 1
        assert await made.taken(2) == [2, 0]

    asyncio.run(scene())


def test_of_one_that_is_busy_the_others_do_the_work():
    async def scene():
        made = Scene(2)
        made.counts[1] = 0  # it has none, and takes none
        await made.accepter(0).start()
        made.connect(10)
        assert await made.taken(10) == [10, 0]

    asyncio.run(scene())


def test_the_first_waits_for_the_others_but_not_for_ever(monkeypatch):
    async def scene():
        made = Scene(2)
        one, two = made.accepter(0), made.accepter(1)
        first = asyncio.create_task(one.start())
        await asyncio.sleep(0.2)
        assert not first.done()
        await asyncio.gather(first, two.start())
        two.close()
        assert made.counts[:] == [0, GONE]
        made.connect(4)
        assert await made.taken(4) == [4, 0]  # who has stopped is not waited for
        monkeypatch.setattr("h2rec.serving.accepting._TOGETHER", 0.1)
        async with asyncio.timeout(2):
            await made.accepter(0).start()

    asyncio.run(scene())


def test_no_room_for_another_connection_is_waited_out(monkeypatch):
    async def scene():
        monkeypatch.setattr("h2rec.serving.accepting._BREATH", 0.05)
        made = Scene(1)
        accepter = made.accepter(0)
        await accepter.start()
        whole = accepter._listening

        class Full:
            def fileno(self):
                return whole.fileno()

            def accept(self):
                accepter._listening = whole
                raise OSError(24, "Too many open files")

        accepter._listening = Full()
        made.connect(2)
        assert await made.taken(2) == [2]

    asyncio.run(scene())


def test_one_that_is_stopped_while_it_waits_does_not_begin():
    async def scene():
        made = Scene(2)
        async with asyncio.timeout(2):
            await made.accepter(0).start(lambda: True)
            made.connect(1)
            await asyncio.sleep(0.1)
        assert made.kept == [[], []]

    asyncio.run(scene())


def test_a_process_that_hangs_holds_nobody_up():
    async def scene():
        made = Scene(2)
        made.counts[1] = 0
        await made.accepter(0).start()
        # Half of the test's sockets are the clients'.
        for _ in range(4):
            made.connect(50)
        started = asyncio.get_running_loop().time()
        await made.taken(200)
        assert asyncio.get_running_loop().time() - started < 0.3  # 0.4 and more, if each one waited

    asyncio.run(scene())

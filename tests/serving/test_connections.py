"""Bounds that hold before any token: heads, waiting, the number of connections."""

import asyncio
import contextlib

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from h2rec.serving.connections import BoundedConnection, close_late
from h2rec.serving.settings import ServeSettings

ASK = b"GET / HTTP/1.1\r\nhost: localhost\r\n"


class Scene:
    """A server on loopback whose application answers when it is let go."""

    def __init__(self, size=2, **settings):
        self.settings = ServeSettings.parse(settings)
        self.state = ServerState()
        self.go = asyncio.Event()
        self.go.set()
        self.size = size

    async def app(self, scope, receive, send):
        await self.go.wait()
        while (await receive()).get("more_body", False):
            pass
        headers = [(b"content-length", str(self.size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * self.size})

    async def __aenter__(self):
        config = Config(self.app, interface="asgi3", ws="none", lifespan="off", log_level="critical")
        config.load()
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: BoundedConnection(config, self.state, {}, settings=self.settings), "127.0.0.1", 0
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for connection in list(self.state.connections):
            connection.drop()

    async def open(self, sent=b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await asyncio.sleep(0.02)
        return reader, writer


async def status(reader):
    line = await asyncio.wait_for(reader.readline(), 5)
    return int(line.split()[1]) if line else None


async def closed(reader):
    with contextlib.suppress(ConnectionResetError):
        while await asyncio.wait_for(reader.read(65536), 5):
            pass


def test_waiting_connections_do_not_count_against_asking_ones():
    async def scene():
        async with Scene(max_connections=5) as server:
            idle = [await server.open() for _ in range(12)]
            assert len(server.state.connections) == 5
            for _ in range(3):
                reader, _ = await server.open(ASK + b"\r\n")
                assert await status(reader) == 200
            await closed(idle[0][0])

    asyncio.run(scene())


def test_one_too_many_is_refused_where_all_are_being_answered():
    async def scene():
        async with Scene(max_connections=3) as server:
            server.go.clear()
            asking = [await server.open(ASK + b"\r\n") for _ in range(3)]
            assert await status((await server.open())[0]) == 503
            server.go.set()
            assert [await status(reader) for reader, _ in asking] == [200] * 3

    asyncio.run(scene())


@pytest.mark.parametrize(
    "head",
    [
        ASK + b"x: " + b"a" * 5000 + b"\r\n\r\n",
        ASK + b"".join(b"x-%d: a\r\n" % number for number in range(50)) + b"\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
    ids=["one header", "many headers", "line"],
)
def test_large_heads_are_refused(head):
    async def scene():
        async with Scene(max_head=2048, max_headers=20) as server:
            reader, _ = await server.open(head)
            assert await status(reader) == 431
            await closed(reader)

    asyncio.run(scene())


@pytest.mark.parametrize(
    "start",
    [
        ASK,
        ASK + b"x: ",
        b"GET /",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;x=",
    ],
    ids=["headers", "header", "line", "trailer", "extension"],
)
def test_endless_ones_are_cut(start):
    async def scene():
        async with Scene(max_head=2048, max_body=1000) as server:
            server.go.clear()
            reader, writer = await server.open(start)
            part = b"a" * 10_000 if start != ASK else b"x: y\r\n" * 2000
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    writer.write(part)
                    await writer.drain()
                pytest.fail("10 MB were taken")
            await closed(reader)

    asyncio.run(scene())


def test_a_head_in_two_parts_with_a_body_behind_it_is_taken():
    async def scene():
        async with Scene(max_head=2048) as server:
            reader, writer = await server.open(ASK.replace(b"GET", b"POST"))
            writer.write(b"content-length: 100000\r\n\r\n" + b"a" * 100_000)
            assert await status(reader) == 200

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("sent", "size"),
    [
        (b"", 2),
        (b"GET / HT", 2),
        (ASK + b"\r\n", 2),
        (ASK + b"\r\n", 20_000_000),
        (ASK + b"connection: close\r\n\r\n", 20_000_000),
        (b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nx", 2),
    ],
    ids=["nothing", "half a head", "no next request", "unread answer", "unread last answer", "half a body"],
)
def test_nobody_lets_the_server_wait_for_ever(monkeypatch, sent, size):
    async def scene():
        async with Scene(size=size) as server:
            _, writer = await server.open(sent)
            writer.transport.pause_reading()
            await asyncio.sleep(0.1)
            close_late(server.state.connections)
            assert len(server.state.connections) == 1  # not at once
            now = asyncio.get_running_loop().time()
            monkeypatch.setattr("h2rec.serving.connections.monotonic", lambda: now + 100)
            close_late(server.state.connections)
            await asyncio.sleep(0.05)
            assert not server.state.connections

    asyncio.run(scene())


def test_a_client_that_waits_for_its_answer_is_not_late(monkeypatch):
    async def scene():
        async with Scene() as server:
            server.go.clear()
            reader, _ = await server.open(ASK + b"\r\n" + ASK)  # and begins another
            now = asyncio.get_running_loop().time()
            monkeypatch.setattr("h2rec.serving.connections.monotonic", lambda: now + 100)
            close_late(server.state.connections)
            server.go.set()
            assert await status(reader) == 200

    asyncio.run(scene())


def test_unread_answers_do_not_hide_behind_requests_in_hand(monkeypatch):
    async def scene():
        async with Scene(size=20_000_000) as server:
            _, writer = await server.open()
            writer.transport.pause_reading()
            writer.write((ASK + b"\r\n") * 3)
            await asyncio.sleep(0.1)
            (connection,) = server.state.connections
            now = asyncio.get_running_loop().time()
            monkeypatch.setattr("h2rec.serving.connections.monotonic", lambda: now + 100)
            assert connection.deadline is not None  # and so it makes way for others
            close_late(server.state.connections)
            await asyncio.sleep(0.05)
            assert not server.state.connections

    asyncio.run(scene())

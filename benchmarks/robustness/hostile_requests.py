"""Hostile requests against a server of its own on loopback: what it answers and takes, and whether it still serves.

    python benchmarks/robustness/hostile_requests.py runs/shop/bundle    # a copy: items are added beside it

Fails where anything is answered 5xx but 503 and 507, where memory grows, or a plain question is not answered after it.
"""

import argparse
import atexit
import contextlib
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from load import Server

SECONDS = 6
MEMORY_MB = 150
JSON = b"content-type: application/json\r\n"


def request(line: bytes, body: bytes = b"", headers: bytes = JSON) -> bytes:
    length = b"content-length: %d\r\n" % len(body) if body or line.startswith(b"POST") else b""
    return line + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + headers + length + b"\r\n" + body


def post(path: str, body: object) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(b"POST " + path.encode(), text)


def bodies(item: str) -> Iterator[object]:
    """Bodies for every route that takes one."""
    yield from (
        b"",
        b"{",
        b"null",
        b"[]",
        b"0",
        b'""',
        b"\xff\xfe",
        b"\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
    )
    for value in (
        b"NaN",
        b"Infinity",
        b"-0",
        b"1e999",
        b"9" * 5000,
        b'"\\ud800"',
        b"true",
        b"null",
        b"{}",
        b"[[]]",
    ):
        yield b'{"history": [' + value + b'], "k": 5}'
        yield b'{"history": [], "k": ' + value + b"}"
        yield b'{"history": [], "tail_share": ' + value + b"}"
        yield b'{"queries": ' + value + b"}"
        yield b'{"items": ' + value + b"}"
    yield b'{"history": ["a"], "history": ["b"], "k": 1, "k": 2}'
    yield {"history": [item], "__proto__": {}}
    yield {"history": ["a\r\nset-cookie: x=1", "\x1b[2J", "\u202e", "\x00", "<script>", "../../etc/passwd"]}
    yield {"history": ["x" * 512] * 1000}
    yield {"history": ["x" * 600]}
    yield {"history": [item] * 1001}
    yield {"history": [item], "k": 500, "explain": True}
    yield {"history": [item], "k": 10**30}
    filters: list[object] = [
        {"allow": []},
        {"deny": [f"d{n}" for n in range(10_000)]},
        {"deny": ["d"] * 10_001},
        {"where": {"nowhere": ["x"]}},
        {"where": {"item_id\r\n": []}},
        {"where": {f"f{n}": [] for n in range(9000)}},
        {"where": {"category": [f"v{n}" for n in range(9000)]}},
        {"where": {"category": [None]}},
        {"where": []},
        {"seen": "perhaps"},
    ]
    yield from ({"history": [item], "filter": entry} for entry in filters)
    yield {"queries": [{"history": [item], "k": 1}] * 257}
    yield {"queries": [{"history": [item], "k": 500, "explain": True}] * 20}
    yield {"queries": [{"history": [], "filter": {"where": {"nowhere": ["x"]}}}, {"history": [item]}]}
    yield {"items": [{"item_id": item, "fields": {}}] * 1001}
    yield {"items": [{"item_id": f"n{n}", "fields": {"title": "x" * 900}} for n in range(1000)]}
    yield {"items": [{"item_id": "n", "fields": {"title": "x" * 20_001}}]}
    yield {"items": [{"item_id": "n\r\nx", "fields": {"../x": "y", "title": "\x00"}}] * 2}
    yield {"items": [{"item_id": "n", "fields": {f"f{n}": "y" for n in range(20_000)}}]}
    yield b'{"history": ["' + b"a" * (1 << 20) + b'"]}'


def paths() -> Iterator[bytes]:
    """Paths and queries."""
    for path in (
        b"/..",
        b"/../../etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/explorer/../../settings.py",
        b"//",
        b"/%00",
    ):
        yield path
    for path in (
        b"/explorer/%2e%2e%2fapp.py",
        b"/explorer//etc/passwd",
        b"/explorer/..\\app.py",
        b"/explorer/",
        b"/%ff",
    ):
        yield path
    for path in (
        b"/a%0d%0aset-cookie:x=1",
        b"/" + b"a" * 30_000,
        b"/" + b"a" * 70_000,
        b"*",
        b"http://evil.example/",
        b"/\xff",
    ):
        yield path
    for query in (
        b"",
        b"item_id=",
        b"item_id=%00",
        b"item_id=%ff",
        b"item_id=" + b"x" * 600,
        b"item_id=i3&k=0",
        b"item_id=i3&k=1e9",
    ):
        yield b"/similar?" + query
    for query in (
        b"item_id=i3&k=501",
        b"item_id=i3&branch=%0d%0a",
        b"item_id=i3&item_id=i4",
        b"item_id=i3&k=" + b"9" * 5000,
    ):
        yield b"/similar?" + query
    for query in (
        b"query=(((((",
        b"query=" + b"a+" * 99,
        b"query=%00",
        b"query=.*",
        b"limit=-1",
        b"limit=101",
        b"&".join([b"item_id=x"] * 101),
    ):
        yield b"/items?" + query
    for query in (
        b"prefix=1,,2",
        b"prefix=999999",
        b"prefix=-1",
        b"prefix=" + b",".join([b"1"] * 17),
        b"prefix=%D9%A1",
        b"prefix=1%0a",
    ):
        yield b"/codes?" + query
    yield from (b"/nowhere/%d" % number for number in range(60))


def raw() -> Iterator[bytes]:
    """What is hardly HTTP."""
    for method in (
        b"HEAD",
        b"OPTIONS",
        b"PUT",
        b"DELETE",
        b"PATCH",
        b"TRACE",
        b"CONNECT",
        b"PROPFIND",
        b"NONSENSE",
        b"get",
    ):
        for path in (b"/", b"/recommend", b"/reload", b"/metrics"):
            yield request(method + b" " + path)
    yield from (
        b"\r\n\r\n",
        b"\x00" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    )
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500
    for headers in (
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: -1\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"content-length: 1000\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked, chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"expect: 100-continue\r\ncontent-length: 10\r\n",
        b"upgrade: websocket\r\nconnection: upgrade\r\n",
        b"upgrade: h2c\r\nconnection: upgrade\r\n",
        b"host: evil.example\r\n",
        b"origin: http://evil.example\r\n",
        b"x: " + b"a" * 100_000 + b"\r\n",
        b"x: y\r\n" * 1000,
        b"x : y\r\n",
        b"x\r\n",
        b" folded: y\r\n",
        b"x: \x00\r\n",
        b"authorization: Bearer " + b"\xff" * 100 + b"\r\n",
        b"content-encoding: gzip\r\n",
        b"range: bytes=0-,1-,2-\r\n",
        b"if-none-match: " + b'"a",' * 1000 + b"\r\n",
    ):
        for path in (b"POST /recommend", b"GET /explorer/explorer.js"):
            yield path + b" HTTP/1.1\r\nhost: localhost\r\n" + headers + b"\r\n" + b"{}"
    chunked = (
        b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n" + JSON + b"\r\n"
    )
    yield from (
        chunked + b"zz\r\n",
        chunked + b"ffffffffffffffff1\r\n",
        chunked + b"1;" + b"x" * 200_000,
        chunked + b"0\r\nx: " + b"a" * 200_000,
    )
    yield b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2000


def send(port: int, data: bytes) -> int:
    """Status of the first answer; 0 where the connection was closed without one, -1 where nothing came in time."""
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            with contextlib.suppress(OSError):  # refused before it was all sent: there may be an answer
                connection.sendall(data)
            line = connection.recv(65536).split(b"\r\n")[0].split()
            return int(line[1]) if len(line) > 1 else 0
    except TimeoutError:
        return -1
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    item = pl.read_parquet(arguments.bundle / "items.parquet")["item_id"][0]
    sent = [
        post(path, body) for body in bodies(item) for path in ("/recommend", "/recommend/batch", "/items")
    ]
    sent += [post("/reload", body) for body in (b"", b"{", {"history": [item]})]
    sent += [request(b"GET " + path, headers=b"") for path in paths()]
    sent += list(raw())
    random.Random(arguments.seed).shuffle(sent)
    server = Server(arguments.bundle)
    atexit.register(server.process.kill)
    plain = json.dumps({"history": [item], "k": 5})
    server.post("/recommend", plain)
    warm, measured, statuses, faults = len(sent) // 4, 0, Counter[int](), []
    for number, data in enumerate(sent):
        status = send(server.port, data)
        statuses[status] += 1
        if status >= 500 and status not in (503, 507):
            faults.append(f"{status}: {data[:120]!r}")
        if number == warm:
            measured = server.memory_mb()
    storm = [threading.Thread(target=send, args=(server.port, request(b"POST /reload"))) for _ in range(30)]
    for thread in storm:
        thread.start()
    for thread in storm:
        thread.join()
    time.sleep(1)
    grown = server.memory_mb() - measured
    labels = server.get("/metrics").decode().count("h2rec_requests_total{")
    if grown > MEMORY_MB:
        faults.append(f"memory grew by {grown} MB")
    if labels > 100:
        faults.append(f"the metrics have {labels} lines of requests")
    started = time.perf_counter()
    if len(json.loads(server.post("/recommend", plain))["items"]) != 5:
        faults.append("a plain question is not answered")
    seconds = time.perf_counter() - started
    print(
        f"{len(sent)} requests: {dict(sorted(statuses.items()))}; memory {grown:+d} MB; answered in {seconds:.3f} s"
    )
    print("\n".join(faults) or "no fault")
    server.process.terminate()
    server.process.wait(20)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

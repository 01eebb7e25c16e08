"""Downloads against a local server that breaks off, refuses, and changes its mind."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from h2rec.data.sources import download as downloads
from h2rec.data.sources.download import download
from h2rec.errors import DataError

CONTENT = bytes(range(256)) * 4000


@dataclass
class Server:
    url: str = ""
    break_after: list[int] = field(default_factory=list)  # bytes sent before each break
    ranges: bool = True
    status: list[int] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append(wanted)
            if state.status:
                self.send_error(state.status.pop(0))
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.ranges else 0
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = CONTENT[start:]
            self.send_response(206 if wanted and state.ranges else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.break_after.pop(0)] if state.break_after else body)

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{listening.server_port}/data.zip"
    monkeypatch.setattr(downloads, "_PAUSE_SECONDS", 0.0)
    yield state
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_whole_at_once_and_not_again(server, tmp_path):
    path = tmp_path / "raw" / "data.zip"
    assert download(server.url, path, md5=hashlib.md5(CONTENT).hexdigest()).read_bytes() == CONTENT
    download(server.url, path)
    assert server.requests == [None]
    assert [file.name for file in path.parent.iterdir()] == ["data.zip"]


def test_goes_on_where_it_broke_off(server, tmp_path):
    server.break_after = [100_000, 50_000]
    assert download(server.url, tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=100000-", "bytes=150000-"]


def test_what_was_received_outlives_the_run(server, tmp_path):
    server.break_after = [1000, 1000]
    with pytest.raises(DataError, match="can't be fetched"):
        download(server.url, tmp_path / "data.zip", attempts=2)
    assert not (tmp_path / "data.zip").exists()
    assert (tmp_path / "data.zip.part").stat().st_size == 2000
    assert download(server.url, tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.requests[-1] == "bytes=2000-"


def test_starts_over_where_the_server_knows_no_ranges(server, tmp_path):
    server.ranges = False
    (tmp_path / "data.zip.part").write_bytes(b"x" * 1000)
    assert download(server.url, tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_taken(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"x")
    assert download(server.url, tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(
        DataError, match=r"the checksum is [0-9a-f]{32}, published is abc\n.*put it at .*data\.zip"
    ):
        download(server.url, tmp_path / "data.zip", md5="abc")
    assert list(tmp_path.iterdir()) == []


def test_a_file_put_there_by_hand_is_checked_too(server, tmp_path):
    path = tmp_path / "data.zip"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="the checksum is"):
        download(server.url, path, md5=hashlib.md5(CONTENT).hexdigest())
    assert server.requests == []


def test_an_overloaded_server_is_asked_again_and_a_missing_file_is_not(server, tmp_path):
    server.status = [503, 429]
    assert download(server.url, tmp_path / "data.zip").read_bytes() == CONTENT
    server.requests.clear()
    server.status = [404]
    with pytest.raises(DataError, match="Not Found"):
        download(server.url, tmp_path / "other.zip")
    assert len(server.requests) == 1


def test_nobody_listens(tmp_path):
    with pytest.raises(
        DataError, match=r"http://127\.0\.0\.1:9/x: can't be fetched .*\n.*get it|by other means"
    ):
        download("http://127.0.0.1:9/x", tmp_path / "x")

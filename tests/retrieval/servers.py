"""Servers that tests of exports start: PostgreSQL with pgvector, and a stand-in for search engines."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest


def postgres_programs():
    """Folder of PostgreSQL's programs, of a build that has pgvector."""
    found = find_spec("pgserver")
    if found is not None:
        return Path(found.origin).parent / "pginstall" / "bin"
    config = shutil.which("pg_config")
    if config is not None:
        told = [
            subprocess.check_output([config, word], text=True).strip() for word in ("--bindir", "--sharedir")
        ]
        if (Path(told[1]) / "extension" / "vector.control").exists():
            return Path(told[0])
    pytest.skip("no PostgreSQL with pgvector is here (the package pgserver brings one)")


@contextlib.contextmanager
def postgres():
    """A server of its own, reached by a socket; yields the folder of the socket."""
    programs = postgres_programs()
    # It runs as no root, and in no folder that only root can enter.
    user = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="h2rec-postgres-"))
    if user:
        shutil.chown(folder, **user)
    try:
        words = [
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "shop",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(words, check=True, capture_output=True, cwd=folder, **user)
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = [programs / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
        subprocess.run(
            [*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder, **user
        )
        try:
            yield folder
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder, **user
            )
    finally:
        shutil.rmtree(folder)


class SearchEngine(ThreadingHTTPServer):
    """Answers what the official clients of Elasticsearch and OpenSearch ask, and checks it: no engine is here."""

    def __init__(self, kind):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind = kind
        self.indices = {}
        self.documents = {}
        self.asked = []

    @property
    def address(self):
        return f"{self.kind}://reader:secret@127.0.0.1:{self.server_port}/items"

    def answer(self, method, path, query, body):  # noqa: PLR0911  # one for each kind of request
        """Status and JSON of an answer; `KeyError` where the request is none that these engines understand."""
        first, _, last = path.strip("/").partition("/")
        match method, first, last:
            case "GET", names, "":
                assert "ignore_unavailable=true" in query
                return 200, {name: self.indices[name] for name in self._named(unquote(names))}
            case "PUT", name, "" if name != "_bulk":
                self._check_mapping(body)
                assert name == name.lower()
                self.indices[name], self.documents[name] = body | {"aliases": {}}, {}
                return 200, {"acknowledged": True, "index": name}
            case (("POST" | "PUT"), "_bulk", ""):
                lines = [json.loads(line) for line in body.splitlines()]
                for action, source in zip(lines[::2], lines[1::2], strict=True):
                    self.documents[action["index"]["_index"]][action["index"]["_id"]] = source
                items = [{"index": {"_id": line["index"]["_id"], "status": 201}} for line in lines[::2]]
                return 200, {"errors": False, "items": items}
            case "POST", "_aliases", "":
                for action in body["actions"]:
                    ((what, told),) = action.items()
                    assert told["alias"] not in self.indices
                    aliases = self.indices[told["index"]]["aliases"]
                    aliases.update({told["alias"]: {}}) if what == "add" else aliases.pop(told["alias"])
                return 200, {"acknowledged": True}
            case "POST", name, "_refresh":
                return (200, {"_shards": {}}) if name in self.indices else (404, {})
            case "POST", name, "_search":
                return 200, {"hits": {"hits": self._search(name, body)}}
            case "DELETE", name, "":
                del self.indices[name], self.documents[name]
                return 200, {"acknowledged": True}
        raise KeyError(path)

    def _named(self, names):
        for name, index in self.indices.items():
            for asked in names.split(","):
                if (
                    name == asked
                    or asked in index["aliases"]
                    or (asked[-1] == "*" and name.startswith(asked[:-1]))
                ):
                    yield name
                    break

    def _check_mapping(self, body):
        fields = body["mappings"]["properties"]
        assert fields["item_id"] == {"type": "keyword"}
        assert fields["head"] == {"type": "boolean"}
        vector = fields["vector"]
        if self.kind == "elasticsearch":
            assert (vector["type"], vector["similarity"]) == ("dense_vector", "max_inner_product")
            assert vector["index"] is True
            assert vector["dims"] <= 4096
        else:
            assert body["settings"] == {"index.knn": True}
            assert (vector["type"], vector["method"]["space_type"]) == ("knn_vector", "innerproduct")

    def _search(self, name, body):
        (index,) = self._named(name)
        if self.kind == "elasticsearch":
            asked = body["knn"]
            assert asked["field"] == "vector"
            assert body["size"] == asked["k"] <= asked["num_candidates"] <= 10_000
            user = asked["query_vector"]
        else:
            asked = body["query"]["knn"]["vector"]
            assert body["size"] == asked["k"]
            user = asked["vector"]
        assert body["_source"] == ["item_id"]
        documents = list(self.documents[index].values())
        products = np.array([document["vector"] for document in documents], np.float32) @ np.array(
            user, np.float32
        )
        best = np.argsort(-products, kind="stable")[: asked["k"]]
        return [
            {
                "_source": {"item_id": documents[place]["item_id"]},
                "_score": float(1 + products[place] if products[place] >= 0 else 1 / (1 - products[place])),
            }
            for place in best
        ]


class _Handler(BaseHTTPRequestHandler):
    server: SearchEngine

    def _answer(self):
        path, _, query = self.path.partition("?")
        raw = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.server.asked.append((self.command, path, self.headers.get("authorization")))
        body = raw if path == "/_bulk" else json.loads(raw or "{}")
        try:
            status, answer = self.server.answer(self.command, path, query, body)
        except Exception as error:  # a request that these engines would not understand, either
            cause = {"type": "illegal_argument_exception", "reason": f"{self.command} {self.path}: {error!r}"}
            status, answer = 400, {"error": cause | {"root_cause": [cause]}, "status": 400}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815  # the names that the base class asks for

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def search_engine(kind):
    server = SearchEngine(kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

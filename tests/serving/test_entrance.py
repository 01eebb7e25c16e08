"""Who is let in: names of the server, pages of other origins, tokens, content types."""

import asyncio

import pytest

from h2rec.errors import ConfigError
from h2rec.serving.gate import Gate
from h2rec.serving.settings import ServeSettings

NEW = {"items": [{"item_id": "new1", "fields": {"title": "gentle shampoo dry"}}]}
JSON = {"content-type": "application/json"}


@pytest.fixture
def client(shared_client):
    return shared_client()


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.5", "shop.localhost:1"]
)
def test_own_names_are_served(client, host):
    assert client.get("/healthz", headers={"host": host}).status_code == 200
    assert client.post("/recommend", json={"history": []}, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "a b",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/", "/reload", "/items", "/explorer/explorer.js"])
def test_a_foreign_name_is_refused_where_there_is_no_token(client, host, path):
    """A page can give its own name the server's address, and is of one origin with it then."""
    method = client.post if path in ("/reload", "/items") else client.get
    answer = method(path, headers={"host": host})
    assert answer.status_code == 403
    assert answer.headers["connection"] == "close"


def test_names_can_be_allowed(make_client):
    client = make_client(allowed_hosts=["Shop.internal"])
    assert client.get("/healthz", headers={"host": "shop.INTERNAL:80"}).status_code == 200
    assert client.get("/healthz", headers={"host": "other.internal"}).status_code == 403
    origin = {"origin": "https://shop.internal"}
    assert client.post("/reload", headers={"host": "10.0.0.1", **origin}).status_code == 200
    assert make_client(allowed_hosts=["*"]).get("/healthz", headers={"host": "any"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": "http://localhost:8000.evil.example"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:8000"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
    ids=str,
)
@pytest.mark.parametrize("token", [None, "secret"])
def test_pages_of_other_origins_change_nothing(shared_client, headers, token):
    client = shared_client(token=token)
    entitled = {} if token is None else {"authorization": f"Bearer {token}"}
    for path, body in (("/reload", b""), ("/items", NEW), ("/recommend", {"history": []})):
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        assert client.post(path, **given, headers=headers | entitled).status_code == 403
    assert client.get("/healthz").json()["items"] == 60


def test_the_own_page_and_links_to_it_work(client):
    own = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert client.post("/reload", headers=own).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/similar?item_id=i3", headers={"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_a_body_is_json_by_its_content_type(client, kind):
    answer = client.post("/items", content=b"{}", headers={} if kind is None else {"content-type": kind})
    assert answer.status_code == 415
    assert client.post("/recommend", content=b'{"history": []}', headers=JSON).status_code == 200
    utf8 = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/recommend", content=b'{"history": []}', headers=utf8).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_scheme_of_a_token_has_no_case(shared_client, scheme):
    client = shared_client(token="secret")
    assert client.get("/metrics", headers={"authorization": f"{scheme}secret"}).status_code == 200
    for wrong in (f"{scheme}Secret", f"{scheme}", f"{scheme}secret secret", "Basic secret"):
        assert client.get("/metrics", headers={"authorization": wrong}).status_code == 401


def test_a_refusal_does_not_wait_for_the_body(shared_client):
    answer = shared_client(token="secret").post("/items", json=NEW)
    assert (answer.status_code, answer.headers["connection"]) == (401, "close")


@pytest.mark.parametrize("token", ["", " ", "secret token", "sécret", "secret\n"])
def test_no_server_with_a_token_that_is_none(token):
    with pytest.raises(ConfigError, match="token"):
        ServeSettings.parse({"token": token})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "shop.internal"])
def test_no_open_server_by_accident(host):
    with pytest.raises(ConfigError, match="a token is needed"):
        ServeSettings.parse({"host": host})
    ServeSettings.parse({"host": host, "token": "secret"})
    ServeSettings.parse({"host": host, "without_token": True})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_address_needs_no_token(host):
    ServeSettings.parse({"host": host})


def test_every_answer_is_safe_in_a_browser(client):
    for path in ("/", "/nowhere", "/explorer/explorer.js", "/healthz"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]


def test_of_two_host_headers_both_are_looked_at(client):
    for hosts in (["localhost", "evil.example"], ["evil.example", "localhost"]):
        assert client.get("/healthz", headers=[("host", host) for host in hosts]).status_code == 403


def test_half_a_body_of_a_client_that_left_is_no_request(client):
    """What has arrived may be whole JSON, or nothing at all where nothing is needed."""
    asked, sent = [], []

    async def app(scope, receive, send):
        asked.append(scope["path"])

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    service = client.app.state.service
    gate = Gate(app, service.settings, service.metrics, lambda: False)
    scope = {"type": "http", "method": "POST", "path": "/reload", "headers": [(b"host", b"localhost")]}
    messages = [{"type": "http.request", "body": b"", "more_body": True}, {"type": "http.disconnect"}]
    asyncio.run(gate(scope, receive, send))
    assert (asked, sent) == ([], [])
    messages = [{"type": "http.request", "body": b""}]
    asyncio.run(gate(scope, receive, send))
    assert asked == ["/reload"]

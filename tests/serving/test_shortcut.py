"""The short way answers as the route does, errors and all."""

import json

import pytest

from h2rec.serving.shortcut import Shortcut

BODIES = [
    {"history": ["i3", "i17"]},
    {"history": []},
    {"history": [3, "nobody"], "k": 3},
    {"history": ["i3"], "k": 4, "explain": True, "tail_share": 0.4},
    {"history": ["i3"], "k": 70, "fields": ["item_id", "score"]},
    {"history": ["i3"], "user_id": "anna", "filter": {"where": {"category": ["razor"]}, "deny": ["i7"]}},
    {"history": ["i3"], "filter": {"where": {"colour": ["red"]}}},
    {"history": ["i3"], "k": 100_000},
    {"history": ["i3"] * 5000},
    {"history": ["i3"], "k": 0},
    {"history": ["i3"], "k": 2.0},
    {"history": ["i3"], "k": "2"},
    {"history": ["i3"], "k": True},
    {"history": [True]},
    {"history": [1.5]},
    {"history": {"i3": 1}},
    {"history": ["i3"], "who": 1},
    {"history": ["i3"], "explain": True, "fields": ["item_id"]},
    {"history": ["i3"], "tail_share": float("nan")},
    {"history": ["\ud800"]},
    [],
]
TEXTS = [json.dumps(body) for body in BODIES] + ["", "{", '{"history": ["i3"], "history": ["i5"]}', "null"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:50])
def test_it_answers_as_the_route_does(shared_client, text, monkeypatch):
    client, head = shared_client(), {"content-type": "application/json"}
    short = client.post("/recommend", content=text, headers=head)

    async def long_way(self, scope, receive, send):
        await self.app(scope, receive, send)

    monkeypatch.setattr(Shortcut, "__call__", long_way)
    long = client.post("/recommend", content=text, headers=head)
    assert (short.status_code, short.json()) == (long.status_code, long.json())
    assert short.headers == long.headers


def test_what_is_understood_is_not_routed(shared_client, monkeypatch):
    monkeypatch.setattr("h2rec.serving.routes.recommend", None)
    client, asked = shared_client(), []
    before = client.app.router.__class__.__call__

    async def routed(self, scope, receive, send):
        asked.append(scope["path"])
        await before(self, scope, receive, send)

    monkeypatch.setattr(client.app.router.__class__, "__call__", routed)
    assert client.post("/recommend", json={"history": ["i3"]}).status_code == 200
    assert asked == []
    assert client.post("/recommend", json={"history": 1}).status_code == 422
    assert asked == ["/recommend"]

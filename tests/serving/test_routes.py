import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

from h2rec.retrieval.recommender import Recommender
from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_bundles import FUSED, make_bundle


@pytest.fixture
def client(shared_client):
    return shared_client()


def test_the_server_answers_as_the_recommender_does(client, made_bundle):
    recommender = Recommender.load(made_bundle)
    answer = client.post("/recommend", json={"history": ["i3", "zzz", "i17"], "k": 4, "explain": True})
    assert answer.status_code == 200
    expected = recommender.recommend(["i3", "zzz", "i17"], 4, explain=True)
    found = answer.json()
    assert [item["item_id"] for item in found["items"]] == [item.item_id for item in expected.items]
    assert found["items"][0]["score"] == pytest.approx(expected.items[0].score)
    assert found["items"][0]["codes"] == expected.items[0].codes
    assert found["items"][0]["explanation"]["branches"] == pytest.approx(
        expected.items[0].explanation.branches
    )
    assert found["unknown"] == ["zzz"]
    assert "alpha" not in found  # there is no branch that fuses codes


def test_ids_alone_are_the_same_list_in_a_fraction_of_the_bytes(client):
    asked = {"history": ["i3", "i10", "nobody"], "k": 50, "filter": {"deny": ["i4"]}}
    whole = client.post("/recommend", json=asked)
    items = whole.json()["items"]
    both = client.post("/recommend", json=asked | {"fields": ["item_id", "score"]})
    assert both.json() == {
        "item_id": [item["item_id"] for item in items],
        "score": [float(f"{item['score']:.9g}") for item in items],
        "unknown": ["nobody"],
        "from_popularity": False,
    }
    assert np.float32(both.json()["score"]).tolist() == np.float32([i["score"] for i in items]).tolist()
    ids = client.post("/recommend", json=asked | {"fields": ["item_id"]})
    assert ids.json() == {name: value for name, value in both.json().items() if name != "score"}
    assert 10 * len(ids.content) < len(whole.content)
    mixed = client.post("/recommend/batch", json={"queries": [asked, asked | {"fields": ["item_id"]}]})
    full, columns = mixed.json()["answers"]
    assert [item["item_id"] for item in full["items"]] == columns["item_id"] == ids.json()["item_id"]


def test_weights_of_levels_are_told_where_codes_are_fused(tmp_path):
    folder = make_bundle(tmp_path / "bundle", **FUSED)
    expected = Recommender.load(folder).recommend(["i3", "i17"], 4, explain=True)
    with TestClient(create_app(Service(folder, ServeSettings())), "http://localhost:8000") as client:
        found = client.post("/recommend", json={"history": ["i3", "i17"], "k": 4, "explain": True}).json()
        similar = client.get("/similar", params={"item_id": "i8", "k": 3, "branch": "codes"}).json()["items"]
    assert found["alpha"] == pytest.approx(expected.alpha)
    assert len(found["alpha"]) == 3
    assert len(similar) == 3


def test_filters_and_quota_are_passed_on(client):
    body = {
        "history": ["i3"],
        "k": 60,
        "filter": {"where": {"category": ["razor"]}, "deny": ["i7"], "seen": True},
    }
    items = [item["item_id"] for item in client.post("/recommend", json=body).json()["items"]]
    assert sorted(items) == sorted(f"i{n}" for n in range(3, 60, 4) if n != 7)
    body = {"history": [], "k": 10, "tail_share": 1.0}
    assert not any(item["head"] for item in client.post("/recommend", json=body).json()["items"])


def test_a_batch_keeps_its_order(client):
    queries = [{"history": [f"i{n}"], "k": 1 + n % 3} for n in range(40)]
    answers = client.post("/recommend/batch", json={"queries": queries}).json()["answers"]
    for query, answer in zip(queries, answers, strict=True):
        alone = client.post("/recommend", json=query).json()
        assert [item["item_id"] for item in answer["items"]] == [item["item_id"] for item in alone["items"]]


def test_a_users_vector_times_an_items_is_the_score_that_has_vectors(client):
    recommender = client.app.state.service.recommender
    vector = client.post("/users/vector", json={"history": ["i3", "no", "i17"]}).json()["vector"]
    answer = recommender.recommend(["i3", "i17"], 5, explain=True)
    for item in answer.items:
        parts = item.explanation.branches
        by_vector = sum(parts[name] for name in set(parts) - set(recommender.bundle.model.transitions()))
        row = recommender.bundle.item_vectors[recommender.catalogue.index[item.item_id]]
        assert row @ np.array(vector) == pytest.approx(by_vector, abs=1e-3)
    unknown = client.post("/users/vector", json={"history": ["no"]})
    assert (unknown.status_code, "train_count" in unknown.json()["hint"]) == (422, True)
    assert client.post("/users/vector", json={"history": ["i3"] * 1001}).status_code == 422
    assert 'route="/users/vector",status="200"' in client.get("/metrics").text


def test_similar_items_items_and_codes(client):
    similar = client.get("/similar", params={"item_id": "i8", "k": 3, "branch": "ids"}).json()["items"]
    assert len(similar) == 3
    assert "i8" not in [item["item_id"] for item in similar]
    found = client.get("/items", params={"query": "razor travel", "limit": 2}).json()["items"]
    assert all("razor" in item["title"] for item in found)
    assert [
        item["item_id"] for item in client.get("/items?item_id=i9&item_id=no&item_id=i2").json()["items"]
    ] == [
        "i9",
        "i2",
    ]
    tree = client.get("/codes").json()
    assert (tree["levels"], tree["prefix"]) == (3, [])
    assert sum(branch["items"] for branch in tree["branches"]) == 60
    code = tree["branches"][0]["code"]
    below = client.get("/codes", params={"prefix": str(code)}).json()
    assert sum(branch["items"] for branch in below["branches"]) == tree["branches"][0]["items"]
    whole = client.get("/codes", params={"prefix": ",".join(map(str, found[0]["codes"]))}).json()
    assert whole["branches"] == []
    assert found[0]["item_id"] in [item["item_id"] for item in whole["items"]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"history": ["i1"], "fields": ["item_id"], "explain": True}, "explanations go with whole items"),
        ({"history": ["i1"], "fields": []}, "at least 1 item"),
        ({"history": ["i1"], "fields": ["title"]}, "'item_id' or 'score'"),
        ({"history": ["i3"], "k": 0}, "body.k"),
        ({"history": ["i3"], "k": 21}, "k: 21 is more than 20"),
        ({"history": ["i3"] * 31}, "history: 31 is more than 30"),
        ({"history": "i3"}, "body.history"),
        ({"history": [3.5]}, "body.history.0"),
        ({"history": [True]}, "body.history.0"),
        ({"history": ["x" * 513]}, "body.history.0"),
        ({}, "body.history"),
        ({"history": [], "tail_share": 2}, "body.tail_share"),
        ({"history": [], "nonsense": 1}, "body.nonsense"),
        ({"history": [], "filter": {"where": {"colour": ["red"]}}}, "no field 'colour'"),
        ({"history": [], "filter": {"deny": ["a"] * 41}}, "filter: 41 is more than 40"),
    ],
    ids=str,
)
def test_mistakes_are_told(shared_client, body, told):
    client = shared_client(max_k=20, max_history=30, max_filter=40)
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"history": ["\\ud800"]}', b"[" * 5000, b'{"history": NaN}']
)
def test_bodies_that_are_no_json_are_told(client, body):
    answer = client.post("/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


def test_unknown_places(client):
    assert client.get("/nowhere").status_code == 404
    assert client.get("/recommend").status_code == 405
    assert client.get("/similar", params={"item_id": "i999"}).status_code == 422
    assert client.get("/codes", params={"prefix": "1,2,3,4,5,6"}).json()["items"] == []
    assert client.get("/codes", params={"prefix": "a"}).status_code == 422
    assert client.get("/explorer/../../settings.py").status_code == 404


def test_large_bodies_are_refused_unread(make_client):
    client = make_client(max_body=1000)
    large = json.dumps({"history": ["i3"] * 1000})
    assert client.post("/recommend", content=large).status_code == 413
    chunks = (b'{"history": [' + b" " * 100 for _ in range(100))
    assert client.post("/recommend", content=chunks).status_code == 413
    assert client.post("/recommend", json={"history": ["i3"]}).status_code == 200


def test_a_token_is_asked_for_where_there_is_one(make_client):
    client = make_client(token="secret-token")
    bodies = {"json": {"history": ["i3"]}}
    assert client.post("/recommend", **bodies).status_code == 401
    for wrong in ("Bearer secret-toke", "Bearer ", "secret-token", "Bearer secret-tokené".encode()):
        answer = client.post("/recommend", **bodies, headers={"authorization": wrong})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/metrics", "/items", "/codes", "/similar?item_id=i3"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer secret-token"}).status_code == 200
    for path in ("/healthz", "/readyz", "/", "/explorer/index.html"):
        assert client.get(path).status_code == 200
    assert client.get("/openapi.json").json()["security"] == [{"bearer": []}]


def test_health_and_readiness(make_client):
    client = make_client()
    assert client.get("/healthz").json() == {"status": "ok", "items": 60, "bundle": "bundle"}
    assert client.get("/readyz").status_code == 200
    client.app.state.service.stopping = True
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_metrics_count_what_happened(make_client):
    client = make_client()
    client.post("/recommend", json={"history": ["i3", "zzz"], "k": 4})
    client.post("/recommend", json={"history": [], "k": 2})
    client.post("/recommend", json={"history": 1})
    text = client.get("/metrics").text
    assert 'h2rec_requests_total{route="/recommend",status="200"} 2.0' in text
    assert 'h2rec_requests_total{route="/recommend",status="422"} 1.0' in text
    assert "h2rec_unknown_items_total 1.0" in text
    assert "h2rec_popular_answers_total 1.0" in text
    assert "h2rec_recommended_items_total 6.0" in text
    assert "h2rec_items 60.0" in text
    assert 'h2rec_request_seconds_count{route="/recommend"} 3.0' in text


def test_the_openapi_document_has_examples_that_work(make_client):
    client = make_client()
    document = client.get("/openapi.json").json()
    for path in (
        "/recommend",
        "/recommend/batch",
        "/similar",
        "/items",
        "/codes",
        "/users/vector",
        "/reload",
        "/healthz",
        "/readyz",
        "/metrics",
    ):
        assert path in document["paths"]
    for example in document["components"]["schemas"]["RecommendBody"]["examples"]:
        assert client.post("/recommend", json=example).status_code == 200
    for example in document["components"]["schemas"]["ItemsBody"]["examples"]:
        assert client.post("/items", json=example).status_code == 200

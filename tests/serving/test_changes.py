"""New items and new bundles, while the server runs and after it was stopped."""

import asyncio
import gc
import shutil
import weakref

import numpy as np
import pytest

from h2rec.errors import BundleError
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.indexes import INDEXES
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from h2rec.serving.store import BundleStore
from made_bundles import make_bundle

NEW = {
    "items": [
        {
            "item_id": "new1",
            "fields": {"title": "gentle shampoo dry", "category": "shampoo", "colour": "red"},
        },
        {"item_id": "i5", "fields": {"title": "changed"}},
        {"item_id": "new2", "fields": {"title": None}},
    ]
}


def test_added_items_are_served_at_once_and_after_a_restart(client, bundle_folder):
    before = (bundle_folder / "manifest.json").read_bytes()
    answer = client.post("/items", json=NEW)
    assert answer.status_code == 200
    found = answer.json()
    assert [item["item_id"] for item in found["added"]] == ["new1"]
    assert (found["existing"], found["without_text"]) == (["i5"], ["new2"])
    served = client.post("/recommend", json={"history": ["new1"], "k": 5}).json()
    assert (served["unknown"], served["from_popularity"]) == ([], False)
    again = Service(bundle_folder, ServeSettings())
    assert again.recommender.item_ids[-1] == "new1"
    assert (bundle_folder / "manifest.json").read_bytes() == before


def test_added_items_go_into_the_index_that_is_there(make_client, monkeypatch):
    pytest.importorskip("faiss", reason="the extra 'faiss' is not installed")
    client = make_client(index={"kind": "ivf", "exact_up_to": 10})
    monkeypatch.setattr(INDEXES.get("ivf"), "build", None)
    assert client.post("/items", json=NEW).status_code == 200
    asked = {"history": ["i3"], "k": 61, "fields": ["item_id"]}
    assert "new1" in client.post("/recommend", json=asked).json()["item_id"]


def test_generations_follow_each_other_and_old_ones_go(client, bundle_folder):
    for number in range(4):
        body = {"items": [{"item_id": f"new{number}", "fields": {"title": "mild razor"}}]}
        assert client.post("/items", json=body).status_code == 200
    store = BundleStore(bundle_folder)
    assert sorted(path.name for path in store.generations.glob("0*")) == ["000003", "000004"]
    assert Bundle.load(store.current()).items["item_id"].to_list()[-4:] == ["new0", "new1", "new2", "new3"]


def test_what_can_not_be_added_changes_nothing(client, bundle_folder):
    body = {"items": [{"item_id": "new1", "fields": {"title": "zzz qqq"}}]}
    answer = client.post("/items", json=body)
    assert answer.status_code == 422
    assert "1 have no text" in answer.json()["error"]
    assert (
        client.post("/items", json={"items": [{"item_id": "a", "fields": {"name": "x"}}]}).status_code == 422
    )
    assert BundleStore(bundle_folder).current() == bundle_folder


def test_a_half_written_generation_is_not_taken_for_one(client, bundle_folder):
    client.post("/items", json=NEW)
    generations = BundleStore(bundle_folder).generations
    shutil.copytree(generations / "000001", generations / ".000002.1234.partial")
    (generations / "000003").mkdir()
    assert BundleStore(bundle_folder).current().name == "000001"
    body = {"items": [{"item_id": "new9", "fields": {"title": "mild razor"}}]}
    assert client.post("/items", json=body).status_code == 200
    assert BundleStore(bundle_folder).current().name == "000004"


def test_reload_serves_the_new_bundle_and_passes_over_what_grew_from_the_old(client, bundle_folder):
    client.post("/items", json=NEW)
    old = client.post("/recommend", json={"history": ["i3"]}).json()
    make_bundle(bundle_folder, seed=7)
    assert client.post("/recommend", json={"history": ["i3"]}).json() == old
    answer = client.post("/reload")
    assert answer.json() == {"status": "ok", "items": 60, "bundle": "bundle"}
    assert client.post("/recommend", json={"history": ["i3"]}).json() != old


def test_of_a_crowd_of_reloads_one_is_carried_out(client):
    service = client.app.state.service

    async def crowd():
        return await asyncio.gather(*(service.reload() for _ in range(20)), return_exceptions=True)

    outcomes = client.portal.call(crowd)
    assert [outcome for outcome in outcomes if outcome is None] == [None]
    assert {type(outcome) for outcome in outcomes} == {type(None), BundleError}


def test_a_bundle_that_was_replaced_is_let_go(client):
    service = client.app.state.service
    gone = weakref.ref(service.recommender)
    assert client.post("/reload").status_code == 200
    gc.collect()
    assert gone() is None


def test_items_are_not_added_to_a_bundle_that_a_training_has_replaced(client, bundle_folder):
    """They would grow from the old one, and hide the new one after a restart."""
    make_bundle(bundle_folder, seed=7)
    answer = client.post("/items", json=NEW)
    assert answer.status_code == 409
    assert "no longer the bundle that is served" in answer.json()["error"]
    assert BundleStore(bundle_folder).current() == bundle_folder
    client.post("/reload")
    assert client.post("/items", json=NEW).status_code == 200


def test_a_damaged_bundle_is_refused_and_the_present_one_goes_on(client, bundle_folder):
    old = client.post("/recommend", json={"history": ["i3"]}).json()
    vectors = np.load(bundle_folder / "item_vectors.npy")
    (bundle_folder / "item_vectors.npy").unlink()  # a new file: the mapped one stays what it was
    np.save(bundle_folder / "item_vectors.npy", vectors + 1)
    answer = client.post("/reload")
    assert answer.status_code == 409
    assert "was changed or cut" in answer.json()["error"]
    assert client.post("/recommend", json={"history": ["i3"]}).json() == old
    assert 'h2rec_reloads_total{result="refused"} 1.0' in client.get("/metrics").text
    shutil.rmtree(bundle_folder)
    assert client.post("/reload").status_code == 409

"""Generations on disk: servers that share a bundle, damage, leftovers and full disks."""

import multiprocessing
import resource
import shutil
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest

from h2rec.errors import BundleError, DataError, StorageError
from h2rec.retrieval import growth
from h2rec.retrieval.bundle import Bundle
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from h2rec.serving.store import BundleStore
from made_bundles import make_bundle


def item(name):
    return pl.DataFrame({"item_id": [name], "title": ["mild razor"]})


def body(name):
    return {"items": [{"item_id": name, "fields": {"title": "mild razor"}}]}


def known(folder):
    return set(BundleStore(folder).load().items["item_id"])


def opened(folder):
    store = BundleStore(folder)
    return store, store.load()


def add_some(folder, server, acknowledged, both):
    """What a server does: it loads once, and adds to what it serves."""
    store = BundleStore(folder)
    bundle = store.load()
    both.wait(120)
    for number in range(3):
        name = f"server{server}-{number}"
        store.add(bundle, item(name))
        acknowledged.put(name)
        bundle = store.load()


def test_what_two_servers_acknowledge_at_once_is_kept(bundle_folder):
    """One server is another process, and one is this."""
    context = multiprocessing.get_context("spawn")
    queue, both = context.Queue(), context.Barrier(2)
    server = context.Process(target=add_some, args=(bundle_folder, 0, queue, both))
    server.start()
    add_some(bundle_folder, 1, queue, both)
    acknowledged = {queue.get(timeout=60) for _ in range(6)}
    server.join()
    assert len(acknowledged) == 6
    assert acknowledged <= known(bundle_folder)


def test_an_addition_goes_on_top_of_what_another_server_wrote(bundle_folder):
    (first, served_first), (second, served_second) = opened(bundle_folder), opened(bundle_folder)
    first.add(served_first, item("a"))
    second.add(served_second, item("b"))
    with pytest.raises(DataError, match="1 are known already"):  # by the other one
        first.add(served_first, item("b"))
    both = pl.concat([item("b"), item("c")])
    assert first.add(served_first, both).existing == ["b"]
    assert {"a", "b", "c"} <= known(bundle_folder)


def test_a_damaged_newest_generation_is_told_and_the_one_before_serves(bundle_folder, caplog):
    store, bundle = opened(bundle_folder)
    for name in ("a", "b"):
        store.add(bundle, item(name))
    newest = store.current()
    path = newest / "item_vectors.npy"
    np.save(path, np.load(path) + 1)
    assert {"a", "b"} & known(bundle_folder) == {"a"}
    assert "this generation is damaged, and the one before it is served" in caplog.text
    assert f"{newest}: 'item_vectors.npy' was changed" in caplog.text
    caplog.clear()
    (newest / "manifest.json").write_text("{")
    assert {"a", "b"} & known(bundle_folder) == {"a"}
    assert f"{newest}: it is damaged (no manifest that can be read)" in caplog.text
    assert "grew from another bundle" not in caplog.text
    service = Service(bundle_folder, ServeSettings())
    service.store.add(service.recommender.bundle, item("c"))
    assert {"a", "b", "c"} & known(bundle_folder) == {"a", "c"}
    service.batcher.close()


def test_where_every_generation_is_damaged_the_bundle_itself_serves(bundle_folder, caplog):
    store, bundle = opened(bundle_folder)
    store.add(bundle, item("a"))
    (store.current() / "model.safetensors").unlink()
    assert len(known(bundle_folder)) == 60
    assert "'model.safetensors' is missing" in caplog.text
    (bundle_folder / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"'model\.safetensors' is missing"):
        BundleStore(bundle_folder).load()


def test_a_bundle_of_no_numbers_is_never_served(tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    vectors = np.load(folder / "item_vectors.npy")
    vectors[3] = np.nan
    np.save(folder / "item_vectors.npy", vectors)
    with pytest.raises(BundleError):
        Service(folder, ServeSettings())


def test_what_killed_additions_left_is_swept(bundle_folder):
    store, bundle = opened(bundle_folder)
    store.add(bundle, item("a"))
    left = store.generations / ".000002.12345678.partial"
    shutil.copytree(store.current(), left)
    store.add(bundle, item("b"))
    assert not left.exists()
    assert sorted(path.name for path in store.generations.iterdir()) == [".lock", "000001", "000002"]


def test_an_addition_that_fails_half_way_leaves_nothing(bundle_folder, monkeypatch):
    store, bundle = opened(bundle_folder)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(growth.np, "concatenate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.add(bundle, item("a"))
    monkeypatch.undo()
    from h2rec.retrieval import bundle as bundles

    monkeypatch.setattr(bundles, "folder_hashes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.add(bundle, item("a"))
    assert [path.name for path in store.generations.iterdir()] == [".lock"]


@contextmanager
def full_disk(room=3000):
    """No file may grow beyond some bytes: what the system refuses then, it refuses on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_the_servers_trouble(client, bundle_folder):
    with full_disk():
        answer = client.post("/items", json=body("a"))
    assert answer.status_code == 507
    assert "can't write" in answer.json()["error"]
    assert not [path for path in bundle_folder.with_name("bundle.generations").iterdir() if path.is_dir()]
    assert client.post("/recommend", json={"history": ["i3"]}).status_code == 200
    assert client.post("/items", json=body("a")).status_code == 200


def test_generations_that_can_not_be_locked_are_not_written(bundle_folder):
    bundle_folder.with_name("bundle.generations").write_text("a file where the folder should be")
    store, bundle = opened(bundle_folder)
    with pytest.raises(StorageError, match="can't write"):
        store.add(bundle, item("a"))


def test_a_generation_that_another_server_drops_stays_in_use(bundle_folder):
    store, bundle = opened(bundle_folder)
    store.add(bundle, item("a"))
    used = store.load()
    before = np.array(used.item_vectors)
    other, _ = opened(bundle_folder)
    for name in ("b", "c", "d"):
        other.add(other.load(), item(name))
    assert not used.folder.exists()
    np.testing.assert_array_equal(used.item_vectors, before)
    store.add(used, item("e"))
    assert {"a", "b", "c", "d", "e"} <= known(bundle_folder)


def test_whole_numbers_are_ids_in_requests(client):
    assert client.post("/items", json=body(42)).json()["added"][0]["item_id"] == "42"
    for answer in (
        client.post("/recommend", json={"history": [42], "k": 3}),
        client.post("/recommend", json={"history": ["42"], "k": 3, "filter": {"deny": [7], "allow": None}}),
    ):
        assert (answer.status_code, answer.json()["unknown"]) == (200, [])
    told = client.post("/recommend", json={"history": "42"})
    assert told.status_code == 422
    assert "body.history: Input should be a valid list" in told.json()["error"]
    assert client.get("/similar", params={"item_id": "nothing"}).json()["hint"] == "ids look like: i0, i1, i2"


def test_a_loaded_bundle_has_what_was_acknowledged(bundle_folder):
    store, bundle = opened(bundle_folder)
    store.add(bundle, item("a"))
    assert "a" in Bundle.load(store.current()).items["item_id"]


def test_a_refused_reload_does_not_let_the_old_training_hide_the_new_one(client, bundle_folder):
    shutil.rmtree(bundle_folder)
    make_bundle(bundle_folder, seed=1)
    (bundle_folder / "model.safetensors").rename(bundle_folder.with_name("not yet there"))  # a copy under way
    assert client.post("/reload").status_code == 409
    assert client.post("/items", json=body("a")).status_code == 409
    bundle_folder.with_name("not yet there").rename(bundle_folder / "model.safetensors")
    assert client.post("/reload").json()["bundle"] == "bundle"
    assert client.post("/items", json=body("a")).status_code == 200


def test_a_part_that_was_damaged_while_it_was_served_gets_no_new_hash(client, bundle_folder):
    path = bundle_folder / "encoder" / "encoder.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    answer = client.post("/items", json=body("a"))
    assert answer.status_code == 409
    assert "'encoder/encoder.safetensors' was changed" in answer.json()["error"]
    assert client.post("/recommend", json={"history": ["i3"]}).status_code == 200

"""What the processes of one server share."""

import asyncio
import os
import shutil
from multiprocessing import get_context

import pytest

from h2rec.errors import BundleError
from h2rec.serving.run import _Server
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from h2rec.serving.workers import Worker, serve_in_workers
from made_bundles import make_bundle


@pytest.fixture
def workers():
    context = get_context("spawn")
    changes, connections = context.Value("q", 0), context.Array("q", 3, lock=False)
    return [
        Worker(None, place, connections, changes, context.Event(), 30, os.getppid()) for place in range(3)
    ]


def test_each_follows_what_others_change_once(workers):
    one, two, three = workers
    one.tell()
    assert [worker.missed() for worker in workers] == [False, True, True]
    assert [worker.missed() for worker in workers] == [False, False, False]
    one.tell()
    two.tell()  # it has missed what the first did
    assert [worker.missed() for worker in workers] == [True, True, True]
    three.tell()
    three.tell()
    assert [worker.missed() for worker in workers] == [True, True, False]


def served(folder, worker):
    """A server of one worker, between two of its ticks."""
    server = _Server.__new__(_Server)
    server.service, server.worker = Service(folder, ServeSettings(), worker.tell), worker
    server.should_exit = False
    return server


def test_a_change_of_one_is_served_by_the_other(bundle_folder, tmp_path, workers, caplog):
    one, two = (served(bundle_folder, worker) for worker in workers[:2])
    assert not workers[1].ready.is_set()
    shutil.copytree(make_bundle(tmp_path / "other", seed=7), bundle_folder, dirs_exist_ok=True)

    async def turn():
        await one.service.reload()
        for server in (one, two):
            server._tick(server.worker)
            if server.following is not None:
                await server.following

    before = one.service.recommender, two.service.recommender
    asyncio.run(turn())
    assert one.following is None
    assert two.service.recommender is not before[1]
    asked = [server.service.recommender.recommend(["i3"], 5) for server in (one, two)]
    assert [item.item_id for item in asked[0].items] == [item.item_id for item in asked[1].items]
    assert workers[1].ready.is_set()
    assert b"h2rec_items 60.0" in two.service.metrics.text()
    # What can't be loaded is not served.
    (bundle_folder / "items.parquet").write_text("")
    workers[0].tell()
    kept = two.service.recommender
    with caplog.at_level("WARNING", logger="h2rec"):
        two.following = None

        async def again():
            two._tick(two.worker)
            await two.following

        asyncio.run(again())
    assert two.service.recommender is kept
    assert "can't be served" in caplog.text


def test_a_worker_stops_when_its_server_is_gone(bundle_folder, workers):
    server = served(bundle_folder, workers[0])
    server._tick(server.worker)
    assert not server.should_exit
    workers[0].parent += 1
    server._tick(server.worker)
    assert server.should_exit


def test_a_bundle_that_is_none_starts_no_worker(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        serve_in_workers(lambda *_: None, tmp_path, ServeSettings(workers=2))

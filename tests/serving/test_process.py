"""The server as a process: reloaded under load, killed, told to stop."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from served import until

from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.retrieval.bundle import Bundle
from h2rec.run.new_events import read_events
from h2rec.run.update import update
from made_bundles import make_bundle

QUESTION = json.dumps({"history": ["i3", "i17"], "k": 5})
NEW = json.dumps({"items": [{"item_id": "new1", "fields": {"title": "gentle shampoo dry"}}]})


def test_kill_nine_loses_nothing_and_a_reload_under_load_no_request(bundle_folder, serve, tmp_path):
    served = serve(bundle_folder)
    assert served.ask("POST", "/items", NEW)[0] == 200
    before = served.ask("POST", "/recommend", QUESTION)
    with_new = served.ask("POST", "/recommend", QUESTION.replace("i3", "new1"))
    assert with_new[1]["unknown"] == []
    # Killed while it adds more: that either happened or it did not.
    more = threading.Thread(target=lambda: suppressed(served, NEW.replace("new1", "new2")))
    more.start()
    time.sleep(0.02)
    assert served.end() == -signal.SIGKILL
    more.join()
    Bundle.load(bundle_folder)
    again = serve(bundle_folder)
    assert again.ask("GET", "/healthz")[1]["items"] in (61, 62)
    assert again.ask("POST", "/recommend", QUESTION) == before
    assert again.ask("POST", "/recommend", QUESTION.replace("i3", "new1")) == with_new
    assert again.ask("POST", "/items", NEW.replace("new1", "new3"))[0] == 200
    other = make_bundle(tmp_path / "other", seed=7)
    reload_under_load(again, lambda: replace(bundle_folder, other))
    reload_under_load(again, lambda: take_in_orders(bundle_folder, tmp_path / "orders.csv"))
    asked = json.dumps({"history": ["i3", "i17"], "k": 58, "explain": True})
    found = {
        item["item_id"]: item["explanation"] for item in again.ask("POST", "/recommend", asked)[1]["items"]
    }
    assert ("i17", "follows") in {(why["item_id"], why["kind"]) for why in found["i41"]["reasons"]}
    assert again.end(signal.SIGTERM) == -signal.SIGTERM


def ids(answer):
    return tuple(item["item_id"] for item in answer[1]["items"])


def suppressed(served, body):
    with contextlib.suppress(OSError, http.client.HTTPException):
        served.ask("POST", "/items", body)


def replace(folder, other):
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def take_in_orders(folder, path):
    """Two thousand users who bought one thing after the other: counts alone bring it to the top."""
    rows = [
        f"n{user},{item},{place}" for user in range(2000) for place, item in enumerate(["i3", "i17", "i41"])
    ]
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    update(folder, lambda learned: read_events(open_table(path), learned, ColumnSettings()), folder, budget=0)


def reload_under_load(served, change):
    """Change the bundle that is served, and have it read while users ask."""
    first = ids(served.ask("POST", "/recommend", QUESTION))
    answers, stop = [], threading.Event()

    def user():
        while not stop.is_set():
            answers.append(served.ask("POST", "/recommend", QUESTION))

    users = [threading.Thread(target=user) for _ in range(4)]
    for thread in users:
        thread.start()
    change()
    for _ in range(3):
        time.sleep(0.1)
        assert served.ask("POST", "/reload", "{}")[0] == 200
    time.sleep(0.1)
    stop.set()
    for thread in users:
        thread.join()
    second = ids(served.ask("POST", "/recommend", QUESTION))
    assert second != first
    assert {status for status, _ in answers} == {200}
    # Scores round as the batch goes that a question falls into: the items are compared.
    assert {ids(answer) for answer in answers} == {first, second}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are looked for in /proc")
def test_workers_are_one_server(bundle_folder, serve):
    """Counters are sums that never fall, additions reach all, a killed worker is replaced, all stop together."""
    served = serve(bundle_folder, H2REC_WORKERS="2")
    until(lambda: len(served.workers()) == 2)

    def answered():
        return served.figures()["h2rec_requests_total", "/recommend", "200"]

    for _ in range(30):
        assert served.ask("POST", "/recommend", QUESTION)[0] == 200
    assert [answered() for _ in range(8)] == [30] * 8
    assert served.figures()["h2rec_items",] == 60
    assert served.ask("POST", "/items", NEW)[0] == 200
    until(lambda: {served.ask("GET", "/healthz")[1]["items"] for _ in range(20)} == {61})
    until(lambda: served.figures()["h2rec_items",] == 61)
    assert served.figures()["h2rec_waiting",] == 0
    victim, other = served.workers()
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(served.workers()) == 2 and victim not in served.workers())
    assert other in served.workers()
    until(lambda: [served.ask("POST", "/recommend", QUESTION)[0] for _ in range(10)])
    assert answered() >= 40
    workers = served.workers()
    assert served.end(signal.SIGTERM) == -signal.SIGTERM
    assert [number for number in workers if Path(f"/proc/{number}").exists()] == []

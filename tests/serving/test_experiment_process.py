"""An experiment of a server of several processes: killed in a flood, switched off in a flood."""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml
from served import until

from h2rec.serving.gate import OVERLOADED
from made_bundles import make_bundle

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="processes are looked for in /proc"
)


@pytest.fixture
def experiment(tmp_path):
    """Writes the file of an experiment and gives its path."""
    file = tmp_path / "tail.yaml"
    other = make_bundle(tmp_path / "other", seed=7)

    def write(**values):
        arms = {"control": {}, "treatment": {"bundle": str(other)}}
        log = {"folder": "logs", "max_mb": 0.02}
        text = yaml.safe_dump({"name": "tail", "arms": arms, "log": log} | values)
        part = file.with_suffix(".part")
        part.write_text(text)
        part.replace(file)
        return file

    return write


class Flood:
    """Users who ask without a pause; what they were answered."""

    def __init__(self, served, users=4):
        self.served, self.answers, self.others, self.lost = served, [], [], 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(users)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number):
        count = 0
        while not self._over.is_set():
            count += 1
            body = {"history": ["i3"], "k": 5, "user_id": f"u{number}-{count % 50}"}
            try:
                status, answer = self.served.ask("POST", "/recommend", json.dumps(body))
            except (OSError, http.client.HTTPException):
                self.lost += 1
                time.sleep(0.01)
                continue
            (self.answers if status == 200 else self.others).append((time.monotonic(), answer))

    def end(self):
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.answers


def logged(tmp_path):
    """Rows of all files; half a row may stand at the end of what a killed process wrote."""
    rows, torn = [], 0
    for path in (tmp_path / "logs").glob("impressions-*"):
        *lines, last = path.read_bytes().split(b"\n")
        rows += map(json.loads, lines)
        torn += bool(last)
        assert not last or path.suffix == ".part"
    return rows, torn


def test_kill_nine_in_a_flood_loses_nothing_that_was_acknowledged(bundle_folder, experiment, serve, tmp_path):
    served = serve(bundle_folder, H2REC_WORKERS="2", H2REC_EXPERIMENT=str(experiment()))
    until(lambda: len(served.workers()) == 2)
    flood = Flood(served)
    # One worker is killed and replaced, then everything at once, each in the middle of its work.
    until(lambda: len(flood.answers) > 200)
    os.kill(served.workers()[0], signal.SIGKILL)
    count = len(flood.answers)
    until(lambda: len(flood.answers) > count + 200 and len(served.workers()) == 2)
    for process in served.workers():
        os.kill(process, signal.SIGKILL)
    served.end()
    answers = flood.end()
    rows, _ = logged(tmp_path)
    told = {answer["request_id"]: answer for _, answer in answers}
    assert len(told) == len(answers) > 400
    assert {answer.get("error") for _, answer in flood.others} <= {OVERLOADED}
    known = {row["request_id"]: row for row in rows}
    assert len(known) == len(rows)
    assert told.keys() <= known.keys()
    for request_id, answer in told.items():
        assert known[request_id]["items"] == [item["item_id"] for item in answer["items"]]
        assert known[request_id]["arm"] == answer["arm"]
    # What was asked and never answered may be there, and no more than was in hand.
    assert len(known) - len(told) <= flood.lost
    assert len(list((tmp_path / "logs").glob("*.jsonl"))) >= 2  # rotated meanwhile
    assert len(list((tmp_path / "logs").glob("*.part"))) >= 1


def test_the_switch_reaches_all_workers_and_drops_no_request(bundle_folder, experiment, serve, tmp_path):
    served = serve(bundle_folder, H2REC_WORKERS="2", H2REC_EXPERIMENT=str(experiment()))
    until(lambda: len(served.workers()) == 2)
    # A process that is there may not answer yet.
    until(lambda: served.figures()["h2rec_experiment_on",] == 2)
    flood = Flood(served)
    until(lambda: len(flood.answers) > 100)
    switched = time.monotonic()
    experiment(enabled=False)
    time.sleep(4)
    answers = flood.end()
    assert {answer.get("error") for _, answer in flood.others} <= {OVERLOADED}
    assert flood.lost == 0
    late = [answer["arm"] for at, answer in answers if at > switched + 2]
    assert len(late) > 50
    assert set(late) == {None}
    assert {answer["arm"] for at, answer in answers if at < switched} == {"control", "treatment"}
    assert served.figures()["h2rec_experiment_on",] == 0
    rows, torn = logged(tmp_path)
    assert (len(rows), torn) == (sum(answer["arm"] is not None for _, answer in answers), 0)
    with contextlib.suppress(OSError):
        served.end(signal.SIGTERM)
    assert [path.suffix for path in (tmp_path / "logs").iterdir() if path.suffix == ".part"] == []

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from h2rec.errors import ConfigError, H2RecError, MissingExtraError
from h2rec.research.workers import side_by_side
from light_work import cores_of_all_threads, ended


def test_every_thread_keeps_to_the_cores_and_the_asking_one_gets_its_own_back():
    before = os.sched_getaffinity(0)
    core = max(before)
    used = dict(side_by_side(cores_of_all_threads, {"one": (1,), "two": (2,)}, 2, cores=[core]))
    assert used == {"one": [core], "two": [core]}
    assert os.sched_getaffinity(0) == before


def test_cores_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match=r"may not use all of the cores 0, 99999\n  hint: it may use: 0"):
        list(side_by_side(cores_of_all_threads, {1: (1,)}, 1, cores=[0, 99999]))


@pytest.mark.parametrize(
    "error", [MissingExtraError("tune", "tune"), ConfigError("a", "b"), H2RecError("what is wrong")]
)
def test_errors_come_whole_out_of_another_process(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.message, back.hint) == (
        type(error),
        str(error),
        error.message,
        error.hint,
    )


def test_a_process_that_is_killed_or_fails_oddly_does_not_stop_the_others():
    how = ("killed", "odd", "one", "bare", "two")
    outcomes = dict(side_by_side(ended, {name: (name,) for name in how}, 2))
    assert {name for name, outcome in outcomes.items() if outcome == name} == {"one", "two"}
    assert isinstance(outcomes["killed"], H2RecError)
    assert "its process was killed" in str(outcomes["killed"])
    assert isinstance(outcomes["odd"], ValueError)
    assert isinstance(outcomes["bare"], MissingExtraError)


AT_WORK = """
import signal, sys
from pathlib import Path
from h2rec.research.workers import side_by_side
from light_work import begin_and_never_end
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests may ignore it
list(side_by_side(begin_and_never_end, dict.fromkeys(range(4), (Path(sys.argv[1]),)), 2))
"""


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_who_is_interrupted_or_killed_leaves_nobody_at_work(how, tmp_path):
    begun = tmp_path / "begun"
    words = [sys.executable, "-c", AT_WORK, str(begun)]
    folder = Path(__file__).parents[1]
    asking = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 120
    while not begun.exists() or len(begun.read_text().splitlines()) < 2:
        assert asking.poll() is None, asking.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    if how == "killed":
        asking.kill()
    else:
        os.killpg(asking.pid, signal.SIGINT)  # as a terminal does: all of them are told
    _, said = asking.communicate(timeout=60)
    workers = begun.read_text().split()
    assert len(workers) == 2, "nobody takes up what was still to be done"
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert how == "killed" or "KeyboardInterrupt" in said

import os
import pickle

import pytest

from core_affinity import cores_of_all_threads
from h2rec.errors import ConfigError, H2RecError, MissingExtraError
from h2rec.research.workers import side_by_side


def test_every_thread_keeps_to_the_cores_and_the_asking_one_gets_its_own_back():
    before = os.sched_getaffinity(0)
    core = max(before)
    ended = dict(side_by_side(cores_of_all_threads, {"one": (1,), "two": (2,)}, 1, cores=[core]))
    assert ended == {"one": [core], "two": [core]}
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

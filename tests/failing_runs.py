"""Runs of a suite that end as they should not; in a module of its own, for processes that are started anew."""

import os
import signal
import time
from pathlib import Path

from h2rec.errors import MissingExtraError
from h2rec.research.suite.runs import carry_out


def run(job, stages, threads):
    """Carry a run out, unless its row is one that ends badly."""
    if job.model == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.model == "odd":
        raise ValueError("nobody expected this")
    if job.model == "bare":
        raise MissingExtraError("tune", "tune")
    if job.model == "slow":
        job.folder.mkdir(parents=True)
        (job.folder / "begun").touch()
        time.sleep(600)
    carry_out(job, stages, threads)


def cores_of_all_threads(_):
    """Cores that any thread of this process may use, those of numerical libraries too."""
    import numpy as np

    np.ones((200, 200)) @ np.ones((200, 200))
    threads = [task.name for task in Path("/proc/self/task").iterdir()]
    return sorted(set().union(*(os.sched_getaffinity(int(thread)) for thread in threads)))

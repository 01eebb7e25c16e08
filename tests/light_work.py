"""Work for processes that are started anew, in a module that imports next to nothing."""

import os
import signal
import time
from pathlib import Path

from h2rec.errors import MissingExtraError


def cores_of_all_threads(_):
    """Cores that any thread of this process may use, those of numerical libraries too."""
    import numpy as np

    np.ones((200, 200)) @ np.ones((200, 200))
    threads = [task.name for task in Path("/proc/self/task").iterdir()]
    return sorted(set().union(*(os.sched_getaffinity(int(thread)) for thread in threads)))


def ended(how):
    """End well, or not."""
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "odd":
        raise ValueError("nobody expected this")
    if how == "bare":
        raise MissingExtraError("tune", "tune")
    return how


def begin_and_never_end(path):
    """Say who is at work."""
    with path.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    time.sleep(600)


def updates(bundle: str, path: str) -> None:
    """Update a bundle in place from a file."""
    from h2rec.cli.main import main

    main(["update", bundle, path, "--out", bundle, "--budget", "0"])

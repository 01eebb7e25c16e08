"""The cores that a process may use, told by itself; in a module of its own, for processes that are started anew."""

import os
from pathlib import Path


def cores_of_all_threads(_):
    """Cores that any thread of this process may use, those of numerical libraries too."""
    import numpy as np

    np.ones((200, 200)) @ np.ones((200, 200))
    threads = [task.name for task in Path("/proc/self/task").iterdir()]
    return sorted(set().union(*(os.sched_getaffinity(int(thread)) for thread in threads)))

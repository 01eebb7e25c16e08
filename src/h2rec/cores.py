"""How many cores this process may use, and how its threads wait; read before any numerical library is loaded."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables by which a user says how threads wait: that of all OpenMP libraries, GNU's, and Intel's and LLVM's."""


def available_cores() -> int:
    """CPU cores that this process may use: its affinity, and no more than its container's quota, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def default_threads() -> int:
    """Threads of every library where nothing is configured: `OMP_NUM_THREADS`, or else one a core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) else available_cores()


def cpu_quota(process: Path = Path("/proc/self")) -> float | None:
    """CPU time that the process and all with it in its cgroups may spend in a second, in seconds; None for no bound.

    Both versions of cgroups are read, also side by side; the tightest bound of a group and those above it counts.
    """
    try:
        mounts = (process / "mountinfo").read_text(encoding="utf-8").splitlines()
        groups = (process / "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas = [
        quota
        for line in mounts
        for folder in _groups_of(line, groups)
        if (quota := _quota_in(folder)) is not None
    ]
    return min(quotas, default=None)


def _groups_of(mount: str, groups: list[str]) -> Iterator[Path]:
    """Folders of the process's group in a mounted hierarchy that has the CPU controller, and of those above it."""
    before, _, after = mount.partition(" - ")
    fields, kind = before.split(), after.split()
    if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
        return
    if kind[0] == "cgroup" and "cpu" not in kind[2].split(","):
        return
    root, point = Path(fields[3]), Path(fields[4].replace("\\040", " "))
    for line in groups:
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if (kind[0] == "cgroup2") != (number == "0" and not controllers):
            continue
        if kind[0] == "cgroup" and "cpu" not in controllers.split(","):
            continue
        # In a container the mount may begin at the process's own group.
        path = Path(name)
        below = path.relative_to(root) if path.is_relative_to(root) else Path()
        folder = point / below
        yield folder
        while folder != point and folder.is_relative_to(point):
            folder = folder.parent
            yield folder


def _quota_in(folder: Path) -> float | None:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            text = " ".join((folder / name).read_text(encoding="ascii") for name in names)
            quota, period = map(int, text.split())
        except (OSError, ValueError):  # none, "max", or nothing of ours
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None


def wait_passively() -> None:
    """Let threads that wait for each other sleep, unless the user says otherwise.

    By default threads of OpenMP spin at the end of every loop until the last one is there. Where other processes are on
    the same cores, what spins keeps away what is waited for, and a training takes many times longer. OpenMP reads
    this once, when it is loaded. So does polars its number of threads.
    """
    if not any(name in os.environ for name in _WAITING) and "torch" not in sys.modules:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if "polars" not in sys.modules:
        os.environ.setdefault("POLARS_MAX_THREADS", str(default_threads()))

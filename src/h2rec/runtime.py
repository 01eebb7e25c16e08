"""Where and how code runs, apart from what it computes: device, threads, random streams."""

import hashlib
import platform
import sys
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from h2rec.cores import available_cores, default_threads
from h2rec.errors import ConfigError
from h2rec.settings import Settings


class RuntimeSettings(Settings):
    """Settings that change speed and, by another order of sums, the last bits of what is learned."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:N or mps."""
    threads: int | None = None
    """CPU threads for every library; null takes `OMP_NUM_THREADS`, or else one for every core that this process may use
    (its affinity, its container's quota). A training that is to end with the
    same bytes needs the same number of them, also where it goes on after a stop."""


def set_threads(threads: int | None) -> int:
    """Give every numerical library the same number of threads and return it.

    Raises `ConfigError` if `threads` is below one.
    """
    count = default_threads() if threads is None else threads
    if count < 1:
        raise ConfigError(f"runtime.threads: {count} is below one")
    torch.set_num_threads(count)
    threadpool_limits(count)
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].set_cpu_count(count)
    return count


def select_device(name: str) -> torch.device:
    """Turn a device setting into a device that exists.

    Raises `ConfigError` if the name is unknown or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"runtime.device: '{name}' can't be used ({str(error).splitlines()[0]})") from None
    return device


def random_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return an independent random stream for a named purpose; the same names give the same stream."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    words = np.frombuffer(digest[:16], dtype=np.uint32)
    return np.random.default_rng([seed, *map(int, words)])


def describe_machine() -> dict[str, Any]:
    """Hardware and library versions, for the provenance of a result."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }

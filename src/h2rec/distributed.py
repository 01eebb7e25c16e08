"""Several workers at one training, as torchrun starts them: who is who, and what goes between them.

Without torchrun there is one worker, and nothing here needs torch's process groups. The first worker carries the
command out; the others wait for trainings to take part in. Long waits are on torchrun's key-value store, which has no
deadline. Collectives, which have one, are used only where all workers are at the same step.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from h2rec.errors import ConfigError, H2RecError

if TYPE_CHECKING:
    import torch
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

_FOREVER = timedelta(days=365)
"""How long a worker waits for the first one: reading the data may take hours."""
_HINT = "start the same command again: it goes on from the last checkpoint"


@dataclass
class _Workers:
    rank: int = 0
    size: int = 1
    store: "Store | None" = None
    told: int = 0
    """Values and jobs that the first worker has told the others."""


_workers = _Workers()


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> None:
    """Take the place that torchrun gave this process: gloo between CPUs, NCCL between GPUs, one for each worker."""
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    with _clearly():
        store, rank, size = next(rendezvous("env://"))
        backend = "gloo"
        if torch.cuda.is_available() and distributed.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    _workers.rank, _workers.size, _workers.store = rank, size, store
    if rank == 0:  # the others may wait where no handler would run
        signal.signal(signal.SIGTERM, _stopped)


def leave() -> None:
    """Let the others go, once the first worker is done."""
    from torch import distributed

    if rank() == 0:
        _tell(None)
    distributed.destroy_process_group()


def rank() -> int:
    """Number of this worker, from 0; 0 is the first one, which writes, logs and validates."""
    return _workers.rank


def size() -> int:
    """How many workers there are."""
    return _workers.size


def speaks() -> bool:
    """Whether this worker is the one to tell the user of an error: the first that asks."""
    store = _workers.store
    if store is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what it says is not cut short
    try:
        return store is None or store.add("h2rec/error", 1) == 1
    except RuntimeError:  # the store is gone with the machine that lost it
        return rank() == 0


def check_device(device: "torch.device") -> None:
    """Raise a ConfigError if several workers can't train on such a device."""
    import torch

    if size() == 1:
        return
    if device.type not in ("cpu", "cuda") or device.index is not None:
        raise ConfigError(
            f"runtime.device: several workers can't share '{device}'", "set it to cuda, cpu or auto"
        )
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if device.type == "cuda" and here > torch.cuda.device_count():
        raise ConfigError(
            f"{here} workers on a machine of {torch.cuda.device_count()} GPUs: each needs one of its own",
            "lower --nproc-per-node",
        )


def send(job: Any) -> None:
    """Give the other workers a job; the first worker sends, and they `receive` it."""
    from torch import distributed

    if size() > 1:
        _tell("job")
        with _clearly():
            distributed.broadcast_object_list([job])


def receive() -> Any:
    """Wait for the next job; None once the first worker is done."""
    from torch import distributed

    if _told() is None:
        return None
    jobs: list[Any] = [None]
    with _clearly():
        distributed.broadcast_object_list(jobs)
    return jobs[0]


def from_first(make: Callable[[], T]) -> T:
    """What the first worker makes, a value of JSON, for all; the others wait for it however long it takes."""
    if size() == 1:
        return make()
    if rank():
        told: T = _told()
        return told
    value = make()
    _tell(value)
    return value


@contextmanager
def _clearly() -> Iterator[None]:
    """Turn what torch says of a lost worker into an error for the user."""
    from torch.distributed import DistError

    try:
        yield
    except RuntimeError as error:
        # gloo raises bare errors that name its source file.
        if not isinstance(error, DistError) and "gloo" not in str(error):
            raise
        reason = str(error).strip().splitlines()[0].rpartition("] ")[2]
        raise H2RecError(f"another worker ended or can't be reached ({reason})", _HINT) from None


def _stopped(*_: object) -> None:
    raise H2RecError("another worker ended, or torchrun was stopped", _HINT)


together = _clearly
"""Context of work that all workers do at once: a lost one is an `H2RecError`."""


def _tell(value: Any) -> None:
    assert _workers.store is not None
    _workers.store.set(f"h2rec/told/{_workers.told}", json.dumps(value))
    _workers.told += 1


def _told() -> Any:
    assert _workers.store is not None
    key = f"h2rec/told/{_workers.told}"
    _workers.told += 1
    with _clearly():
        _workers.store.wait([key], _FOREVER)
        return json.loads(_workers.store.get(key))

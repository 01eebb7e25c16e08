"""Pieces of work side by side, each in a process that may end badly without the others."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from h2rec.errors import ConfigError, H2RecError

Task = TypeVar("Task")


def side_by_side(
    work: Callable[..., Any],
    tasks: Mapping[Task, tuple[Any, ...]],
    jobs: int,
    *,
    cores: Sequence[int] | None = None,
) -> Iterator[tuple[Task, Any]]:
    """Call a function for every task, several at a time, and yield how each ended as soon as it has.

    All work ends when the caller stops iterating or is interrupted.

    Raises `ConfigError` if this process may not use one of the cores.

    Parameters
    ----------
    work
        A function of a module: the processes are started anew and import it.
    tasks
        The arguments of `work` by task, begun in this order.
    jobs
        How many at a time.
    cores
        Numbers of the CPU cores to run on; None for all that this process may use.

    Yields
    ------
    tuple
        The task, and what `work` returned or the exception that it raised; `H2RecError` where its process was killed.
    """
    with _on_cores(cores):
        # Spawned, not forked: a forked child would inherit the thread pools of the numerical libraries.
        pool = ProcessPool(jobs, initializer=end_with_parent, context=multiprocessing.get_context("spawn"))
        try:
            futures: dict[Future[Any], Task] = {
                pool.schedule(work, args): task for task, args in tasks.items()
            }
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, ProcessExpired):  # by the system, most likely, for want of memory
                    error = H2RecError("its process was killed", "was there enough memory?")
                yield futures[future], future.result() if error is None else error
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


@contextmanager
def _on_cores(cores: Sequence[int] | None) -> Iterator[None]:
    """Keep this thread, and with it all processes that are started meanwhile, to some cores.

    From the start: the threads of numerical libraries are there as soon as a process has imported them, and stay where
    they were then.
    """
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    if not allowed.issuperset(cores):
        raise ConfigError(
            f"--cores: this process may not use all of the cores {', '.join(map(str, cores))}",
            f"it may use: {', '.join(map(str, sorted(allowed)))}",
        )
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone: a killed suite leaves nobody at work."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

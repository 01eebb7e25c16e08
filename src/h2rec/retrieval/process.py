"""One process uses a bundle: the thread pools of torch and polars do not come along when it forks."""

import os

from h2rec.errors import H2RecError

_user: int | None = None


def claim_process() -> None:
    """Note that this process uses bundles, and refuse where one that it was forked from did.

    A forked child has none of its parent's threads, but what the pools of torch and polars remember of them: it would
    wait for them for ever.

    Raises `H2RecError` in a process that was forked from one that had loaded a bundle.
    """
    global _user  # noqa: PLW0603  # a process has one set of thread pools
    if _user is None:
        _user = os.getpid()
    elif _user != os.getpid():
        raise H2RecError(
            f"process {os.getpid()} was forked from {_user}, which had loaded a bundle: "
            "threads do not survive a fork, so any answer would hang",
            "load in each worker, after the fork (gunicorn: without --preload, or in post_fork), "
            "or start workers by multiprocessing.get_context('spawn')",
        )

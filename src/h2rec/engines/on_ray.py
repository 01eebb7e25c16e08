"""Parts on a Ray cluster: each is a row of a Ray data set, mapped by whichever node has a core free."""

import logging
import os
import pickle  # between the processes of one cluster, never in a file
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import torch

from h2rec.engines import Part, Result
from h2rec.errors import ConfigError, H2RecError, needs_extra

_PATIENCE = 5.0
"""Seconds to wait for the head of a cluster."""


class RayEngine:
    """The cluster that `RAY_ADDRESS` names, or one of this machine's cores that ends with the process.

    Files of the work must lie where every node finds them under the same path. A part whose worker or node died is done
    again.

    Raises `MissingExtraError` without Ray, and `ConfigError` if the cluster can't be reached.
    """

    def __init__(self) -> None:
        with needs_extra("the engine 'ray'", "ray"):
            import ray
        if not ray.is_initialized():
            _ask_for(os.environ.get("RAY_ADDRESS", ""))
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
            try:
                ray.init(logging_level=logging.WARNING, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _unreachable(str(error).partition("\n")[0]) from None

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        from ray import cloudpickle, data

        if not parts:
            return
        # As many threads as here: their number decides in which order sums are taken.
        work = _Work(cloudpickle.dumps(function), torch.get_num_threads())
        rows = data.from_items(
            [{"part": cloudpickle.dumps(part)} for part in parts], override_num_blocks=len(parts)
        )
        logging.getLogger("ray.data").setLevel(logging.WARNING)  # it tells every step
        rows.context.enable_progress_bars = False
        rows.context.execution_options.preserve_order = True
        for row in rows.map(work).iter_rows():
            result, error = pickle.loads(row["answer"])
            if error is not None:
                raise error
            yield result


def _ask_for(address: str) -> None:
    """Raise `ConfigError` where nobody listens at an address: Ray itself would wait a minute or two and not say why."""
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port
    except ValueError as error:
        raise _unreachable(str(error)) from None
    if host is None or port is None:  # `auto`, `local`: no address
        return
    try:
        socket.create_connection((host, port), timeout=_PATIENCE).close()
    except OSError as error:
        raise _unreachable(f"{address}: {error}") from None


def _unreachable(reason: str) -> ConfigError:
    return ConfigError(f"the Ray cluster can't be reached ({reason})", "RAY_ADDRESS names it")


class _Work:
    """What a row stands for: one part, whose answer is a result or a user's mistake."""

    def __init__(self, function: bytes, threads: int) -> None:
        self._function, self._threads = function, threads

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        torch.set_num_threads(self._threads)
        answer: tuple[Any, H2RecError | None]
        try:
            answer = _loaded(self._function)(pickle.loads(row["part"])), None
        except H2RecError as error:
            answer = None, error
        return {"answer": pickle.dumps(answer)}


@lru_cache(maxsize=2)
def _loaded(function: bytes) -> Callable[[Any], Any]:
    """The function, once a process: it may load a model."""
    loaded: Callable[[Any], Any] = pickle.loads(function)
    return loaded

"""Questions that arrive together are answered together, and overload is told early."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from h2rec.retrieval.answers import Query, Recommendation

Answer = Callable[[Sequence[Query]], list[Recommendation]]

_MEMORY = 0.1


class OverloadedError(Exception):
    """More questions wait than can be answered in time."""


@dataclass(eq=False)
class _Request:
    queries: list[Query]
    answer: "asyncio.Future[list[Recommendation]]"


class MicroBatcher:
    """One worker thread, one queue.

    While the worker computes, questions queue up; they become its next batch. So a lone question waits for
    nothing, and under load batches grow by themselves.

    Parameters
    ----------
    answer
        Answers questions; called in the worker thread.
    size
        Most questions in a batch. A request with more is a batch of its own.
    max_waiting
        Most questions in the queue.
    patience
        Longest expected wait in seconds that is accepted.
    observe
        Called after each batch with its number of questions.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        size: int,
        max_waiting: int,
        patience: float,
        observe: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._answer = answer
        self._size = size
        self._max_waiting = max_waiting
        self._patience = patience
        self._observe = observe
        self._requests: deque[_Request] = deque()
        self._seconds_a_batch = 0.0
        self._worker: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self.waiting = 0

    async def ask(self, queries: list[Query]) -> list[Recommendation]:
        """Answer the questions of one request.

        Raises
        ------
        OverloadedError
            At once, if they would have to wait too long.
        H2RecError
            What answering them raised; other requests of the batch are not touched by it.
        """
        if self.overloaded(len(queries)):
            raise OverloadedError
        request = _Request(queries, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        self.waiting += len(queries)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await request.answer

    def overloaded(self, more: int = 1) -> bool:
        """Whether so many more questions would have to wait too long."""
        # An idle worker takes anything; otherwise one would have to wait behind the others.
        expected = max(1.0, self.waiting / self._size) * self._seconds_a_batch
        return self.waiting > 0 and (self.waiting + more > self._max_waiting or expected > self._patience)

    def close(self) -> None:
        """Give the thread back; to be called when nothing waits any more."""
        self._executor.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._requests:
            batch = self._next_batch()
            count = sum(len(request.queries) for request in batch)
            wanted = [request for request in batch if not request.answer.cancelled()]
            try:
                if wanted:
                    started = time.perf_counter()
                    outcomes = await loop.run_in_executor(self._executor, self._outcomes, wanted)
                    self._learn((time.perf_counter() - started) / max(1.0, count / self._size))
                    self._observe(count)
                    for request, outcome in zip(wanted, outcomes, strict=True):
                        _settle(request, outcome)
            finally:
                self.waiting -= count

    def _next_batch(self) -> list[_Request]:
        batch = [self._requests.popleft()]
        count = len(batch[0].queries)
        while self._requests and count + len(self._requests[0].queries) <= self._size:
            batch.append(self._requests.popleft())
            count += len(batch[-1].queries)
        return batch

    def _outcomes(self, batch: list[_Request]) -> list[list[Recommendation] | Exception]:
        try:
            answers = iter(self._answer([query for request in batch for query in request.queries]))
            return [[next(answers) for _ in request.queries] for request in batch]
        except Exception as error:
            if len(batch) == 1:
                return [error]
            # One of them is at fault: the others are answered without it.
            return [outcome for request in batch for outcome in self._outcomes([request])]

    def _learn(self, seconds: float) -> None:
        # By the batch, not by the question: the more wait, the cheaper each becomes.
        if self._seconds_a_batch == 0:
            self._seconds_a_batch = seconds
        else:
            self._seconds_a_batch += _MEMORY * (seconds - self._seconds_a_batch)


def _settle(request: _Request, outcome: list[Recommendation] | Exception) -> None:
    if request.answer.done():  # the client is gone
        return
    if isinstance(outcome, Exception):
        request.answer.set_exception(outcome)
    else:
        request.answer.set_result(outcome)

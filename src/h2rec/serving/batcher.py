"""Questions that arrive together are answered together; overload is refused early."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from h2rec.retrieval.answers import Query, Recommendation
from h2rec.serving.prices import price

AnyQuery = TypeVar("AnyQuery", bound=Query)

_MEMORY = 0.1
_FORGET = 1.0
"""Seconds without work after which half of what a batch took is forgotten."""
_QUICK, _SLOW = 0.01, 0.05
_FEW = 16.0
"""A batch of at most this price that is expected to take less than `_QUICK` seconds is answered in the loop itself;
for a while none is after one that took `_SLOW`."""


class OverloadedError(Exception):
    """More questions wait than can be answered in time."""


@dataclass(eq=False)
class _Request(Generic[AnyQuery]):
    queries: list[AnyQuery]
    prices: list[float]
    answer: "asyncio.Future[list[Recommendation]]"
    answered: list[Recommendation] = field(default_factory=list)

    def next_price(self, most: float) -> float:
        """Price of the piece that is answered next."""
        return sum(self.prices[len(self.answered) : len(self.answered) + self.next_count(most)])

    def next_count(self, most: float) -> int:
        """How many of its questions cost at most so much together, at least one."""
        start, count, left = len(self.answered), 0, most
        while start + count < len(self.prices) and (count == 0 or self.prices[start + count] <= left):
            left -= self.prices[start + count]
            count += 1
        return count


class MicroBatcher(Generic[AnyQuery]):
    """One worker, one queue.

    While the worker computes, questions queue up; they become its next batch. So a lone question waits for
    nothing, and under load batches grow by themselves. A request that is worth more than one batch is
    answered a piece at a time, and goes to the end of the queue after each: others get their turn between.

    Batches are answered in a thread, small quick ones in the loop itself: passing them on, and two threads that want
    the interpreter, would make answers slower, the slowest ones most.

    Parameters
    ----------
    answer
        Answers questions; called in the worker thread.
    size
        Price of a batch, in plain questions (`prices.price`). A question that costs more is a batch of its own.
    max_waiting
        Most questions in the queue. Requests with several may fill half of it.
    patience
        Longest expected wait in seconds that is accepted.
    quick
        Tells whether answering waits for nothing but the processor, so that the loop may do it.
    observe
        Called after each batch with its number of questions.
    clock
        Tells the time in seconds.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[AnyQuery]], list[Recommendation]],
        *,
        size: int,
        max_waiting: int,
        patience: float,
        quick: Callable[[], bool] = lambda: False,
        observe: Callable[[int], object] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._answer = answer
        self._size = size
        self._max_waiting = max_waiting
        self._patience = patience
        self._quick = quick
        self._observe = observe
        self._clock = clock
        self._requests: deque[_Request[AnyQuery]] = deque()
        self._seconds_a_batch = 0.0
        self._last_work = clock()
        self._slow_until = clock()
        self._ahead = 0.0  # price of one turn of everything that waits or is being answered
        self._many = 0  # questions of requests with several
        self._worker: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self.waiting = 0

    async def ask(self, queries: list[AnyQuery]) -> list[Recommendation]:
        """Answer the questions of one request.

        Raises `OverloadedError` at once, if they would have to wait too long. Raises `H2RecError` what answering
        them raised; other requests of the batch are not touched by it.
        """
        count = len(queries)
        many = count if count > 1 else 0
        full = many > 0 and self._many > 0 and self._many + many > self._max_waiting // 2
        if full or self.overloaded(count):
            raise OverloadedError
        request = _Request(
            queries, [price(query) for query in queries], asyncio.get_running_loop().create_future()
        )
        self.waiting += count
        self._many += many
        self._enqueue(request)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await request.answer
        finally:
            self.waiting -= count
            self._many -= many

    def overloaded(self, more: int = 1) -> bool:
        """Whether so many more questions would have to wait too long."""
        # An idle worker takes anything; otherwise one would have to wait behind the others.
        expected = max(1.0, self._ahead / self._size) * self._expected_seconds()
        return self._ahead > 0 and (self.waiting + more > self._max_waiting or expected > self._patience)

    def close(self) -> None:
        """Give the thread back; to be called when nothing waits any more."""
        self._executor.shutdown()

    def _enqueue(self, request: _Request[AnyQuery]) -> None:
        self._requests.append(request)
        self._ahead += request.next_price(self._size)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._requests:
            batch, worth = self._next_batch()
            pieces = [(request, request.queries[start : start + count]) for request, start, count in batch]
            asked = [queries for _, queries in pieces]
            try:
                if pieces:
                    started = self._clock()
                    if self._is_quick(worth, asked):
                        outcomes = self._outcomes(asked)
                        if self._clock() - started > _SLOW:
                            self._slow_until = self._clock() + _FORGET
                        await asyncio.sleep(0)  # others get their turn
                    else:
                        outcomes = await loop.run_in_executor(self._executor, self._outcomes, asked)
                    self._learn((self._clock() - started) / max(1.0, worth / self._size))
                    self._observe(sum(len(queries) for _, queries in pieces))
                    for (request, _), outcome in zip(pieces, outcomes, strict=True):
                        self._settle(request, outcome)
            finally:
                self._ahead = max(0.0, self._ahead - worth) if self._requests else 0.0

    def _next_batch(self) -> tuple[list[tuple[_Request[AnyQuery], int, int]], float]:
        """Take the next pieces of requests, with their price; those of clients that are gone are dropped."""
        batch: list[tuple[_Request[AnyQuery], int, int]] = []
        worth = 0.0
        while self._requests:
            request = self._requests[0]
            if request.answer.done():
                self._requests.popleft()
                self._ahead -= request.next_price(self._size)
                continue
            next_price = request.next_price(self._size)
            if batch and worth + next_price > self._size:
                break
            self._requests.popleft()
            batch.append((request, len(request.answered), request.next_count(self._size)))
            worth += next_price
        return batch, worth

    def _settle(self, request: _Request[AnyQuery], outcome: list[Recommendation] | Exception) -> None:
        if request.answer.done():  # the client is gone
            return
        if isinstance(outcome, Exception):
            request.answer.set_exception(outcome)
            return
        request.answered.extend(outcome)
        if len(request.answered) < len(request.queries):
            self._enqueue(request)
        else:
            request.answer.set_result(request.answered)

    def _outcomes(self, pieces: list[list[AnyQuery]]) -> list[list[Recommendation] | Exception]:
        try:
            answers = iter(self._answer([query for queries in pieces for query in queries]))
            return [[next(answers) for _ in queries] for queries in pieces]
        except Exception as error:
            if len(pieces) == 1:
                return [error]
            # One of them is at fault: the others are answered without it.
            return [outcome for queries in pieces for outcome in self._outcomes([queries])]

    def _is_quick(self, worth: float, asked: list[list[AnyQuery]]) -> bool:
        # Until one was answered nobody knows; a filter may take long to be understood, above all a wrong one.
        return (
            worth <= _FEW
            and 0 < self._seconds_a_batch < _QUICK
            and self._clock() >= self._slow_until
            and not any(query.filter.restricts for queries in asked for query in queries)
            and self._quick()
        )

    def _expected_seconds(self) -> float:
        """What a batch takes; the longer ago the last one was, the less that says."""
        idle = self._clock() - self._last_work
        return float(self._seconds_a_batch * 0.5 ** (idle / _FORGET))

    def _learn(self, seconds: float) -> None:
        # By the batch, not by the question: the more wait, the cheaper each becomes.
        known = self._seconds_a_batch
        self._seconds_a_batch = seconds if known == 0 else known + _MEMORY * (seconds - known)
        self._last_work = self._clock()

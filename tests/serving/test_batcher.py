import asyncio
import threading
import time

import pytest

from h2rec.errors import DataError
from h2rec.retrieval.answers import Query, Recommendation
from h2rec.retrieval.filters import ItemFilter
from h2rec.serving.batcher import MicroBatcher, OverloadedError


class Slow:
    """Answers with the history's own ids once it is let go; notes the batches."""

    def __init__(self):
        self.go = threading.Event()
        self.sizes = []

    def __call__(self, queries):
        self.go.wait(5)
        self.sizes.append(len(queries))
        if any(query.history == ["bad"] for query in queries):
            raise DataError("bad")
        return [Recommendation([], list(query.history)) for query in queries]


def make(slow, **values):
    return MicroBatcher(slow, **({"size": 4, "max_waiting": 100, "patience": 10.0} | values))


async def started(batcher, histories):
    tasks = []
    for history in histories:
        tasks.append(asyncio.create_task(batcher.ask([Query(history)])))
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    return tasks


def test_what_arrives_during_a_batch_makes_the_next():
    async def scene():
        slow = Slow()
        batcher = make(slow)
        tasks = await started(batcher, [[str(n)] for n in range(8)])
        slow.go.set()
        answers = await asyncio.gather(*tasks)
        assert [answer[0].unknown for answer in answers] == [[str(n)] for n in range(8)]
        assert slow.sizes == [1, 4, 3]
        assert batcher.waiting == 0

    asyncio.run(scene())


def test_too_many_waiting_are_refused_at_once_and_the_others_answered():
    async def scene():
        slow = Slow()
        batcher = make(slow, max_waiting=3)
        tasks = await started(batcher, [["a"], ["b"], ["c"]])
        with pytest.raises(OverloadedError):
            await asyncio.wait_for(batcher.ask([Query(["d"])]), 0.1)
        slow.go.set()
        assert len(await asyncio.gather(*tasks)) == 3
        assert (await batcher.ask([Query(["d"])]))[0].unknown == ["d"]

    asyncio.run(scene())


def test_a_wait_beyond_patience_is_refused_at_once():
    async def scene():
        slow = Slow()
        batcher = make(slow, patience=0.05)
        tasks = await started(batcher, [["a"]])
        await asyncio.sleep(0.1)
        slow.go.set()
        await asyncio.gather(*tasks)  # it learnt that a question takes 0.1 s
        slow.go.clear()
        tasks = await started(batcher, [["a"]])  # an idle worker takes it all the same
        with pytest.raises(OverloadedError):
            await asyncio.wait_for(batcher.ask([Query(["b"])]), 0.1)
        slow.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_one_bad_question_does_not_spoil_the_batch():
    async def scene():
        slow = Slow()
        batcher = make(slow)
        tasks = await started(batcher, [["first"], ["a"], ["bad"], ["b"]])
        slow.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[2], DataError)
        assert [results[n][0].unknown for n in (0, 1, 3)] == [["first"], ["a"], ["b"]]

    asyncio.run(scene())


def test_a_client_that_left_is_not_answered_and_not_waited_for():
    async def scene():
        slow = Slow()
        batcher = make(slow, size=1)
        tasks = await started(batcher, [["a"], ["b"], ["c"]])
        tasks[1].cancel()
        await asyncio.sleep(0)
        slow.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[2][0].unknown == ["c"]
        assert len(slow.sizes) == 2
        assert batcher.waiting == 0

    asyncio.run(scene())


def test_a_batch_larger_than_the_size_is_answered_in_pieces():
    async def scene():
        slow = Slow()
        slow.go.set()
        answers = await make(slow).ask([Query([str(n)]) for n in range(9)])
        assert [answer.unknown for answer in answers] == [[str(n)] for n in range(9)]
        assert slow.sizes == [4, 4, 1]

    asyncio.run(scene())


HEAVY = Query(["heavy"], 500, explain=True)


class Priced:
    """Takes a second for a question of 500 explained items and a hundredth for another, by its own clock."""

    def __init__(self):
        self.now = 0.0
        self.order = []

    def __call__(self, queries):
        for query in queries:
            self.order.append(query.history[0])
            self.now += 1.0 if query.explain else 0.01
        return [Recommendation([], list(query.history)) for query in queries]

    def clock(self):
        return self.now


def test_a_light_question_is_answered_between_the_pieces_of_a_heavy_batch():
    async def scene():
        priced = Priced()
        batcher = make(priced, clock=priced.clock)
        heavy = asyncio.create_task(batcher.ask([HEAVY] * 20))
        await asyncio.sleep(0)
        light = [asyncio.create_task(batcher.ask([Query([f"light{n}"])])) for n in range(3)]
        await asyncio.gather(*light)
        assert not heavy.done()
        assert len(await heavy) == 20
        assert priced.order.index("light2") <= 4

    asyncio.run(scene())


def test_batches_leave_half_of_the_queue_to_others():
    async def scene():
        slow = Slow()
        batcher = make(slow, max_waiting=20)
        first = asyncio.create_task(batcher.ask([Query(["a"])] * 15))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await asyncio.wait_for(batcher.ask([Query(["b"])] * 2), 0.1)
        light = asyncio.create_task(batcher.ask([Query(["c"])]))
        await asyncio.sleep(0)
        slow.go.set()
        assert len(await light) == 1
        assert len(await first) == 15
        assert len(await batcher.ask([Query(["b"])] * 15)) == 15
        assert batcher.waiting == 0

    asyncio.run(scene())


def test_what_heavy_questions_took_is_not_held_against_light_ones():
    """A batch is a price, not a count; and what was learnt is forgotten while nothing is asked."""

    async def scene():
        priced = Priced()
        batcher = make(priced, clock=priced.clock, patience=0.5)
        await batcher.ask([HEAVY] * 4)
        assert batcher._expected_seconds() < 0.5  # one takes a second, and is worth more than one batch
        batcher._seconds_a_batch = 3.0
        assert batcher._expected_seconds() > 2
        priced.now += 10
        assert batcher._expected_seconds() < 0.01

    asyncio.run(scene())


def test_a_heavy_batch_whose_client_left_is_dropped():
    async def scene():
        slow = Slow()
        batcher = make(slow)
        tasks = [asyncio.create_task(batcher.ask([Query(["a"])] * 40))]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        await asyncio.sleep(0)
        slow.go.set()
        assert len(await batcher.ask([Query(["b"])])) == 1
        assert slow.sizes == [4, 1]
        assert batcher.waiting == 0
        await asyncio.sleep(0.01)
        assert not batcher.overloaded(100)

    asyncio.run(scene())


class Named:
    """Notes in which thread it answers."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.threads = []

    def __call__(self, queries):
        self.threads.append(threading.current_thread())
        time.sleep(self.seconds)
        return [Recommendation([]) for _ in queries]


@pytest.mark.parametrize(
    ("how", "seconds", "questions", "in_loop"),
    [
        ({"quick": lambda: True}, 0.0, 1, [False, True, True]),
        ({"quick": lambda: True}, 0.0, 17, [False, False, False]),
        ({"quick": lambda: True}, 0.02, 1, [False, False, False]),
        ({"quick": lambda: False}, 0.0, 1, [False, False, False]),
        ({}, 0.0, 1, [False, False, False]),
    ],
)
def test_small_quick_batches_are_answered_in_the_loop(how, seconds, questions, in_loop):
    async def scene():
        answer = Named(seconds)
        batcher = make(answer, size=100, **how)
        for _ in range(3):
            await batcher.ask([Query(["a"])] * questions)
        assert [thread is threading.current_thread() for thread in answer.threads] == in_loop

    asyncio.run(scene())


def test_what_came_while_the_loop_answered_is_answered_together():
    async def scene():
        sizes = []
        batcher = make(Named(), quick=lambda: True, size=100, observe=sizes.append)
        await batcher.ask([Query(["a"])])
        await asyncio.gather(*(batcher.ask([Query([str(n)])]) for n in range(5)))
        assert sizes == [1, 5]

    asyncio.run(scene())


def test_an_error_in_the_loop_is_that_of_its_question_alone():
    async def scene():
        slow = Slow()
        slow.go.set()
        batcher = make(slow, quick=lambda: True)
        await batcher.ask([Query(["a"])])
        told = await asyncio.gather(
            *(batcher.ask([Query([name])]) for name in ("a", "bad", "b")), return_exceptions=True
        )
        assert isinstance(told[1], DataError)
        assert [answer[0].unknown for answer in (told[0], told[2])] == [["a"], ["b"]]

    asyncio.run(scene())


def test_no_filter_is_answered_in_the_loop():
    async def scene():
        answer = Named()
        batcher = make(answer, quick=lambda: True)
        await batcher.ask([Query(["a"])])
        await batcher.ask([Query(["a"], filter=ItemFilter.make(deny=["b"]))])
        assert threading.current_thread() not in answer.threads

    asyncio.run(scene())


def test_after_a_slow_batch_the_loop_answers_none_for_a_while():
    async def scene():
        answer = Named()
        batcher = make(answer, quick=lambda: True)
        for seconds in (0, 0, 0.08, 0, 0):
            answer.seconds = seconds
            await batcher.ask([Query(["a"])])
        in_loop = [thread is threading.current_thread() for thread in answer.threads]
        assert in_loop == [False, True, True, False, False]

    asyncio.run(scene())


def test_others_get_their_turn_between_quick_pieces():
    async def scene():
        batcher = make(Named(), quick=lambda: True, size=1)
        await batcher.ask([Query(["a"])])
        many = asyncio.create_task(batcher.ask([Query(["a"])] * 50))
        turns = 0
        while not many.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 50

    asyncio.run(scene())

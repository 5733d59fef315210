"""Clients take turns; what is left early is closed; what fails says so."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from elsewhere.studio.turns import BUFFER, MOST_OF_A_CLIENT, Busy, Turns


@pytest.fixture
def turns():
    made = Turns()
    yield made
    made.stop()


def run(coroutine):
    """Its result, from a thread of its own: a browser of other tests has its event loop in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result(60)


def wait_until_idle(turns):
    until = time.monotonic() + 10
    while turns.jobs and time.monotonic() < until:
        time.sleep(0.01)


async def read(turns, client, messages):
    return [message async for message in turns.run(client, messages)]


def test_messages_come_in_order(turns):
    assert run(read(turns, "a", iter(range(50)))) == list(range(50))
    wait_until_idle(turns)
    assert turns.jobs == 0


def test_two_clients_take_turns(turns):
    order = []
    gate = threading.Event()

    def count(name):
        for i in range(20):
            if i == 0 and name == "a":
                gate.wait(5)
            order.append(name)
            yield i

    async def both():
        first = asyncio.create_task(read(turns, "a", count("a")))
        second = asyncio.create_task(read(turns, "b", count("b")))
        await asyncio.sleep(0.1)
        gate.set()
        await asyncio.gather(first, second)

    run(both())
    # Nobody is served more than a few messages before the other.
    lead = [order[: i + 1].count("a") - order[: i + 1].count("b") for i in range(len(order) - 1)]
    assert max(map(abs, lead[:20])) <= BUFFER + 1


def test_a_job_that_is_left_is_closed(turns):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async def leave():
        stream = turns.run("a", endless())
        assert await anext(stream) == 1
        await stream.aclose()

    run(leave())
    assert closed.wait(5)
    wait_until_idle(turns)
    assert turns.jobs == 0


def test_a_slow_reader_stops_its_own_job_only(turns):
    made = []

    def count():
        for i in range(100):
            made.append(i)
            yield i

    async def slow():
        stream = turns.run("slow", count())
        await anext(stream)
        assert await read(turns, "quick", iter(range(30))) == list(range(30))
        assert len(made) <= BUFFER + 2
        await stream.aclose()

    run(slow())


def test_errors_reach_the_reader_and_the_next_job_runs(turns):
    def failing():
        yield 1
        raise ValueError("of this kind")

    async def check():
        with pytest.raises(ValueError, match="of this kind"):
            await read(turns, "a", failing())
        assert await read(turns, "a", iter([1])) == [1]

    run(check())


def test_too_many_jobs_of_one_client_are_refused(turns):
    def endless():
        while True:
            yield 1

    async def check():
        streams = [turns.run("a", endless()) for _ in range(MOST_OF_A_CLIENT)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(Busy):
            await read(turns, "a", iter([1]))
        assert await read(turns, "b", iter([1])) == [1]
        for stream in streams:
            await stream.aclose()

    run(check())


def test_none_is_a_turn_without_a_message(turns):
    order = []

    def long():
        for _ in range(3 * BUFFER):
            order.append("long")
            yield None
        yield "result"

    def short():
        order.append("short")
        yield 1

    async def both():
        return await asyncio.gather(read(turns, "a", long()), read(turns, "b", short()))

    assert run(both()) == [["result"], [1]]
    assert order.index("short") <= BUFFER
    assert order.count("long") == 3 * BUFFER


def test_a_generator_that_does_not_close_stops_nobody(turns, caplog):
    def stubborn():
        while True:
            try:
                yield 1
            except GeneratorExit:
                yield 2

    async def check():
        stream = turns.run("a", stubborn())
        await anext(stream)
        await stream.aclose()
        assert await read(turns, "b", iter([1])) == [1]

    run(check())
    wait_until_idle(turns)
    assert "did not end" in caplog.text


def test_jobs_that_were_left_do_not_count(turns):
    gate = threading.Event()

    def slow():
        gate.wait(5)
        yield 1

    async def check():
        first = asyncio.create_task(read(turns, "b", slow()))
        await asyncio.sleep(0.05)
        for _ in range(2 * MOST_OF_A_CLIENT):
            left = asyncio.create_task(read(turns, "a", iter([1])))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        last = asyncio.create_task(read(turns, "a", iter([2])))
        gate.set()
        assert await last == [2]
        await first

    run(check())

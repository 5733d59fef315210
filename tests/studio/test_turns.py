"""Clients take turns; what is left early is closed; what fails says so."""

import asyncio
import threading
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


async def read(turns, client, messages):
    return [message async for message in turns.run(client, messages)]


def test_messages_come_in_order(turns):
    assert run(read(turns, "a", iter(range(50)))) == list(range(50))
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

"""Threads that are kept a moment for the next piece of work."""

import queue
import threading
from collections.abc import Callable
from functools import partial

import pytest

from exporter.threads import KeptThreads
from tests.exporter_threads import ended, running

NAME = "kept"


def ran_in(answers: queue.SimpleQueue[int | None], threads: KeptThreads) -> int | None:
    """The thread that one piece of work ran in."""
    threads.run(lambda: answers.put(threading.get_ident()))
    return answers.get(timeout=30)


def idle(threads: KeptThreads, number: int) -> bool:
    """Wait until so many threads wait for work."""
    never = threading.Event()
    for _ in range(3000):
        if threads.idle == number:
            return True
        never.wait(0.01)
    return False


def test_a_thread_takes_the_next_piece() -> None:
    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    threads = KeptThreads(NAME, seconds=60)
    first = ran_in(answers, threads)
    assert idle(threads, 1)

    assert {ran_in(answers, threads)} == {first}
    assert running(NAME) == 1

    assert idle(threads, 1)
    threads.run(partial(setattr, threads, "_seconds", 0))
    assert ended(NAME)


def test_each_piece_has_a_thread_of_its_own() -> None:
    """One that waits for a slow client keeps no other piece waiting."""
    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    threads = KeptThreads(NAME, seconds=0)
    go = threading.Event()
    for _ in range(3):
        threads.run(lambda: answers.put(threading.get_ident() if go.wait(30) else None))
    assert running(NAME) == 3
    go.set()

    assert len({answers.get(timeout=30) for _ in range(3)} - {None}) == 3
    assert ended(NAME)
    assert threads.idle == 0


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_no_piece_is_lost_while_threads_end(seconds: float) -> None:
    """Each is run once, however it meets the end of a thread that waited long enough."""
    threads = KeptThreads(NAME, seconds=seconds)
    ran: queue.SimpleQueue[int] = queue.SimpleQueue()

    def piece(number: int) -> Callable[[], None]:
        return lambda: ran.put(number)

    for number in range(2000):
        threads.run(piece(number))

    assert sorted(ran.get(timeout=30) for _ in range(2000)) == list(range(2000))
    assert ended(NAME)


def test_a_piece_is_let_go_before_the_next_one_comes() -> None:
    """A connection's memory is free as soon as it has ended, not with the next one."""
    gone = threading.Event()

    class Piece:
        def __call__(self) -> None:
            pass

        def __del__(self) -> None:
            gone.set()

    threads = KeptThreads(NAME, seconds=60)
    threads.run(Piece())

    assert gone.wait(30)
    assert idle(threads, 1)
    threads.run(partial(setattr, threads, "_seconds", 0))
    assert ended(NAME)


def test_one_thread_without_work_stays_longer_than_the_others() -> None:
    """A crowd's threads end soon; whoever comes now and then meets the one that stays."""
    threads = KeptThreads(NAME, seconds=0.01, last_seconds=60)
    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    go = threading.Event()
    for _ in range(3):
        threads.run(lambda: answers.put(threading.get_ident() if go.wait(30) else None))
    go.set()
    first = {answers.get(timeout=30) for _ in range(3)}

    assert len(first - {None}) == 3
    assert only_one_runs()
    assert idle(threads, 1)
    assert {ran_in(answers, threads)} <= first

    threads.close()
    assert ended(NAME)
    assert threads.idle == 0


def test_after_the_end_no_thread_waits_for_work() -> None:
    """Work that comes all the same is done."""
    threads = KeptThreads(NAME, seconds=60)
    threads.close()

    assert ran_in(queue.SimpleQueue(), threads) is not None
    assert ended(NAME)


def only_one_runs() -> bool:
    """Wait until all threads but one have ended."""
    never = threading.Event()
    for _ in range(3000):
        if running(NAME) == 1:
            return True
        never.wait(0.01)
    return False

"""Every processor works on items of its own; what comes out is in order."""

import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from plusx.placement.inference.streams import Streams


@pytest.fixture
def streams() -> Iterator[Streams]:
    with Streams(2) as streams:
        yield streams


def test_results_come_in_the_order_of_the_items(streams: Streams) -> None:
    def late(item: int) -> int:
        time.sleep(0.02 if item % 2 else 0)
        return item

    assert list(streams.apart(late, range(9))) == list(range(9))


def test_no_more_items_are_taken_than_are_soon_worked_on(streams: Streams) -> None:
    taken = itertools.count()
    results = streams.apart(str, taken)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    results.close()  # type: ignore[attr-defined]
    assert next(taken) <= 3 + 2 * 2


def in_a_new_thread(call: Callable[[], int]) -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(call()))
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.parametrize("callers", [1, 3])
def test_the_callers_processors_stay_its_own_during_the_work_and_after_it(streams: Streams, callers: int) -> None:
    before, entered, leave = torch.get_num_threads(), threading.Barrier(3), threading.Event()
    try:
        torch.set_num_threads(callers)

        def wait(_: int) -> int:
            entered.wait(30)
            assert leave.wait(30)
            return torch.get_num_threads()

        working = threading.Thread(target=lambda: seen.extend(streams.apart(wait, range(2))))
        seen: list[int] = []
        working.start()
        entered.wait(30)
        assert torch.get_num_threads() == callers == in_a_new_thread(torch.get_num_threads)
        leave.set()
        working.join()
        assert seen == [1, 1] and streams.together(torch.get_num_threads) == 2
        assert torch.get_num_threads() == callers == in_a_new_thread(torch.get_num_threads)
    finally:
        torch.set_num_threads(before)


def test_a_fault_reaches_the_caller_and_the_threads_work_on(streams: Streams) -> None:
    with pytest.raises(ZeroDivisionError):
        list(streams.apart(lambda item: 1 // item, [1, 0, 1]))
    assert list(streams.apart(abs, [-1])) == [1]


def test_threads_end_with_the_object_that_owns_them() -> None:
    before = set(threading.enumerate())
    closed, forgotten = Streams(2), Streams(2)
    for streams in (closed, forgotten):
        assert list(streams.apart(abs, range(4))) == [0, 1, 2, 3]
    closed.close()
    del streams, forgotten
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="after shutdown"):
        closed.together(int)

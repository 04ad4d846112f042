"""Every processor works on items of its own; what comes out is in order."""

import itertools
import threading
import time

import pytest
import torch

from plusx.placement.inference.streams import in_streams


def test_results_come_in_the_order_of_the_items() -> None:
    def late(item: int) -> int:
        time.sleep(0.02 if item % 2 else 0)
        return item

    assert list(in_streams(late, range(9), threads=3)) == list(range(9))


def test_no_more_items_are_taken_than_are_soon_worked_on() -> None:
    taken = itertools.count()
    results = in_streams(str, taken, threads=2)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    results.close()  # type: ignore[attr-defined]
    assert next(taken) <= 3 + 2 * 2


def test_each_thread_computes_on_one_processor_and_the_caller_on_as_many_as_before() -> None:
    before = torch.get_num_threads()
    assert set(in_streams(lambda _: torch.get_num_threads(), range(4), threads=2)) == {1}
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert torch.get_num_threads() == before and seen == [before]


def test_a_fault_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_streams(lambda item: 1 // item, [1, 0, 1], threads=2))

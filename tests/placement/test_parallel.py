"""Work shared between threads: by OpenMP and by our own pool, every share once and the same bits."""

import _thread
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from plusx.benchmark.training import WholeStep
from plusx.placement.kernels import native
from plusx.placement.kernels.norm import FusedNorm
from plusx.placement.kernels.thread import OwnThread
from plusx.placement.place import Placement


class Busy:
    """The library on a machine that is busy, or is not."""

    def __init__(self, busy: bool = True) -> None:
        self.busy = busy

    def plusx_parallel_busy(self) -> int:
        return self.busy


TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
BY_LOAD, OPENMP, POOL = range(3)
TASKS = Path("/proc/self/task")

pytestmark = pytest.mark.skipif(native.vector_level() == 0, reason="built without a C compiler, or no AVX2")
needs_two_processors = pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="one processor"
)
needs_linux = pytest.mark.skipif(not TASKS.exists(), reason="no /proc")


def library() -> ctypes.CDLL:
    found = native.library()
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def by_load_again() -> Iterator[None]:
    yield
    library().plusx_parallel_force(BY_LOAD)


def on_a(machine: Busy) -> OwnThread:
    own = OwnThread(wanted=True)
    own._library = machine  # type: ignore[assignment]
    return own


def shares_done(count: int, during: Callable[[int], None] = lambda share: None) -> Counter[tuple[int, int]]:
    done: list[tuple[int, int]] = []

    @TASK
    def task(work: int, share: int, shares: int) -> None:
        during(share)
        done.append((share, shares))

    library().plusx_parallel(task, None, count)
    return Counter(done)


def once_each(count: int) -> Counter[tuple[int, int]]:
    return Counter((share, count) for share in range(count))


@pytest.mark.parametrize("who", [BY_LOAD, OPENMP, POOL])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 17])
def test_every_share_is_done_once(who: int, count: int) -> None:
    library().plusx_parallel_force(who)
    for _ in range(200):
        assert shares_done(count) == once_each(count)


def test_every_share_is_done_once_where_the_pool_is_handed_over_quickly() -> None:
    library().plusx_parallel_force(POOL)
    for number in range(3000):
        assert shares_done(2 + number % 3) == once_each(2 + number % 3)


@needs_two_processors
@needs_linux
def test_the_pool_brings_threads() -> None:
    library().plusx_parallel_force(POOL)
    meet = threading.Barrier(2, timeout=60)  # passes only if two threads do shares at the same time
    assert shares_done(2, lambda share: meet.wait() and None) == once_each(2)


def test_a_share_may_share_its_own_work() -> None:
    library().plusx_parallel_force(POOL)
    inner: list[Counter[tuple[int, int]]] = []
    assert shares_done(3, lambda share: inner.append(shares_done(4))) == once_each(3)
    assert inner == [once_each(4)] * 3


def test_several_threads_may_share_work_at_once() -> None:
    library().plusx_parallel_force(POOL)
    found: list[Counter[tuple[int, int]]] = []
    threads = [threading.Thread(target=lambda: found.extend(shares_done(3) for _ in range(100))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [once_each(3)] * 400


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_the_pool_starts_anew_in_a_forked_child() -> None:
    library().plusx_parallel_force(POOL)
    assert shares_done(2) == once_each(2)
    child = os.fork()
    if not child:
        meet = threading.Barrier(2, timeout=60)
        wait = len(os.sched_getaffinity(0)) > 1
        right = all(shares_done(2, lambda share: wait and meet.wait() and None) == once_each(2) for _ in range(5))
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shares_done(2) == once_each(2)


@pytest.mark.parametrize("flush", [False, True])
def test_the_bits_are_the_same_whoever_does_the_shares(flush: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 16, 17, 15).to(memory_format=torch.channels_last)
    x[:, 3] *= 1e-38  # its sums have values below the normal numbers
    dy = torch.randn_like(x)
    results = []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.set_flush_denormal(flush)
    for who in (OPENMP, POOL, POOL):
        library().plusx_parallel_force(who)
        module, leaf = FusedNorm(nn.BatchNorm2d(16)), x.clone().requires_grad_()
        y = module(leaf, None, 0, True)
        y.backward(dy)
        results.append([y, leaf.grad, *(p.grad for p in module.parameters()), *module.buffers()])
    torch.set_flush_denormal(False)
    torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], result, strict=True))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_thread_of_our_own_calls_on_a_busy_machine_only(num_threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    machine, called_by = Busy(False), threading.get_native_id
    own = on_a(machine)
    assert own(called_by) == threading.get_native_id()
    machine.busy = True
    once, again = own(called_by), own(called_by)
    assert once == again and (once == threading.get_native_id()) == (num_threads == 1)
    machine.busy = False
    assert own(called_by) == threading.get_native_id()
    assert within_a_minute(lambda: not any(thread.native_id == once for thread in threading.enumerate()[1:]))
    torch.set_num_threads(before)


def test_what_a_call_raises_is_raised_and_it_has_ended_when_the_wait_is_interrupted() -> None:
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    own, ended = on_a(Busy()), []
    with pytest.raises(ZeroDivisionError):
        own(lambda: 1 // 0)

    def long() -> None:
        _thread.interrupt_main()
        time.sleep(0.5)
        ended.append(True)

    # A shell has its jobs in the background ignore SIGINT, and those that they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            own(long)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended
    torch.set_num_threads(torch_threads)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_has_the_same_bits_in_a_thread_of_our_own(precision: str) -> None:
    def trained(machine: Busy) -> list[torch.Tensor]:
        torch.manual_seed(0)
        step = WholeStep("resnet20", 8, Placement("cpu", "channels_last", precision, 2, kernels="fused"))
        step.step._thread = on_a(machine)
        for _ in range(2):
            step()
        return [t.clone() for t in step.net.state_dict().values()]

    before = torch.get_num_threads()
    here, there = trained(Busy(False)), trained(Busy())
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_a_machine_is_busy_at_once_and_quiet_after_a_second() -> None:
    window = library().plusx_load_window
    window.argtypes = (ctypes.c_long, ctypes.c_long)
    quiet = [window(100, 0) for _ in range(10)]
    assert quiet[-1] == 0
    assert [window(100, 2), window(100, 9), window(100, 11)] == [0, 0, 1]
    assert [window(100, 0) for _ in range(9)] == [1] * 9
    assert window(100, 5) == 1  # neither busy nor quiet: it counts anew
    assert [window(100, 0) for _ in range(10)] == [1] * 9 + [0]


def within_a_minute(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not (holds := condition()) and time.monotonic() < until:
        time.sleep(0.01)
    return holds


def threads_now() -> int:
    return len(list(TASKS.iterdir()))


@needs_linux
def test_the_team_that_shortens_the_spinning_ends_with_it() -> None:
    library().plusx_parallel_force(OPENMP)  # so that the load of this machine has no say
    shares_done(2)
    library().plusx_throttle(1)
    assert within_a_minute(lambda: threads_now() > 3)
    library().plusx_throttle(0)
    previous = [-1, 0]

    def settled() -> bool:
        previous.append(threads_now())
        return len(previous) > 20 and len(set(previous[-20:])) == 1

    assert within_a_minute(settled)
    before = threads_now()
    for _ in range(3):
        library().plusx_throttle(1)
        assert within_a_minute(lambda: threads_now() > before + 1)
        shares_done(2)
        library().plusx_throttle(0)
        assert within_a_minute(lambda: threads_now() == before)


def masks() -> dict[int, set[int]]:
    return {int(task.name): os.sched_getaffinity(int(task.name)) for task in TASKS.iterdir()}


def masks_at_rest() -> dict[int, set[int]]:
    """Once no thread is on its way to another processor."""
    previous = [masks()]

    def settled() -> bool:
        previous.append(masks())
        return len(previous) > 30 and all(mask == previous[-1] for mask in previous[-30:])

    assert within_a_minute(settled)
    return previous[-1]


@pytest.fixture
def busy_programs() -> Iterator[None]:
    processors = os.sched_getaffinity(0)
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in processors]
    yield
    for program in programs:
        program.kill()
        program.wait()


@needs_linux
@needs_two_processors
@pytest.mark.usefixtures("busy_programs")
@pytest.mark.parametrize("held", [False, True])
def test_the_calling_thread_may_always_run_where_it_might_and_workers_do_so_again(held: bool) -> None:
    """Beside a busy program on every processor, workers stand still and are brought to the caller's processor."""
    library().plusx_parallel_force(POOL)
    x = torch.randn(32, 16, 32, 32).to(memory_format=torch.channels_last)
    module = FusedNorm(nn.BatchNorm2d(16))
    everywhere = os.sched_getaffinity(0)
    module(x, None, 0, True)
    if held:  # this thread alone, as its owner may wish
        os.sched_setaffinity(0, {min(everywhere)})
    before = masks_at_rest()
    own = {min(everywhere)} if held else everywhere
    until = time.monotonic() + 2
    while time.monotonic() < until:
        module(x, None, 0, True)
        for _ in range(100):  # a narrower set would decide how many threads a net gets, and go to every child
            assert os.sched_getaffinity(0) == own
    after = masks_at_rest()
    os.sched_setaffinity(0, everywhere)
    assert after == before


@needs_linux
@needs_two_processors
@pytest.mark.usefixtures("busy_programs")
def test_a_thread_of_ours_is_moved_and_may_run_everywhere_again() -> None:
    """The program's own thread, and what it starts meanwhile, may run where they might."""
    library().plusx_parallel_force(POOL)
    x = torch.randn(32, 16, 32, 32).to(memory_format=torch.channels_last)
    module = FusedNorm(nn.BatchNorm2d(16))
    everywhere, seen, places = os.sched_getaffinity(0), set(), set()
    own = on_a(Busy())
    library().plusx_apart(0, 2)  # an earlier test may have found this machine busy
    before = masks_at_rest()  # OpenVINO binds threads of its own

    def work() -> None:
        module(x, None, 0, True)
        sum(range(20_000))  # what no other thread can do
        places.add(library().sched_getcpu())

    def moved() -> bool:
        own(work)
        seen.add(frozenset(os.sched_getaffinity(0)))
        return len(places) > 1

    assert within_a_minute(moved)
    assert seen == {frozenset(everywhere)}
    assert within_a_minute(lambda: all(mask == before.get(task, everywhere) for task, mask in masks().items()))


@needs_linux
@needs_two_processors
def test_a_team_kept_apart_goes_back_where_it_was() -> None:
    library().plusx_parallel_force(OPENMP)
    shares_done(2)  # so that its threads exist
    library().plusx_apart(0, 2)  # an earlier test may have found this machine busy
    before = masks_at_rest()
    library().plusx_apart(1, 2)
    apart = {task: mask for task, mask in masks().items() if mask != before[task]}
    assert len(apart) == 1 and all(len(before[task] - mask) == 1 for task, mask in apart.items())
    assert threading.get_native_id() not in apart
    library().plusx_apart(0, 2)
    assert masks() == before

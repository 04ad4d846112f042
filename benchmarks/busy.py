"""Training steps beside other busy programs, ours and plain PyTorch's; results/busy.json.

For each kind of program, and for none, one and two of it, the contenders take turns in rounds. Each contender has a
process of its own and waits, asleep, while another is timed. A turn takes seconds, because a time slice takes
milliseconds and a program is noticed within tenths of a second.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.harness import only, write_case
from benchmarks.training import compared, contender
from plusx.benchmark.apart import Apart
from plusx.placement.kernels import native
from plusx.placement.machine import cpu_flags, multiplies_bf16, usable_cpus
from plusx.placement.turns import take_turns

ROUNDS = 5
SECONDS = 2.0
"""Of one turn of one contender."""
CASES = (("resnet20", 128), ("resnet56", 128))
"""Net, and images in a step."""
COUNTS = (1, 2)
"""Programs beside a contender."""
OPENMP_ALONE = "ours by OpenMP alone"
"""Ours as it would be if it took no notice of other programs."""


def main(nets: Sequence[str] = ()) -> None:
    """Measure every case, or those of the named nets; write and print each row."""
    for net, batch_size in only(CASES, nets):
        for case in measure(net, batch_size):
            write_case("busy", case)
            print(in_words(case), flush=True)


def measure(net: str, batch_size: int) -> Iterator[dict[str, Any]]:
    """Measure one net beside nothing, then beside each kind of program."""
    with ExitStack() as stack:
        contenders = {who: stack.enter_context(Apart(make, who, net, batch_size)) for who in names()}
        quiet: dict[str, float] = {}
        for kind, count in (("nothing", 0), *((kind, count) for kind in KINDS for count in COUNTS)):
            with beside(kind, count):
                turns = take_turns(contenders, rounds=ROUNDS, at_least=SECONDS)
            comparison = compared(turns, batch_size)
            for who, numbers in comparison["contenders"].items():
                quiet.setdefault(who, numbers["images_per_s"])  # nothing comes first
                numbers["share_of_quiet"] = numbers["images_per_s"] / quiet[who]
                if who not in ("ours", OPENMP_ALONE):
                    numbers |= comparison["ratios"][who]
            yield {
                "net": net,
                "batch_size": batch_size,
                "beside": {"kind": kind, "count": count},
                "rounds": ROUNDS,
                "seconds_of_a_turn": SECONDS,
                "contenders": comparison["contenders"],
            }


def names() -> list[str]:
    """The contenders. PyTorch's bf16 is one where the processor multiplies it."""
    return ["eager fp32", *(["eager bf16"] if multiplies_bf16(cpu_flags()) else []), OPENMP_ALONE, "ours"]


def make(who: str, net: str, batch_size: int) -> Callable[[], None]:
    """A call that is one training step, by the name of the contender."""
    library = native.library()
    if who == OPENMP_ALONE and library:
        library.plusx_parallel_force(1)
    return contender("ours" if who == OPENMP_ALONE else who, net, batch_size)


# ---- the programs beside ---------------------------------------------------------------------------------------------


def loop() -> Callable[[], object]:
    """A program of one thread that computes in Python."""
    return lambda: sum(range(100_000))


def product() -> Callable[[], object]:
    """A program of one thread that multiplies matrices."""
    torch.set_num_threads(1)
    a = torch.ones(512, 512)
    return lambda: a @ a


def training() -> Callable[[], object]:
    """Another training in plain PyTorch, with a thread for each processor."""
    return contender("eager fp32", "resnet20", 64)


def tests() -> Callable[[], object]:
    """What the tests of a numerical library do: small products in several threads, and Python between them."""
    torch.set_num_threads(usable_cpus())
    a = torch.ones(300, 300)

    def several() -> None:
        for _ in range(30):
            torch.mm(a, a)
        sum(range(20_000))

    return several


KINDS: Mapping[str, Callable[[], Callable[[], object]]] = {
    "loop": loop,
    "matrix product": product,
    "training": training,
    "tests": tests,
}


@contextmanager
def beside(kind: str, count: int) -> Iterator[list[int]]:
    """Run so many programs of a kind during the block; gives their process numbers once all of them compute."""
    context = get_context("spawn")
    began = context.Semaphore(0)
    programs = [context.Process(target=_compute, args=(kind, began, os.getpid()), daemon=True) for _ in range(count)]
    try:
        for program in programs:
            program.start()
        for _ in programs:
            if not began.acquire(timeout=300):
                raise RuntimeError(f"the {kind} beside did not begin")
        yield [program.pid or 0 for program in programs]
    finally:
        for program in programs:
            if program.pid:
                program.kill()
                program.join()


def _compute(kind: str, began: Any, parent: int) -> None:
    call = KINDS[kind]()
    call()
    began.release()
    while os.getppid() == parent:  # a killed benchmark leaves no busy machine behind
        call()


def in_words(case: Mapping[str, Any]) -> str:
    """A case as lines of text."""
    kind, count = case["beside"]["kind"], case["beside"]["count"]
    lines = [f"{case['net']}, batch {case['batch_size']}, beside {f'{count} x {kind}' if count else kind}"]
    for who, numbers in case["contenders"].items():
        low, high = numbers["images_per_s_range"]
        line = f"  {who:22}{numbers['images_per_s']:8.1f} images/s ({low:.1f} to {high:.1f})"
        line += f"   {numbers['share_of_quiet']:.2f} of quiet"
        if "ratio" in numbers:
            low, high = numbers["ratio_range"]
            line += f"   ours {numbers['ratio']:.2f}x ({low:.2f} to {high:.2f})"
        lines.append(line)
    return "\n".join(lines)

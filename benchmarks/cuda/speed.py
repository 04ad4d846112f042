"""Images per second of whole training steps, each contender alone on the device."""

import time
from argparse import Namespace
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.cuda.contenders import CASES, MAIN, WholeStep, contenders
from benchmarks.cuda.device import DEVICE, free, wait
from benchmarks.cuda.records import Records, in_short


def speed(record: Records, asked: Namespace, deadline: float) -> None:
    """Each contender of each case in three stretches of time."""
    for net, batch_size in (("resnet20", 4),) if asked.smoke else CASES:
        for who, make in contenders(net, batch_size).items():
            everyone = (net, batch_size) == CASES[0]
            wanted = "compiled" not in who if asked.smoke else everyone or who in MAIN
            if not wanted or time.monotonic() > deadline:
                continue
            step: Any = None
            try:
                began = time.perf_counter()
                step = make()
                step()
                wait()
                ready = time.perf_counter() - began
                for _ in range(0 if asked.smoke else 10):
                    step()
                paces = [pace(step, 0.05 if asked.smoke else 0.3) * batch_size for _ in range(3)]
                not_captured = step.step.not_captured if isinstance(step, WholeStep) else None
                record(net=net, batch=batch_size, who=who, images_per_s=median(paces), low=min(paces), high=max(paces),
                       ready_seconds=ready, **({"refused": not_captured} if not_captured else {}))  # fmt: skip
            except Exception as fault:  # one that fails leaves the others their turn
                record(net=net, batch=batch_size, who=who, failed=in_short(fault))
            step = None
            free()


def pace(step: Callable[[], object], seconds: float) -> float:
    """Calls per second."""
    at_once = 10 if DEVICE == "cuda" else 1
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(at_once):
            step()
        calls += at_once
        wait()  # now and then, so that the host does not run far ahead of the clock
    return calls / (time.perf_counter() - began)

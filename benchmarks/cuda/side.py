"""Several captured runs at once on one device, each on a stream and a thread of its own."""

import dataclasses
import functools
import time
from argparse import Namespace

import torch

from benchmarks.cuda.contenders import WholeStep, rules_placement
from benchmarks.cuda.device import DEVICE, free, own_stream, together, wait
from benchmarks.cuda.paper import NETS
from benchmarks.cuda.records import Records


def side(record: Records, asked: Namespace, deadline: float) -> None:
    """Runs of ResNet-20 and of the paper's four nets at once, compiled and not: images per second of all of them."""
    placement = rules_placement()
    batch_size, seconds, at_once = (4, 0.2, 1) if asked.smoke else (128, 1.0, 20)
    for compiled in (False,) if asked.smoke else (False, True):
        where = dataclasses.replace(placement, compile=compiled)
        for nets in (("resnet20",), ("resnet20",) * 2, ("resnet20",) * 4, NETS, (*NETS, *NETS)):
            if time.monotonic() > deadline or (asked.smoke and len(nets) != 2):
                continue
            made = []
            for net in nets:
                with own_stream():
                    made.append(WholeStep(net, batch_size, where))
                    made[-1]()
            wait()
            counts, until = [0] * len(made), time.perf_counter() + seconds
            began = time.perf_counter()
            calls = [functools.partial(_repeat, step, at_once, until, counts, i) for i, step in enumerate(made)]
            together(calls)
            elapsed = time.perf_counter() - began
            record(side=list(nets), compiled=compiled, images_per_s=sum(counts) * batch_size / elapsed,
                   each=[round(count * batch_size / elapsed) for count in counts])  # fmt: skip
            del made, calls
            free()


def _repeat(step: WholeStep, at_once: int, until: float, counts: list[int], place: int) -> None:
    """Call a step until a time, and count the calls at its place."""
    with own_stream():
        while time.perf_counter() < until:
            for _ in range(at_once):
                step()
            counts[place] += at_once
            if DEVICE == "cuda":
                torch.cuda.current_stream().synchronize()

"""Time and memory of a training step from 20 to 1202 layers; results/training-depth.json.

Each depth has a process of its own, and they take turns. Where time is linear in layers, every depth takes equally many
milliseconds per layer.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import as_range, between_ceilings, only, peak, write
from plusx.analysis.cost import cost
from plusx.benchmark.apart import Apart
from plusx.benchmark.training import WholeStep, ours
from plusx.nets import build, entry
from plusx.placement.place import choose_placement
from plusx.placement.turns import Spread, take_turns
from plusx.recipes.placement import PlacementSpec

BATCH_SIZE = 128
DEPTHS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202")
CASES = (*((net, False) for net in DEPTHS), ("resnet110", True), ("resnet1202", True))
"""Net, and whether its backward pass recomputes what the forward pass did not keep."""
ROUNDS = 5
TOLERANCE = 0.1


def main(nets: Sequence[str] = ()) -> None:
    """Measure every depth, print each, and whether time is linear in layers; write all."""
    left_out: dict[str, str] = {}
    with ExitStack() as stack, between_ceilings() as ceilings:
        steps, free = {}, free_bytes()
        for net, recompute in only(CASES, nets):
            need = 0 if recompute else kept_bytes(net)
            if need > free:
                left_out[net] = f"needs {need / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are free"
                continue
            free -= need
            steps[f"{net} recomputed" if recompute else net] = stack.enter_context(Apart(deep, net, recompute))
        turns = take_turns(steps, rounds=ROUNDS)
        measured = [in_numbers(who, turns.seconds[who], step.ask(peak)) for who, step in steps.items()]
    for case in measured:
        print(in_words(case))
    for net, reason in left_out.items():
        print(f"{net:22}left out: {reason}")
    farthest = deviation([case["seconds_per_layer"] for case in measured if not case["checkpoint"]])
    verdict = f"time is linear in layers within {100 * farthest:.0f} %"
    print(verdict if farthest <= TOLERANCE else f"{verdict}, more than {100 * TOLERANCE:.0f} %")
    if not nets:
        content = {"batch_size": BATCH_SIZE, "rounds": ROUNDS, "deviation": farthest, "linear": farthest <= TOLERANCE}
        write("training-depth", {**content, "cases": measured, "left_out": left_out, "ceilings": ceilings})


def deep(net: str, recompute: bool) -> WholeStep:
    """A step of plusx; with `recompute`, in less memory."""
    if not recompute:
        return ours(net, BATCH_SIZE)
    return WholeStep(net, BATCH_SIZE, choose_placement(PlacementSpec(recompute=True)))


def deviation(seconds_per_layer: Sequence[float]) -> float:
    """How far the farthest depth is from the median, as a share of it; 0 if there is none."""
    spread = Spread.of(seconds_per_layer or [1.0])
    return max(spread.high / spread.median - 1, 1 - spread.low / spread.median)


def kept_bytes(net: str) -> int:
    """Bytes that autograd keeps for the backward pass, in fp32."""
    with torch.device("meta"):
        return cost(build(net), entry(net).input_shape).saved_bytes * BATCH_SIZE


def free_bytes(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Memory that new processes may take; infinity where the system does not say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return math.inf
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def in_numbers(who: str, seconds: Sequence[float], peak_bytes: int | None) -> dict[str, Any]:
    """The measurements of a depth, as results/ stores them."""
    net, _, recomputed = who.partition(" ")
    spread, layers = Spread.of(seconds), entry(net).layers
    return {
        "net": net,
        "checkpoint": bool(recomputed),  # the key that results/ has had from the start
        "layers": layers,
        "seconds": spread.median,
        "seconds_range": as_range(spread),
        "seconds_per_layer": spread.median / layers,
        "images_per_s": BATCH_SIZE / spread.median,
        "peak_memory_bytes": peak_bytes,
    }


def in_words(case: Mapping[str, Any]) -> str:
    """A depth as a line of text."""
    low, high = case["seconds_range"]
    peak_bytes = case["peak_memory_bytes"]
    who = case["net"] + (" recomputed" if case["checkpoint"] else "")
    return (
        f"{who:22}{case['seconds']:7.3f} s per step ({low:.3f} to {high:.3f}), "
        f"{1e3 * case['seconds_per_layer']:.2f} ms per layer, "
        f"peak {f'{peak_bytes / 2**30:.2f} GiB' if peak_bytes else 'not measured'}"
    )

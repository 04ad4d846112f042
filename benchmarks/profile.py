"""Where the time of a training step goes, eager and ours, and how far the ceilings are; results/training-profile.json.

Parts are self CPU times of the profiler's operators, each counted with the innermost operator around it that has a
part: a copy within a convolution is convolution. What no operator covers is Python and dispatch, the framework's.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.harness import Apart, as_range, between_ceilings, only, write
from benchmarks.training import contender
from plusx.analysis.cost import cost
from plusx.nets import build, entry
from plusx.placement.turns import Spread, take_turns

CASES = (("resnet20", 128), ("resnet50", 16))
ROUNDS = 7
STEPS = 2
"""Under the profiler, in each round."""

PARTS = {
    "data": r"data$",
    "convolution, forward": r"(aten|mkldnn|plusx)::(?!\w*backward)\w*conv",
    "convolution, data gradient": r"data gradient$|plusx::\w*conv\w*(data|input)",
    "convolution, weight gradient": r"weight gradient$|plusx::\w*conv\w*weight",
    "convolution, backward": r"(aten|mkldnn|plusx)::\w*conv\w*backward|ConvolutionBackward",
    "whole blocks, forward": r"plusx::block$",
    "whole blocks, backward": r"plusx::block_backward$",
    "normalisation": r"(aten|plusx)::\w*(norm|relu|clamp_min|threshold|pool2d)"
    r"|aten::((add|mul)_?$|lerp|cat|pad|constant_pad|slice)|(\w*BatchNorm|Relu|Add|Cat|ConstantPadNd|Slice|\w*Pool\w*)Backward\d|.*cpp_fused",
    "loss and head": r"aten::(linear|addmm|mm|mean|flatten|\w*loss|\w*log_softmax|item)|(Addmm|T|View|Mean)Backward\d"
    r"|(LogSoftmax|NllLoss)Backward",
    "optimizer": r"Optimizer\.",
    "casts": r"aten::(to|_to_copy)$|ToCopyBackward",
    "framework": r"steps$|autograd::|torch::autograd|\w+Backward\d*$|(aten::)?detach|Torch-Compiled|CompiledFunction"
    r"|aten::(empty|zero|ones|fill|resize|as_strided)",
}
"""Names of operators; the first part that matches has it. Normalisation has all that stands between convolutions:
activation, addition, shortcut, concatenation, pooling. Our kernel for whole blocks does both in one operator, which
cannot be split. Casts are autocast's, between fp32 and bf16."""
WHOLE = ("data", "optimizer")
"""Whatever runs within them is theirs."""


def main(nets: Sequence[str] = ()) -> None:
    """Measure every case, print each, write all."""
    measured = []
    for net, batch_size in only(CASES, nets):
        measured.append(measure(net, batch_size))
        print(in_words(measured[-1]), flush=True)
    if not nets:
        write("training-profile", {"cases": measured})


def measure(net: str, batch_size: int) -> dict[str, Any]:
    """One case."""
    with ExitStack() as stack:
        steps = {
            who: stack.enter_context(Apart(contender, who, net, batch_size, KINETO_LOG_LEVEL="6"))  # it logs each use
            for who in ("eager bf16", "ours")
        }
        with between_ceilings() as ceilings:
            turns = take_turns(steps, rounds=ROUNDS)
            profiles = [{who: step.ask(profiled) for who, step in steps.items()} for _ in range(ROUNDS)]
        shares = {who: step.ask(data_gradient_share) for who, step in steps.items()}
    least = floor(net, batch_size, {key: spread.high for key, spread in ceilings.items()})
    contenders = {}
    for who in steps:
        by_length = sorted((found[who] for found in profiles), key=lambda found: sum(found[0].values()))
        parts, strange = by_length[ROUNDS // 2]  # one round, so that its parts add up
        seconds = Spread.of(turns.seconds[who])
        contenders[who] = {
            "seconds": seconds.median,
            "seconds_range": as_range(seconds),
            "profiled_seconds": sum(parts.values()),
            "parts": split_backward(parts, shares[who]),
            "other_operators": strange,
            "times_the_floor": seconds.median / least["seconds"],
        }
    return {"net": net, "batch_size": batch_size, "contenders": contenders, "floor": least, "ceilings": ceilings}


def profiled(step: Callable[[], None]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a step by part, and of the operators that have none, by name."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as watched, record_function("steps"):
        for _ in range(STEPS):
            step()
    parts: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    for event in watched.events():
        part = part_of(event)
        parts[part] += event.self_cpu_time_total
        if part == "other":
            strange[event.name] += event.self_cpu_time_total
    one = 1e6 * STEPS
    return {part: t / one for part, t in parts.items()}, {name: t / one for name, t in strange.most_common(10)}


def part_of(event: FunctionEvent) -> str:
    """Of the innermost operator that has a part, among this one and those around it; all run within the framework."""
    found = []
    around: FunctionEvent | None = event
    while around is not None:
        found.append(part_named(around.name))
        around = around.cpu_parent
    known = [part for part in found if part not in (None, "framework")]
    whole = [part for part in known if part in WHOLE]
    return (whole or known or found[:1])[0] or "other"


@cache
def part_named(operator: str) -> str | None:
    """The part that an operator has by its name."""
    return next((part for part, pattern in PARTS.items() if re.match(pattern, operator)), None)


class OneGradientAtATime(TorchDispatchMode):
    """Has a convolution's backward pass compute its two gradients in two calls, as oneDNN does anyway."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.aten.convolution_backward.default:
            return func(*args, **(kwargs or {}))
        *given, (data, weight, bias) = args
        with record_function("weight gradient"):
            _, of_weight, of_bias = func(*given, [False, weight, bias])
        with record_function("data gradient"):
            of_data = func(*given, [data, False, False])[0] if data else None
        return of_data, of_weight, of_bias


def data_gradient_share(step: Callable[[], None]) -> float | None:
    """Part of the convolutions' backward pass that is the data's gradient; None where PyTorch's own does not run."""
    with OneGradientAtATime():  # type: ignore[no-untyped-call]
        parts, _ = profiled(step)
    data, weight = (parts.get(f"convolution, {which} gradient", 0.0) for which in ("data", "weight"))
    return data / (data + weight) if data and weight else None


def split_backward(parts: Mapping[str, float], share: float | None) -> dict[str, float]:
    """The parts in the table's order, with the convolutions' backward pass as its two gradients."""
    split = dict(parts)
    if share is not None:
        both = split.pop("convolution, backward")
        split |= {"convolution, data gradient": share * both, "convolution, weight gradient": (1 - share) * both}
    return {part: split[part] for part in (*PARTS, "other") if part in split}


def floor(net: str, batch_size: int, reached: Mapping[str, float]) -> dict[str, float]:
    """The least time that a step could take on this machine, by arithmetic and by memory.

    Operations: 2 for each MAC, three times over: forward, gradient of the data, gradient of the weights; at the
    measured rate of a matrix product. Bytes: each output of a convolution or linear layer written, read by the next,
    its gradient written and read, and itself read again for the backward pass, 2 bytes each; at the measured rate of a
    copy that no cache holds. The floor is the greater, as if the other took no time beside it.

    Args:
        net: Catalog name.
        batch_size: Images a step.
        reached: The highest that was measured of each ceiling.
    """
    with torch.device("meta"):
        spent = cost(build(net), entry(net).input_shape)
    operations = 2 * 3 * spent.macs * batch_size
    values = sum(layer.activation_values for layer in spent.layers if layer.macs) * batch_size
    by_operations = operations / 1e12 / max(reached[key] for key in reached if key.startswith("matrix"))
    by_bytes = 5 * 2 * values / 1e9 / reached["copy_memory_gb_per_s"]
    return {
        "operations": operations,
        "operations_seconds": by_operations,
        "bytes": 5 * 2 * values,
        "bytes_seconds": by_bytes,
        "seconds": max(by_operations, by_bytes),
    }


def in_words(case: Mapping[str, Any]) -> str:
    """A case as a table: milliseconds of a step, and their share under the profiler."""
    contenders, least = case["contenders"], case["floor"]
    lines = [f"{case['net']}, batch {case['batch_size']}: a training step in ms"]
    lines.append(f"  {'':30}" + "".join(f"{who:>20}" for who in contenders))
    for part in (*PARTS, "other"):
        if not any(part in found["parts"] for found in contenders.values()):
            continue
        cells = [(found["parts"].get(part, 0.0), found["profiled_seconds"]) for found in contenders.values()]
        lines.append(f"  {part:30}" + "".join(f"{1e3 * s:11.2f} {100 * s / total:6.1f} %" for s, total in cells))
    for row, key in (("under the profiler", "profiled_seconds"), ("without it", "seconds")):
        lines.append(f"  {row:30}" + "".join(f"{1e3 * found[key]:11.2f}         " for found in contenders.values()))
    lines.append(
        f"  {'times the floor':30}" + "".join(f"{f['times_the_floor']:11.2f}         " for f in contenders.values())
    )
    for what, unit, amount in (("operations", "G", least["operations"] / 1e9), ("bytes", "MB", least["bytes"] / 1e6)):
        lines.append(f"  floor by {what + ':':21}{1e3 * least[what + '_seconds']:11.2f}  ({amount:,.0f} {unit})")
    for who, found in contenders.items():
        named = [f"{name} {1e3 * seconds:.2f}" for name, seconds in found["other_operators"].items()]
        lines += [f"  other, {who}: {', '.join(named)}"] if named else []
    return "\n".join(lines)

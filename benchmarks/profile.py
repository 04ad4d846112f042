"""Where the time of a training step goes, eager and ours, and how far the ceilings are; results/training-profile.json.

Kinds of work are sums of the self CPU times of the profiler's operators. Each operator counts with the innermost one
around it whose kind is known: a copy within a convolution is convolution. What no operator covers is Python and
dispatch, the framework's work. Eager is PyTorch in the precision that ours chooses there: bf16 where the processor
multiplies it in hardware, else fp32 channels last. `python -m benchmarks profile resnet20:AVX2` measures one case.
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

from benchmarks.harness import as_range, between_ceilings, held_to, only, write_case
from benchmarks.training import bf16_under, contender
from plusx.analysis.cost import cost
from plusx.benchmark.apart import Apart
from plusx.nets import build, entry
from plusx.placement.turns import Spread, take_turns

CASES = (
    ("resnet20", 128, "all"),
    ("resnet20", 128, "AVX512_CORE"),
    ("resnet20", 128, "AVX2"),
    ("resnet18", 16, "all"),
    ("resnet50", 16, "all"),
)
"""Net, images in a step, and the instructions that oneDNN may use."""
ROUNDS = 7
STEPS = 2
"""Steps under the profiler in each round."""

KINDS = {
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
"""Patterns of operators' names by kind of work; the first that matches decides. Normalisation holds everything between
convolutions: activation, addition, shortcut, concatenation, pooling. Our kernel for whole blocks does both in one
operator, which cannot be divided. Casts are those of autocast, between fp32 and bf16."""
WHOLE = ("data", "optimizer")
"""Kinds that include whatever runs within their operators."""


def main(wanted: Sequence[str] = ()) -> None:
    """Measure every case, or those that are named; print and write each."""
    for net, batch_size, isa in only(CASES, wanted):
        case = measure(net, batch_size, isa)
        print(in_words(case), flush=True)
        write_case("training-profile", case)


def measure(net: str, batch_size: int, isa: str) -> dict[str, Any]:
    """Measure one case."""
    precision = "bf16" if bf16_under(isa) else "fp32"
    eager = "eager bf16" if precision == "bf16" else "eager fp32 channels last"
    environ = {**held_to(isa), "KINETO_LOG_LEVEL": "6"}  # it logs each use
    with ExitStack() as stack:
        steps = {who: stack.enter_context(Apart(contender, who, net, batch_size, **environ)) for who in (eager, "ours")}
        with between_ceilings(isa) as ceilings:
            turns = take_turns(steps, rounds=ROUNDS)
            profiles = [{who: step.ask(profiled) for who, step in steps.items()} for _ in range(ROUNDS)]
        shares = {who: step.ask(data_gradient_share) for who, step in steps.items()}
    reached = {key: spread.high for key, spread in ceilings.items()}
    least = floor(net, batch_size, reached, precision=precision)
    contenders = {}
    for who in steps:
        by_length = sorted((each[who] for each in profiles), key=lambda each: sum(each[0].values()))
        kinds, others = by_length[ROUNDS // 2]  # of one round: its kinds add up to its time
        seconds = Spread.of(turns.seconds[who])
        contenders[who] = {
            "seconds": seconds.median,
            "seconds_range": as_range(seconds),
            "profiled_seconds": sum(kinds.values()),
            "parts": split_backward(kinds, shares[who]),
            "other_operators": others,
            "times_the_floor": seconds.median / least["seconds"],
        }
    return {
        "net": net,
        "batch_size": batch_size,
        "onednn_max_cpu_isa": isa,
        "precision": precision,
        "contenders": contenders,
        "floor": least,
        "ceilings": ceilings,
    }


def profiled(step: Callable[[], None]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a step by kind of work, and of the operators of unknown kind, by name."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as recorded, record_function("steps"):
        for _ in range(STEPS):
            step()
    kinds: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for event in recorded.events():
        kind = kind_of(event)
        kinds[kind] += event.self_cpu_time_total
        if kind == "other":
            others[event.name] += event.self_cpu_time_total
    one = 1e6 * STEPS
    return {kind: t / one for kind, t in kinds.items()}, {name: t / one for name, t in others.most_common(10)}


def kind_of(event: FunctionEvent) -> str:
    """The kind of the innermost operator whose kind is known, among this one and those around it.

    All of them run within the framework, which therefore decides only where nothing else does.
    """
    named = []
    around: FunctionEvent | None = event
    while around is not None:
        named.append(kind_named(around.name))
        around = around.cpu_parent
    known = [kind for kind in named if kind not in (None, "framework")]
    whole = [kind for kind in known if kind in WHOLE]
    return (whole or known or named[:1])[0] or "other"


@cache
def kind_named(operator: str) -> str | None:
    """The kind of work that an operator's name tells."""
    return next((kind for kind, pattern in KINDS.items() if re.match(pattern, operator)), None)


class OneGradientAtATime(TorchDispatchMode):
    """Make a convolution's backward pass compute its two gradients in two calls, as oneDNN does anyway."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.aten.convolution_backward.default:
            return func(*args, **(kwargs or {}))
        *inputs, (data, weight, bias) = args
        with record_function("weight gradient"):
            _, of_weight, of_bias = func(*inputs, [False, weight, bias])
        with record_function("data gradient"):
            of_data = func(*inputs, [data, False, False])[0] if data else None
        return of_data, of_weight, of_bias


def data_gradient_share(step: Callable[[], None]) -> float | None:
    """The share of the data's gradient in the convolutions' backward pass; None where PyTorch's own does not run."""
    with OneGradientAtATime():  # type: ignore[no-untyped-call]
        kinds, _ = profiled(step)
    data, weight = (kinds.get(f"convolution, {which} gradient", 0.0) for which in ("data", "weight"))
    return data / (data + weight) if data and weight else None


def split_backward(kinds: Mapping[str, float], share: float | None) -> dict[str, float]:
    """The kinds in the table's order, with the convolutions' backward pass as its two gradients."""
    divided = dict(kinds)
    if share is not None:
        both = divided.pop("convolution, backward")
        divided |= {"convolution, data gradient": share * both, "convolution, weight gradient": (1 - share) * both}
    return {kind: divided[kind] for kind in (*KINDS, "other") if kind in divided}


def floor(net: str, batch_size: int, reached: Mapping[str, float], *, precision: str = "bf16") -> dict[str, float]:
    """The least time that a step could take on this machine, by arithmetic and by memory.

    Operations: 2 for each MAC, three times over: forward, gradient of the data, gradient of the weights; at the
    measured rate of a matrix product. Bytes: each output of a convolution or linear layer written, read by the next,
    its gradient written and read, and itself read again for the backward pass, at the width of the precision; at the
    measured rate of a copy that exceeds every cache. The floor is the greater of the two, as if the other took no extra
    time. It is a floor for direct convolutions: Winograd's take fewer multiplications and could fall below it.

    Args:
        net: Catalog name.
        batch_size: Images in a step.
        reached: The highest measurement of each ceiling.
        precision: bf16 or fp32, in which the step computes.
    """
    with torch.device("meta"):
        spent = cost(build(net), entry(net).input_shape)
    operations = 2 * 3 * spent.macs * batch_size
    values = sum(layer.activation_values for layer in spent.layers if layer.macs) * batch_size
    moved = 5 * values * (2 if precision == "bf16" else 4)
    by_operations = operations / 1e12 / reached[f"matrix_{precision}_tflops"]
    by_bytes = moved / 1e9 / reached["copy_memory_gb_per_s"]
    return {
        "operations": operations,
        "operations_seconds": by_operations,
        "bytes": moved,
        "bytes_seconds": by_bytes,
        "seconds": max(by_operations, by_bytes),
    }


def in_words(case: Mapping[str, Any]) -> str:
    """A case as a table: milliseconds of a step, and their share under the profiler."""
    contenders, least = case["contenders"], case["floor"]
    isa = case["onednn_max_cpu_isa"]
    lines = [f"{case['net']}, batch {case['batch_size']}, instructions: {isa}: a training step in ms"]
    lines.append(f"  {'':30}" + "".join(f"{who:>26}" for who in contenders))
    for kind in (*KINDS, "other"):
        if not any(kind in numbers["parts"] for numbers in contenders.values()):
            continue
        cells = [(numbers["parts"].get(kind, 0.0), numbers["profiled_seconds"]) for numbers in contenders.values()]
        lines.append(f"  {kind:30}" + "".join(f"{1e3 * s:17.2f} {100 * s / total:6.1f} %" for s, total in cells))
    for row, key in (("under the profiler", "profiled_seconds"), ("without it", "seconds")):
        lines.append(f"  {row:30}" + "".join(f"{1e3 * each[key]:17.2f}         " for each in contenders.values()))
    lines.append(
        f"  {'times the floor':30}" + "".join(f"{f['times_the_floor']:17.2f}         " for f in contenders.values())
    )
    for what, unit, amount in (("operations", "G", least["operations"] / 1e9), ("bytes", "MB", least["bytes"] / 1e6)):
        lines.append(f"  floor by {what + ':':21}{1e3 * least[what + '_seconds']:11.2f}  ({amount:,.0f} {unit})")
    for who, numbers in contenders.items():
        named = [f"{name} {1e3 * seconds:.2f}" for name, seconds in numbers["other_operators"].items()]
        lines += [f"  other, {who}: {', '.join(named)}"] if named else []
    return "\n".join(lines)

"""Training steps of plusx beside plain PyTorch, torch.compile, torchvision and timm; results/training-speed.json.

Ours is what `plusx train` does on this machine, batch and augmentation included; the others have the batch ready. Each
contender has a process of its own and shares no settings with another; with ONEDNN_MAX_CPU_ISA=AVX2 this machine
stands in for one without bf16. `python -m benchmarks training resnet20:AVX2` measures one case. The rows of other
processors stay in the file.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

import timm
import torch
import torchvision

from benchmarks.harness import as_range, between_ceilings, held_to, only, peak, write_case
from plusx.benchmark.apart import Apart
from plusx.benchmark.training import WholeStep, plain_step
from plusx.nets import build, entry
from plusx.placement.machine import cpu_flags, multiplies_bf16, usable_cpus
from plusx.placement.place import choose_placement
from plusx.placement.turns import Turns, take_turns
from plusx.recipes.placement import PlacementSpec

ROUNDS = 11
CASES = (
    ("resnet20", 128, "all"),
    ("resnet20", 128, "AVX512_CORE"),
    ("resnet20", 128, "AVX2"),
    ("resnet56", 128, "all"),
    ("resnet56", 128, "AVX512_CORE"),
    ("resnet56", 128, "AVX2"),
    ("resnet110", 128, "all"),
    ("densenet_bc_100_12", 64, "all"),
    ("resnet18", 16, "all"),
    ("resnet18", 16, "AVX512_CORE"),
    ("resnet18", 16, "AVX2"),
    ("resnet50", 16, "all"),
    ("resnet50", 16, "AVX2"),
)
"""Net, images in a step, and the instructions that oneDNN may use."""


def main(wanted: Sequence[str] = ()) -> None:
    """Measure every case, or those that are named; print and write each."""
    for net, batch_size, isa in only(CASES, wanted):
        case = measure(net, batch_size, isa)
        print(in_words(case), flush=True)
        write_case("training-speed", case)


def measure(net: str, batch_size: int, isa: str) -> dict[str, Any]:
    """Measure one case."""
    environ = held_to(isa)
    left_out = {}
    with ExitStack() as stack:
        contenders = {
            who: stack.enter_context(Apart(contender, who, net, batch_size, **environ))
            for who in (*names(net, has_bf16=bf16_under(isa)), "ours")
        }
        for who in list(contenders):
            try:
                contenders[who]()
            except RuntimeError as fault:
                if not who.startswith("compile"):  # it needs a C++ compiler, and it cannot compile every net
                    raise
                left_out[who] = str(fault)
                del contenders[who]
        with between_ceilings(isa) as ceilings:
            turns = take_turns(contenders, rounds=ROUNDS)
        mine: dict[str, Any] = contenders["ours"].ask(about_ours)
        peaks = {who: each.ask(peak) for who, each in contenders.items()}
    comparison = compared(turns, batch_size)
    for who, numbers in comparison["contenders"].items():
        numbers["peak_memory_bytes"] = peaks[who]
    return {
        "net": net,
        "batch_size": batch_size,
        "onednn_max_cpu_isa": isa,
        "rounds": ROUNDS,
        "placement": mine["placement"],
        "data_share": mine["data_seconds"] / median(turns.seconds["ours"]),
        **comparison,
        "left_out": left_out,
        "ceilings": ceilings,
    }


def bf16_under(isa: str) -> bool:
    """Whether the processor multiplies bf16 in hardware when it is held to an instruction set."""
    return multiplies_bf16(cpu_flags(), {**os.environ, **held_to(isa)}) is not None


def names(net: str, *, has_bf16: bool) -> list[str]:
    """The contenders of a net, without ours: PyTorch at every precision that the processor has in hardware."""
    contenders = ["eager fp32", "eager fp32 channels last", "compile fp32"]
    if has_bf16:
        contenders += ["eager bf16", "compile bf16"]
        contenders += ["torchvision bf16"] if net in torchvision.models.list_models(module=torchvision.models) else []
        contenders += ["timm bf16"] if timm.is_model(net) else []
    return contenders


def contender(who: str, net: str, batch_size: int) -> Callable[[], None]:
    """A call that is one training step, by the name of the contender."""
    if who == "ours":
        return WholeStep(net, batch_size, choose_placement(PlacementSpec(device="cpu")))  # as the others do
    torch.set_num_threads(usable_cpus())
    match who.split()[0]:
        case "torchvision":
            theirs = torchvision.models.get_model(net)
        case "timm":
            theirs = timm.create_model(net)
        case _:
            theirs = build(net)
    if who.startswith("compile"):
        theirs.compile()
    x_BCHW, labels_B = torch.randn(batch_size, *entry(net).input_shape), torch.arange(batch_size) % 10
    return plain_step(theirs, x_BCHW, labels_B, channels_last=who != "eager fp32", bf16="bf16" in who)


def about_ours(step: WholeStep) -> dict[str, Any]:
    """Where it ran, and the seconds that making a batch took."""
    return {"placement": step.placement.to_dict(), "data_seconds": median(step.data_seconds)}


def compared(turns: Turns, batch_size: int) -> dict[str, Any]:
    """Images per second of each contender, the ratios of ours to the others, and the fastest of those."""
    rates = {who: turns.rate(who, batch_size) for who in turns.seconds}
    ratios = {who: turns.ratio("ours", who) for who in turns.seconds if who != "ours"}
    return {
        "contenders": {
            who: {"images_per_s": rate.median, "images_per_s_range": as_range(rate)} for who, rate in rates.items()
        },
        "ratios": {who: {"ratio": ratio.median, "ratio_range": as_range(ratio)} for who, ratio in ratios.items()},
        "fastest_peer": turns.fastest(ratios),
    }


def in_words(case: Mapping[str, Any]) -> str:
    """A case as lines of text."""
    precision, isa = case["placement"]["precision"], case["onednn_max_cpu_isa"]
    lines = [f"{case['net']}, batch {case['batch_size']}, instructions: {isa}; ours in {precision}"]
    for who, numbers in case["contenders"].items():
        low, high = numbers["images_per_s_range"]
        line = f"  {who:25}{numbers['images_per_s']:9.1f} images/s ({low:.1f} to {high:.1f})"
        if who in case["ratios"]:
            low, high = case["ratios"][who]["ratio_range"]
            line += f"   ours {case['ratios'][who]['ratio']:.2f}x ({low:.2f} to {high:.2f})"
        lines.append(line)
    lines += [f"  {who:25}left out: {reason}" for who, reason in case["left_out"].items()]
    return "\n".join(lines)

"""`python -m benchmarks.nets [NET...]`: each net beside torchvision's or timm's, written to results/nets-speed.json.

Equal weights, equal input, fp32, contiguous memory, one process; forward in evaluation mode, and forward with backward
in training mode. Rounds are interleaved and the order within a round alternates; the ratio of a round is their time
over ours, so above 1 ours is faster. Run it with nothing else running.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmarks import evidence
from plusx.nets import build, entry, names
from plusx.nets.weights import translate
from plusx.placement.machine import describe, usable_cpus

RESULTS = Path(__file__).parents[1] / "results" / "nets-speed.json"
ROUNDS = 15
SECONDS = 0.25
"""Least time of one measurement; faster calls are repeated."""


def peer(name: str) -> nn.Module | None:
    """Theirs, or None when neither library has it."""
    if name.startswith("dpn"):
        return timm.create_model(name)
    if name not in torchvision.models.list_models(module=torchvision.models):
        return None
    options = {"init_weights": False} if name == "googlenet" else {}  # theirs would take half a minute
    return torchvision.models.get_model(name, **options)


def forward(net: nn.Module, x: Tensor) -> None:
    """Logits in evaluation mode."""
    with torch.no_grad():
        net.eval()(x)


def train(net: nn.Module, x: Tensor) -> None:
    """Forward and backward in training mode, auxiliary heads included."""
    outputs: Any = getattr(net.train(), "forward_with_aux", net)(x)
    if hasattr(outputs, "main"):
        outputs = (outputs.main, *outputs.aux)
    heads = [outputs] if isinstance(outputs, Tensor) else outputs
    torch.autograd.backward([head.sum() for head in heads])


def compare(name: str, theirs: nn.Module, work: Callable[[nn.Module, Tensor], None], batch: int) -> dict[str, Any]:
    """Medians and the ratios' spread of one net and one kind of work."""
    found = translate(name, theirs.state_dict())
    ours = build(name, **found.options)
    ours.load_state_dict(dict(found.tensors))
    x = torch.randn(batch, *entry(name).input_shape)
    for net in (ours, theirs):
        work(net, x)
    repeats = max(1, round(SECONDS / timed(ours, x, work, 1)))
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(ROUNDS):
        pair = [("ours", ours), ("theirs", theirs)]
        for who, net in pair if number % 2 else reversed(pair):
            seconds[who].append(timed(net, x, work, repeats))
    ratios = sorted(t / o for o, t in zip(seconds["ours"], seconds["theirs"], strict=True))
    return {
        "net": name,
        "work": work.__name__,
        "batch": batch,
        "images_per_s": batch / median(seconds["ours"]),
        "peer_images_per_s": batch / median(seconds["theirs"]),
        "ratio": median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
    }


def timed(net: nn.Module, x: Tensor, work: Callable[[nn.Module, Tensor], None], repeats: int) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    for _ in range(repeats):
        net.zero_grad(set_to_none=False)  # so that no round allocates gradients anew
        work(net, x)
    return (time.perf_counter() - began) / repeats


def build_seconds(name: str) -> float:
    """Of a net with fresh weights."""
    began = time.perf_counter()
    build(name)
    return time.perf_counter() - began


def main() -> None:
    """Measure every net that a peer has, and how long each takes to build; print each, write all."""
    torch.set_num_threads(usable_cpus())
    chosen, measured = sys.argv[1:] or names(), []
    built = {name: round(build_seconds(name), 3) for name in chosen}
    slowest = max(built, key=lambda name: built[name])
    print(f"built in at most {built[slowest]:.2f} s ({slowest})", flush=True)
    for name in chosen:
        for work, batch in ((forward, 4), (train, 4)):
            theirs = peer(name)
            if theirs is None:
                break
            found = compare(name, theirs, work, batch if entry(name).macs < 8e9 else 2)
            low, high = found["ratio_range"]
            print(f"{name:17} {work.__name__:8} {found['ratio']:.3f} ({low:.2f} to {high:.2f})", flush=True)
            measured.append(found)
    if not sys.argv[1:]:
        found = {**evidence(), "machine": describe(), "build_seconds": built, "cases": measured}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Each net beside torchvision's or timm's; results/nets-speed.json.

Both run in one process on equal weights and equal input, in fp32 and contiguous memory: forward in evaluation mode, and
forward with backward in training mode. The ratio is their time over ours: above 1, ours is faster.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.harness import as_range, between_ceilings, only, write
from plusx.nets import build, entry, names
from plusx.nets.net import AuxiliaryHeads
from plusx.placement.machine import usable_cpus
from plusx.placement.turns import take_turns
from plusx.weights.translate import translate

ROUNDS = 15


def main(nets: Sequence[str] = ()) -> None:
    """Measure every net that a peer has, and how long each takes to build; print each, write all."""
    torch.set_num_threads(usable_cpus())
    chosen = [name for (name,) in only([(name,) for name in names()], nets)]
    built = {name: build_seconds(name) for name in chosen}
    slowest = max(built, key=lambda name: built[name])
    print(f"built in at most {built[slowest]:.2f} s ({slowest})", flush=True)
    measured = []
    with between_ceilings() as ceilings:
        for name in chosen:
            for work in (forward, train):
                theirs = peer(name)
                if theirs is None:
                    break
                case = compare(name, theirs, work, 4 if entry(name).macs < 8e9 else 2)
                low, high = case["ratio_range"]
                print(f"{name:17} {work.__name__:8} {case['ratio']:.3f} ({low:.2f} to {high:.2f})", flush=True)
                measured.append(case)
    if not nets:
        write("nets-speed", {"build_seconds": built, "cases": measured, "ceilings": ceilings})


def compare(name: str, theirs: nn.Module, work: Callable[[nn.Module, Tensor], None], batch: int) -> dict[str, Any]:
    """The medians of one net and one kind of work, and the spread of their ratio."""
    translation = translate(name, theirs.state_dict())
    mine = build(name, **translation.options)
    mine.load_state_dict(dict(translation.tensors))
    x_BCHW = torch.randn(batch, *entry(name).input_shape)
    turns = take_turns({"ours": lambda: work(mine, x_BCHW), "theirs": lambda: work(theirs, x_BCHW)}, rounds=ROUNDS)
    ratio = turns.ratio("ours", "theirs")
    return {
        "net": name,
        "work": work.__name__,
        "batch": batch,
        "images_per_s": turns.rate("ours", batch).median,
        "peer_images_per_s": turns.rate("theirs", batch).median,
        "ratio": ratio.median,
        "ratio_range": as_range(ratio),
    }


def forward(net: nn.Module, x_BCHW: Tensor) -> None:
    """Compute logits in evaluation mode."""
    with torch.no_grad():
        net.eval()(x_BCHW)


def train(net: nn.Module, x_BCHW: Tensor) -> None:
    """Pass forward and backward in training mode, auxiliary heads included."""
    net.zero_grad(set_to_none=False)  # then no round allocates gradients anew
    net.train()
    if isinstance(net, AuxiliaryHeads):
        main, aux = net.forward_with_aux(x_BCHW)
        heads: Any = (main, *aux)
    else:
        outputs = net(x_BCHW)  # torchvision's GoogLeNet returns a tuple
        heads = [outputs] if isinstance(outputs, Tensor) else outputs
    torch.autograd.backward([head.sum() for head in heads])


def peer(name: str) -> nn.Module | None:
    """The net of torchvision or timm; None where neither library has it."""
    if name.startswith("dpn"):
        return timm.create_model(name)
    if name not in torchvision.models.list_models(module=torchvision.models):
        return None
    options = {"init_weights": False} if name == "googlenet" else {}  # theirs would take half a minute
    return torchvision.models.get_model(name, **options)


def build_seconds(name: str) -> float:
    """Seconds that building a net with random weights takes."""
    began = time.perf_counter()
    build(name)
    return time.perf_counter() - began

"""Three sigmoids in a row, with and without a shortcut, every value; then chains of 3 to 100 layers.

An illustration of vanishing gradients, which sigmoids without normalisation have. It is not why deep plain nets
degrade: with batch norm their gradients are healthy, and they degrade all the same (He et al. 2015, Sec. 4.1). The
experiment `gradients` shows that side.
"""

import statistics
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import nn

from plusx.data.images import ImageSet
from plusx.data.sources import load_digits
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table
from plusx.nets import build
from plusx.nets.mlp import worked_example
from plusx.report.figure import panels, svg
from plusx.report.palette import INK, SERIES

X, TARGET = 0.5, 1.0
ACTIVATIONS = ("sigmoid", "tanh", "relu")
INITIALISERS = ("uniform", "xavier", "he")
DEPTHS = (4, 10, 40, 100)
"""Linear layers of the chains; the first is the example's three and the output's."""
SEEDS = range(5)
WIDTH = 50


def conclude(lab: Lab, budget: Budget) -> Result:
    """The example to seven digits, the ratio of its two paths, and gradients over depth."""
    plain, residual = values(False), values(True)
    main, total = plain_path(residual), residual["dL/dw1"]
    ratio = (total - main) / main
    names = ("h1", "h2", "y", "L", "dL/dw3", "dL/dw2", "dL/dw1")
    rows = [(name, f"{plain[name]:.6g}", f"{residual[name]:.6g}") for name in names]
    rows += [
        ("dL/dw1, main path", f"{plain['dL/dw1']:.6g}", f"{main:.6g}"),
        ("dL/dw1, shortcut", "–", f"{total - main:.6g}"),
        ("dL/dwr", "–", f"{residual['dL/dwr']:.6g}"),
    ]
    images = load_digits()["train"]
    falls = {key: fall(images, *key) for key in product(("mlp", "residual_mlp"), ACTIVATIONS, INITIALISERS, DEPTHS)}
    chain_rows = [
        (f"{'with' if net == 'residual_mlp' else 'without'} shortcuts, {act}, {init}",)
        + tuple(f"{falls[net, act, init, depth]:.1e}" for depth in DEPTHS)
        for net, act, init in product(("mlp", "residual_mlp"), ACTIVATIONS, INITIALISERS)
    ]
    findings = (
        f"The shortcut carries {ratio:.0f} times the gradient of the main path to the first weight: {total - main:.7f} "
        f"against {main:.7f}. The gradients of w2 and w3 have the same formulas with and without the "
        "shortcut, but different values, because y differs.",
        f"Without shortcuts, {DEPTHS[-1]} layers of sigmoids leave {falls['mlp', 'sigmoid', 'xavier', 100]:.0e} of the "
        f"gradient at the first layer; ReLU with He's initialisation leaves {falls['mlp', 'relu', 'he', 100]:.1g}: the "
        f"initialisation alone does much of it.",
        "It is often said that ResNet cures vanishing gradients. The paper argues otherwise: its plain nets have batch "
        "norm, their gradients do not vanish, and they degrade. This example has neither, and shows what a shortcut "
        "does to a gradient, not why plain nets degrade.",
        "It is also often said that ResNet's shortcut has a weight w_r. It has none where shapes agree, because it is "
        "the identity.",
    )
    tables = (
        Table("x = 0.5, target 1, L = (y - 1)^2, all weights 0.1", ("", "without", "with shortcut"), tuple(rows)),
        Table(
            "Ratio of the gradient at the outputs of the first hidden layer to that at the last, medians of five seeds",
            ("chain", *(f"{depth} layers" for depth in DEPTHS)),
            tuple(chain_rows),
        ),
    )
    return Result(
        findings,
        {"the shortcut carries 40 times the gradient": 39 < ratio < 41},
        tables,
        {"ratio": ratio, "left": {", ".join(map(str, key)): value for key, value in falls.items()}},
    )


def values(residual: bool) -> dict[str, float]:
    """Every value and gradient of the example, in double precision."""
    net = worked_example(residual=residual).double()
    kept: dict[str, float] = {}
    [block] = net.stages.children()
    parts = {"h1": net.stem, "h2": block.get_submodule("branch.act1"), "y": net}
    handles = [
        part.register_forward_hook(lambda m, x, out, name=name: kept.__setitem__(name, out.item()))
        for name, part in parts.items()
    ]
    loss = (net(torch.full((1, 1, 1, 1), X, dtype=torch.float64)) - TARGET).square().sum()
    loss.backward()
    for handle in handles:
        handle.remove()
    weights = {"w1": "stem.linear", "w2": "stages.0.branch.linear1", "w3": "stages.0.branch.linear2"}
    if residual:
        weights["wr"] = "stages.0.shortcut"
    gradients = {f"dL/d{w}": net.get_parameter(f"{name}.weight").grad for w, name in weights.items()}
    return {**kept, "L": loss.item(), **{name: g.item() for name, g in gradients.items() if g is not None}}


def plain_path(found: dict[str, float], weight: float = 0.1) -> float:
    """What the main path alone carries to w1: delta w3 h2 (1 - h2) w2 h1 (1 - h1) x, with delta = dL/dw3 / h2."""
    h1, h2 = found["h1"], found["h2"]
    return found["dL/dw3"] / h2 * weight * h2 * (1 - h2) * weight * h1 * (1 - h1) * X


def fall(images: ImageSet, net: str, activation: str, init: str, depth: int) -> float:
    """How much of a gradient is left at the first hidden layer: its norm at that layer's outputs over the last's.

    Not at the weights: their gradients are products with activations, which vanish forwards as gradients do backwards.
    """
    assert images.pixels_NCHW is not None
    x_BCHW, labels_B = images.pixels_NCHW[:128].double() / 255 - 0.3, images.labels_N[:128]
    ratios = []
    with torch.random.fork_rng(devices=[]):
        for seed in SEEDS:
            torch.manual_seed(seed)
            options = {"activation": activation, "init": init, "width": WIDTH, "depth": depth, "image_size": 8}
            chain = build(net, **options).double()
            h_first = chain.get_submodule("stem")(x_BCHW)
            h_last = chain.get_submodule("stages")(h_first)
            loss = nn.functional.cross_entropy(chain.get_submodule("head")(h_last), labels_B)
            first, last = torch.autograd.grad(loss, [h_first, h_last])
            ratios.append((first.norm() / last.norm().clamp(min=1e-300)).item())
    return statistics.median(ratios)


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    drawn = panels("Without shortcuts", "With shortcuts", height=4.0)
    for panel, net in zip(drawn, ("mlp", "residual_mlp"), strict=True):
        for act, colour in zip(ACTIVATIONS, SERIES, strict=False):
            for init, style in zip(INITIALISERS, (":", "--", "-"), strict=True):
                left = [max(numbers["left"][f"{net}, {act}, {init}, {depth}"], 1e-88) for depth in DEPTHS]
                panel.line(DEPTHS, left, colour, label=f"{act}, {init}", style=style, marker="o", width=1.5)
        panel.axis.axhline(1, color=INK, linewidth=1, alpha=0.4)
        panel.axis.set(xlabel="layers", yscale="log", ylim=(1e-90, 1e24), xticks=DEPTHS)
        panel.axis.set_ylabel("gradient at the first layer over the last")
    drawn[1].axis.legend(frameon=False, fontsize=8, ncols=2)
    caption = (
        "What is left of the gradient at the first hidden layer of chains of 50 units without batch norm, at "
        "initialisation. Below 1 it vanishes, above 1 it explodes."
    )
    return [Figure("worked-example", svg(drawn), caption)]


WORKED_EXAMPLE = Experiment(
    "worked-example",
    "In a chain of three sigmoids, a shortcut carries 40 times as much gradient to the first weight as the main path "
    "does. This widely repeated teaching example shows what a shortcut does to gradients.",
    conclude,
    figures=_figures,
    minutes=0,
)

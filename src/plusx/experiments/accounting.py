"""What the nets of the lineage cost and what they reach: parameters, multiply-adds and memory against error."""

from collections.abc import Callable, Mapping

import torch

from plusx.analysis.cost import Cost, cost
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table
from plusx.nets import build, entry
from plusx.report.figure import panels, svg
from plusx.report.palette import RESIDUAL, SERIES

TORCHVISION = "torchvision IMAGENET1K_V1, one crop"
ERRORS = {  # top-1 error in per cent, ImageNet val, one crop of 224, weights as published
    "alexnet": (43.478, TORCHVISION),
    "vgg11": (30.980, TORCHVISION),
    "vgg16": (28.408, TORCHVISION),
    "vgg19": (27.624, TORCHVISION),
    "googlenet": (30.222, TORCHVISION),
    "resnet18": (30.242, TORCHVISION),
    "resnet34": (26.686, TORCHVISION),
    "resnet50": (23.870, TORCHVISION),
    "resnet101": (22.626, TORCHVISION),
    "resnet152": (21.688, TORCHVISION),
    "densenet121": (25.566, TORCHVISION),
    "densenet169": (24.400, TORCHVISION),
    "densenet201": (23.104, TORCHVISION),
    "densenet161": (22.862, TORCHVISION),
    "dpn68": (23.57, "the authors' DPNs, README, one crop"),
    "dpn92": (20.73, "the authors' DPNs, README, one crop"),
    "dpn98": (20.15, "the authors' DPNs, README, one crop"),
    "dpn131": (19.93, "the authors' DPNs, README, one crop"),
}


def conclude(lab: Lab, budget: Budget) -> Result:
    """The table of costs, and what it says."""
    counted = {}
    with torch.device("meta"):
        for net in ERRORS:
            counted[net] = cost(build(net), entry(net).input_shape)
    rows = tuple(
        (
            net,
            f"{c.params / 1e6:.2f}",
            f"{100 * c.linear_params / c.params:.0f} %",
            f"{c.macs / 1e9:.2f}",
            f"{c.activation_values / 1e6:.1f}",
            f"{c.saved_bytes / 2**20:.0f}",
            f"{ERRORS[net][0]:.2f}",
        )
        for net, c in counted.items()
    )
    vgg, res, alex, google = (counted[net] for net in ("vgg16", "resnet50", "alexnet", "googlenet"))
    findings = (
        f"VGG-16 has {vgg.params / res.params:.1f} times the parameters of ResNet-50 and {vgg.macs / res.macs:.1f} "
        f"times its multiply-adds, at {ERRORS['vgg16'][0] - ERRORS['resnet50'][0]:.1f} points more error; "
        f"{100 * vgg.linear_params / vgg.params:.0f} % of its parameters are in three linear layers, where later nets "
        "have one.",
        f"AlexNet has {alex.params / google.params:.1f} times the parameters of GoogLeNet (auxiliary heads included) "
        f"and {google.macs / alex.macs:.1f} times fewer multiply-adds.",
        f"A forward pass of VGG-16 writes {vgg.activation_values / 1e6:.1f} million values, 61 MB in single precision. "
        f"The often quoted 93 MB per image, and twice that for training, come from the addition in an old course.",
    )
    head = (
        "net",
        "parameters (M)",
        "in linear layers",
        "MACs (G)",
        "values written (M)",
        "kept for training (MiB)",
        "error (%)",
    )
    table = Table("Cost of one image, and top-1 error", head, rows)
    numbers = {net: {axis: value(c) for axis, value in AXES.items()} for net, c in counted.items()}
    return Result(findings, {}, (table,), numbers)


def _figures(numbers: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    drawn = panels(*(f"Error against {name}" for name in AXES))
    families = list(dict.fromkeys(entry(net).family for net in numbers))
    others = reversed(SERIES)  # the last is the nearest to the residual nets' colour; AlexNet, a single point, gets it
    colours = {family: RESIDUAL if family == "resnet" else next(others) for family in families}
    for panel, name in zip(drawn, AXES, strict=True):
        for family in families:
            own = sorted((found[name], ERRORS[net][0]) for net, found in numbers.items() if entry(net).family == family)
            panel.axis.plot(
                *zip(*own, strict=True), color=colours[family], marker="o", markersize=5, linewidth=1.2, label=family
            )
        panel.axis.set(xscale="log", xlabel=name, ylabel="top-1 error (%)")
        panel.axis.xaxis.set_major_formatter("{x:g}")
    drawn[-1].axis.legend(frameon=False)
    caption = (
        "Cost of the nets at 224 pixels against the error of their published weights, ImageNet val, one crop; a line "
        "connects the nets of a family. The weights, which come from torchvision and from the authors of DPN, differ "
        "in how they were trained as well as in the net."
    )
    return [Figure("accounting", svg(drawn), caption)]


AXES: Mapping[str, Callable[[Cost], float]] = {
    "parameters (M)": lambda c: c.params / 1e6,
    "multiply-adds (G)": lambda c: c.macs / 1e9,
    "values written in a forward pass (M)": lambda c: c.activation_values / 1e6,
}

ACCOUNTING = Experiment(
    "accounting",
    "What AlexNet, VGG, GoogLeNet, ResNet, DenseNet and DPN cost in parameters, multiply-adds and memory, compared "
    "with their error; all counts are taken from our nets.",
    conclude,
    figures=_figures,
    minutes=0,
)

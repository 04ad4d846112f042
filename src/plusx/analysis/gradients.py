"""How large the gradient is at each layer; He et al. (2015), Sec. 4.1.

"We also verify that the backward propagated gradients exhibit healthy norms with BN. So neither forward nor backward
signals vanish": the degradation of deep plain nets is not that of vanishing gradients. This is what shows it.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from plusx.data.batches import Batch
from plusx.report.figure import panels, svg
from plusx.report.palette import net_colours, net_widths
from plusx.runs.metrics import Measurement


def probe(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Measurement]:
    """L2 norm of the mean batch's gradient at the weights of each convolution and linear layer, in the net's order.

    The net is in training mode, on a copy: statistics of batch norm are the batch's, and the net stays as it is.
    """
    twin = copy.deepcopy(model).train()
    layers = {name: m.weight for name, m in twin.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    norms = dict.fromkeys(layers, 0.0)
    count = 0
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)  # for dropout and its kin
        for x_BCHW, labels_B in batches:
            loss = F.cross_entropy(twin(x_BCHW), labels_B)
            gradients = torch.autograd.grad(loss, list(layers.values()), allow_unused=True)
            for name, gradient in zip(layers, gradients, strict=True):
                norms[name] += 0.0 if gradient is None else gradient.norm().item()
            count += 1
    for name, total in norms.items():
        yield Measurement(name, total / max(count, 1), "1")


def draw(found: Mapping[str, Sequence[Measurement]]) -> str:
    """The norms layer by layer, as SVG; curves come in pairs, before training (dashed) and after."""
    [panel] = panels("", height=3.9)
    nets = [name.split(",")[0] for name in found]
    for number, (name, colour, width) in enumerate(zip(found, net_colours(nets), net_widths(nets), strict=True)):
        values = [max(m.value, 1e-30) for m in found[name]]
        panel.line(range(1, len(values) + 1), values, colour, label=name, width=width, style=("--", "-")[number % 2])
    panel.axis.set(yscale="log", xlabel="layer", ylabel="norm of the weights' gradient")
    panel.axis.figure.legend(frameon=False, loc="outside upper center", ncols=2, fontsize=9)
    return svg([panel])

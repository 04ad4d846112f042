"""How strongly layers respond; He et al. (2015), Fig. 7.

The deviation of what a layer puts out, after batch norm and before the nonlinearity or the addition, over all images,
channels and places. "ResNets have generally smaller responses than their plain counterparts", which supports that
residual functions are closer to zero than others; and the deeper the net, the less a single layer changes the signal.

Layers are convolutions of more than one pixel, as the paper's 3x3; projections and other 1x1 convolutions are left out.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from plusx.data.batches import Batch
from plusx.report.figure import panels, svg
from plusx.report.palette import net_colours, net_widths
from plusx.runs.metrics import Measurement


class Moments:
    """Mean and deviation of numbers that come in parts."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, x: Tensor) -> None:
        """Take a tensor's numbers in; Chan et al. (1979), Eqn. (2.1)."""
        variance, mean = (t.item() for t in torch.var_mean(x.float(), correction=0))
        count, apart = x.numel(), mean - self.mean
        self.squares += variance * count + apart**2 * self.count * count / (self.count + count)
        self.mean += apart * count / (self.count + count)
        self.count += count

    @property
    def std(self) -> float:
        return math.sqrt(self.squares / self.count)


def probe(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Measurement]:
    """The deviation of each layer's response, in the order in which layers run, named by its convolution."""
    found: dict[str, Moments] = {}
    seen: dict[str, Moments] = {}
    outputs: dict[int, tuple[str, Tensor]] = {}  # of convolutions, by identity; held, so that none serves twice

    def convolved(name: str, y: Tensor) -> None:
        outputs[id(y)] = (name, y)
        seen.setdefault(name, Moments()).add(y)

    def normalised(x: Tensor, y: Tensor) -> None:
        if id(x) in outputs:
            found.setdefault(outputs[id(x)][0], Moments()).add(y)

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
            handles.append(module.register_forward_hook(lambda m, x, y, name=name: convolved(name, y)))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_hook(lambda m, x, y: normalised(x[0], y)))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for x_BCHW, _ in batches:
                model(x_BCHW)
                outputs.clear()
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    for name, before_norm in seen.items():  # dictionaries keep the order in which layers ran
        yield Measurement(name, found.get(name, before_norm).std, "1")


def draw(found: Mapping[str, Sequence[Measurement]]) -> str:
    """The two panels of Fig. 7, in layer order and by size, as SVG; a curve for each net."""
    drawn = panels("In the order of layers", "By size")
    nets = list(found)
    for panel, is_sorted in zip(drawn, (False, True), strict=True):
        for name, colour, width in zip(nets, net_colours(nets), net_widths(nets), strict=True):
            values = [m.value for m in found[name]]
            values = sorted(values, reverse=True) if is_sorted else values
            panel.line(range(1, len(values) + 1), values, colour, label=name, width=width)
        panel.axis.set(xlabel="layer, sorted" if is_sorted else "layer", ylabel="deviation of the response")
        panel.axis.set_ylim(bottom=0)
    drawn[1].axis.legend(frameon=False)
    return svg(drawn)

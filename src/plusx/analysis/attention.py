"""Which places of an image speak for a class: Grad-CAM, occlusion and integrated gradients.

All three explain a logit, from the net's input, in fp32 and in evaluation mode. The net itself is not touched: what
computes is a copy of its modules that shares its weights, so that any number of threads may explain by one net at once.

Shapes: B images in a batch, C channels, H height, W width, K classes. Maps of a layer are h x w.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from plusx.nets.net import Net

PATCHES = 7
"""An occluded patch has a side of a seventh of the image's shorter side, rounded up, and moves by half of itself."""
COMPLETE = 0.01
"""By which share of the change of the logit the sum of integrated gradients may differ from it."""
NEGLIGIBLE = 1e-3
"""And in logits, where the logit hardly changes."""
FIRST_STEPS, MOST_STEPS = 64, 1024
"""Into how many parts the path of integrated gradients is cut: twice as many until they are complete."""
ROUNDING = 1e-5
"""Of a logit in fp32: what the same image may differ by, computed in another batch."""
PIXELS = 8 * 224 * 224
"""Of the images that are computed together, which bounds the memory that a backward pass takes."""

SATURATED = {"gradients": 0.99}
"""From which share of the pixels on a picture shows the values of a method as equally strong."""

_OTHERS = "occlusion and gradients do without"
_Each = TypeVar("_Each")


@dataclass(frozen=True, eq=False)
class Map:
    """How much each place of an image speaks for a class."""

    values_HW: Tensor
    """float32, in logits: positive speaks for the class, negative against it. Of the input's size, or, of Grad-CAM, of
    the size of the net's last maps, which cover the input from edge to edge."""
    target: int
    """Index of the class."""
    logits_K: Tensor
    """Of the whole image, float32."""
    method: str
    layer: str = ""
    """The name of the module whose maps Grad-CAM weighs."""
    note: str = ""
    """What a reader of the map must know, if anything."""

    @property
    def strongest(self) -> float:
        """The largest value, in logits, or 0 if nothing speaks for the class. Of integrated gradients, which are strong
        in few pixels and would leave all others dark, the one that the strongest hundredth of the pixels exceed."""
        for_it_HW = self.values_HW.clamp(min=0)
        most = torch.quantile(for_it_HW, SATURATED[self.method]) if self.method in SATURATED else for_it_HW.max()
        return (most if most > 0 else for_it_HW.max()).item()

    @property
    def strength_HW(self) -> Tensor:
        """What speaks for the class, from 0 to 1, which stands for `strongest` and more."""
        strongest = self.strongest
        return (self.values_HW / strongest).clamp(0, 1) if strongest > 0 else torch.zeros_like(self.values_HW)


def explain_pixels(net: nn.Module, x_1CHW: Tensor, target: int | None = None, method: str = "cam") -> Map:
    """Which places of an image speak for a class.

    - `cam`: Grad-CAM, Selvaraju et al. (2017), arXiv:1610.02391, Eqn. (1) and (2) without its ReLU, which
      `Map.strength_HW` applies. The net declares the maps that are weighed, `Net.last_maps`; of another net, or where
      these have a single place, they are the last maps before the logits that have more. If global average pooling and
      one linear layer follow, a value is what its place adds to the logit: all add up to the logit less its bias, and
      times h w it is the class activation map of Zhou et al. (2016), arXiv:1512.04150.
    - `occlusion`: Zeiler and Fergus (2013), arXiv:1311.2901, Sec. 4.2: what the logit loses where a patch is covered
      with the mean of the training images; of each pixel the mean over the patches that it is in.
    - `gradients`: integrated gradients, Sundararajan et al. (2017), arXiv:1703.01365, Eqn. (1), on the straight line
      from the mean of the training images, summed over channels. All values add up to what the image adds to the logit
      of that mean, within 1 %; else the note says so.

    Args:
        net: It stays as it is, in every respect.
        x_1CHW: One image as the net takes it, on the net's device: normalised, so that 0 is the mean of the training
            images.
        target: Index of the class; the likeliest if not given.
        method: cam, occlusion or gradients.

    Raises:
        ValueError: The method or the class is unknown, the net has no maps for `cam`, or its logits are not finite.

    Example:
        >>> from plusx.nets import build
        >>> found = explain_pixels(build("resnet20").eval(), torch.randn(1, 3, 32, 32), target=3)
        >>> found.values_HW.shape, found.layer
        (torch.Size([8, 8]), 'stages')
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    if x_1CHW.dim() != 4 or len(x_1CHW) != 1:
        raise ValueError(f"one image is explained at a time, 1 x C x H x W; this has the shape {tuple(x_1CHW.shape)}")
    with torch.inference_mode(False), torch.enable_grad():
        twin = sharing_twin(net)
        x_1CHW = x_1CHW.detach().float().clone()
        with torch.no_grad():
            logits_K = twin(x_1CHW)[0]
        if not logits_K.isfinite().all():
            raise ValueError("the net's logits of this image are not finite; there is nothing to explain")
        chosen = int(logits_K.argmax()) if target is None else target
        if not 0 <= chosen < len(logits_K):
            raise ValueError(f"class {chosen} is none of the net's {len(logits_K)}")
        found = METHODS[method](twin, x_1CHW, Map(torch.zeros(0, 0), chosen, logits_K, method))
    values_HW, note = found.values_HW.float().cpu(), found.note
    if not note and not (values_HW > 0).any():
        note = "nothing in this image speaks for this class"
    return replace(found, values_HW=values_HW, logits_K=logits_K.cpu(), note=note)


def sharing_twin(net: nn.Module) -> nn.Module:
    """A copy of a net's modules, in evaluation mode and fp32, that shares its weights, which ask for no gradient."""

    def alias(t: Tensor) -> Tensor:
        bare = t.detach().float() if t.is_floating_point() else t.detach()
        bare = bare.clone() if bare.is_inference() else bare  # which no backward pass can go through
        return nn.Parameter(bare, requires_grad=False) if isinstance(t, nn.Parameter) else bare.clone()

    return copy.deepcopy(net, {id(t): alias(t) for t in (*net.parameters(), *net.buffers())}).eval()


# ---- Grad-CAM --------------------------------------------------------------------------------------------------------


def _cam(net: nn.Module, x_1CHW: Tensor, about: Map) -> Map:
    layer = net.last_maps if isinstance(net, Net) else ""
    if layer is None:
        raise ValueError(f"this net has no maps for cam: its layers read an image as a list of numbers; {_OTHERS}")
    maps_1Khw, gradient_1Khw = _declared(net, layer, x_1CHW, about.target) if layer else (None, None)
    if maps_1Khw is None or gradient_1Khw is None:
        layer, maps_1Khw, gradient_1Khw = _last(net, x_1CHW, about.target)
    weights_1K11 = gradient_1Khw.mean((2, 3), keepdim=True)  # Eqn. (1)
    return replace(about, values_HW=(weights_1K11 * maps_1Khw).sum(1)[0], layer=layer)  # Eqn. (2)


def _declared(net: nn.Module, layer: str, x_1CHW: Tensor, target: int) -> tuple[Tensor | None, Tensor | None]:
    """The maps that a module puts out, and the logit's gradient there; None where they have no places, or no use."""
    kept: list[Tensor] = []

    def cut(module: nn.Module, inputs: object, y: object) -> object:
        if not _has_places(y):
            return None
        kept.append(y.detach().requires_grad_())  # no layer before it takes part in the backward pass
        return kept[-1].clone()  # a layer behind it may work in place

    try:
        handle = net.get_submodule(layer).register_forward_hook(cut)
    except AttributeError:
        raise ValueError(f"this net says that its last maps are those of {layer!r}, which it does not have") from None
    logit = net(x_1CHW)[0, target]
    handle.remove()
    if not kept or not logit.requires_grad:
        return None, None
    return kept[-1].detach(), torch.autograd.grad(logit, kept[-1], allow_unused=True)[0]


def _last(net: nn.Module, x_1CHW: Tensor, target: int) -> tuple[str, Tensor, Tensor]:
    """The last module whose output are maps that the logit depends on, these maps, and the logit's gradient there."""
    found: list[tuple[str, Tensor]] = []
    x_1CHW = x_1CHW.requires_grad_()
    given = x_1CHW.clone()  # a layer may work in place, which a tensor that asks for its gradient does not allow

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, y: object) -> None:
            if _has_places(y) and y.requires_grad and y is not given:
                found.append((name, y))

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in net.named_modules()]
    logit = net(given)[0, target]
    for handle in handles:
        handle.remove()
    if found and logit.requires_grad:
        gradients = torch.autograd.grad(logit, [y for _, y in found], allow_unused=True)
        for (name, y), gradient in reversed(list(zip(found, gradients, strict=True))):
            if gradient is not None:
                return name, y.detach(), gradient
    raise ValueError(f"this net has no maps of more than one place at this size of image, which cam needs; {_OTHERS}")


def _has_places(y: object) -> TypeGuard[Tensor]:
    return isinstance(y, Tensor) and y.dim() == 4 and y.shape[2] * y.shape[3] > 1


# ---- occlusion -------------------------------------------------------------------------------------------------------


def _occlusion(net: nn.Module, x_1CHW: Tensor, about: Map) -> Map:
    height, width = x_1CHW.shape[2:]
    side = -(-min(height, width) // PATCHES)
    places = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    lost_HW, covered_HW = (torch.zeros(height, width, dtype=torch.float64) for _ in range(2))
    least = ROUNDING * max(1.0, about.logits_K.abs().max().item())
    for some in _portions(places, x_1CHW):
        x_BCHW = x_1CHW.repeat(len(some), 1, 1, 1)
        for number, (top, left) in enumerate(some):
            x_BCHW[number, :, top : top + side, left : left + side] = 0
        with torch.no_grad():
            lost_B = (about.logits_K[about.target] - net(x_BCHW)[:, about.target]).cpu().double()
        lost_B = torch.where(lost_B.abs() < least, 0.0, lost_B)
        for (top, left), lost in zip(some, lost_B, strict=True):
            lost_HW[top : top + side, left : left + side] += lost
            covered_HW[top : top + side, left : left + side] += 1
    return replace(about, values_HW=lost_HW / covered_HW)


def _starts(length: int, side: int) -> list[int]:
    """Where patches begin, so that they cover a side of the image from edge to edge."""
    return sorted({*range(0, length - side, max(1, side // 2)), length - side})


# ---- integrated gradients --------------------------------------------------------------------------------------------


def _gradients(net: nn.Module, x_1CHW: Tensor, about: Map) -> Map:
    steps = FIRST_STEPS
    while True:
        values_CHW, change = _along_the_line(net, x_1CHW, about.target, steps)
        found = values_CHW.sum().item()
        complete = abs(change - found) <= max(COMPLETE * abs(change), NEGLIGIBLE)
        if complete or steps == MOST_STEPS:
            break
        steps *= 2
    note = "" if complete else f"the values add up to {found:.3g} of {change:.3g} logits"
    return replace(about, values_HW=values_CHW.sum(0), note=note)


def _along_the_line(net: nn.Module, x_1CHW: Tensor, target: int, steps: int) -> tuple[Tensor, float]:
    """The image times the logit's mean gradient on the line from 0 to it, float64; and what the logit gains there.

    Nets of ReLUs are linear but for kinks. Between two points, the gradient is that of the first up to a place, and
    then that of the second: the place by which the logit rises as much as it does, which is exact where there is one
    kink, and keeps the sum complete.
    """
    x_CHW = x_1CHW[0].cpu().double()
    total_CHW, change = torch.zeros_like(x_CHW), 0.0
    logits_B, gradients_BCHW = x_CHW.new_zeros(0), x_CHW.new_zeros(0, *x_CHW.shape)
    for some in _portions(range(steps + 1), x_1CHW):
        share_B111 = torch.tensor([step / steps for step in some], device=x_1CHW.device)[:, None, None, None]
        x_BCHW = (share_B111 * x_1CHW).requires_grad_()
        new_B = net(x_BCHW.clone())[:, target]  # a clone, as a layer may work in place
        if not new_B.requires_grad:
            raise ValueError("the logits of this net have no gradient, which gradients needs; occlusion does without")
        [new_BCHW] = torch.autograd.grad(new_B.sum(), x_BCHW)
        # The last point of those before is the first of these.
        logits_B = torch.cat([logits_B[-1:], new_B.detach().cpu().double()])
        gradients_BCHW = torch.cat([gradients_BCHW[-1:], new_BCHW.cpu().double()])
        slopes_B, rises = (gradients_BCHW * x_CHW).sum((1, 2, 3)), logits_B.diff()
        kinks = (rises * steps - slopes_B[1:]) / (slopes_B[:-1] - slopes_B[1:])
        kinks = kinks.nan_to_num(0.5).clamp(0, 1)[:, None, None, None]
        total_CHW += (kinks * gradients_BCHW[:-1] + (1 - kinks) * gradients_BCHW[1:]).sum(0)
        change += rises.sum().item()
    return x_CHW * total_CHW / steps, change


def _portions(every: Sequence[_Each], x_1CHW: Tensor) -> Iterator[Sequence[_Each]]:
    """As many at a time as are computed together."""
    count = min(32, max(1, PIXELS // x_1CHW[0, 0].numel()))
    for start in range(0, len(every), count):
        yield every[start : start + count]


METHODS: Mapping[str, Callable[[nn.Module, Tensor, Map], Map]] = {
    "cam": _cam,
    "occlusion": _occlusion,
    "gradients": _gradients,
}

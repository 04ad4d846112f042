"""A trained net with its scaling and normalisation as one graph of PyTorch, from which every exported file is made.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from plusx.data.preprocess import Preprocess
from plusx.deploy.export.metadata import INPUT, Pixels
from plusx.nets.net import AuxiliaryHeads


class FromPixels(nn.Module):
    """Pixels to logits: what `Preprocess.normalise` and the net do, without auxiliary heads.

    Args:
        net: In evaluation mode, on the CPU; it is copied.
        preprocess: The net's.
        pixels: uint8, B x H x W x C; or float, from 0 to 1, B x C x H x W.
    """

    mean_CHW: Tensor
    scale_C11: Tensor

    def __init__(self, net: nn.Module, preprocess: Preprocess, pixels: Pixels) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        if isinstance(self.net, AuxiliaryHeads):
            self.net.aux = nn.ModuleList()
        self.white, self.channels_last = (255.0, True) if pixels == "uint8" else (1.0, False)
        self.register_buffer("mean_CHW", preprocess.mean_CHW * self.white)
        self.register_buffer("scale_C11", 1 / (preprocess.std_C11 * self.white))

    def forward(self, images: Tensor) -> Tensor:
        x_BCHW = images.permute(0, 3, 1, 2) if self.channels_last else images
        return self.net((x_BCHW.to(torch.float32) - self.mean_CHW) * self.scale_C11)


def capture(net: nn.Module, preprocess: Preprocess, *, pixels: Pixels, batch: int | None) -> ExportedProgram:
    """The graph from pixels to logits.

    Args:
        net: In evaluation mode, on the CPU.
        preprocess: The net's.
        pixels: What the graph takes.
        batch: Images of a call; None takes any number.

    Raises:
        ValueError: No graph can be made of the net, or only of another number of images.

    Example:
        >>> from plusx.weights.presets import channelwise
        >>> program = capture(nn.Flatten(), channelwise(2, [0.5], [0.5], ""), pixels="uint8", batch=None)
        >>> program.module()(torch.zeros(3, 2, 2, 1, dtype=torch.uint8)).shape
        torch.Size([3, 4])
    """
    module = FromPixels(net, preprocess, pixels).eval()
    # A size of 1 would be taken for one that never changes.
    images = as_input(torch.zeros(batch or 2, preprocess.channels, *preprocess.size, dtype=torch.uint8), pixels)
    shapes = {INPUT: {0: Dim("batch", min=1)} if batch is None else None}
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            return torch.export.export(module, (images,), dynamic_shapes=shapes)
    except Exception as fault:  # a net of one's own may do anything in its forward
        reason = next((line.strip() for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
        how = "; if it computes with one number of images only, add --batch N" if batch is None else ""
        raise ValueError(f"PyTorch cannot make a graph of this net: {reason}{how}") from None


def as_input(pixels_BCHW: Tensor, pixels: Pixels) -> Tensor:
    """uint8 pixels as the graph takes them.

    Args:
        pixels_BCHW: Of images that went through `Preprocess.pixels`.
        pixels: What the graph takes.
    """
    return pixels_BCHW.permute(0, 2, 3, 1).contiguous() if pixels == "uint8" else pixels_BCHW.float() / 255

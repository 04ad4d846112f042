"""A net as it is, on any device: where no graph can be made of it, and where the device is no CPU.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class Eager:
    """A function of images that calls a net's own operators, in bf16 by autocast.

    Args:
        net: A net in evaluation mode, placed on the device, or another forward pass of one.
        device: cpu, cuda or mps.
        precision: fp32, or bf16 for convolutions and matrix products.

    Example:
        >>> Eager(torch.nn.Flatten(), device="cpu", precision="fp32")(torch.ones(1, 2, 1, 1))
        tensor([[1., 1.]])
    """

    def __init__(self, net: Callable[[Tensor], Tensor], *, device: str, precision: str) -> None:
        self.net, self.device, self.precision = net, device, precision

    @torch.inference_mode()
    def __call__(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = x_BCHW.to(device=self.device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits_BK = self.net(x_BCHW)
        return logits_BK.float().cpu()

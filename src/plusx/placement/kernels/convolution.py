"""The 3x3 convolution of narrow nets as one operator: `convolution`, forward and backward; convolution.h says how.

Shapes: N images, C channels, H height, W width; tensors of rank 4 are channels last.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from plusx.placement.graph import has_hooks
from plusx.placement.kernels.memory import empty, empty_like
from plusx.placement.kernels.native import ConvolutionCall, engine, run
from plusx.placement.kernels.norm import once

_LIBRARY = torch.library.Library("plusx", "FRAGMENT")
_LIBRARY.define("convolution(Tensor x, Tensor weight) -> Tensor")
_LIBRARY.define(
    "convolution_backward(Tensor dy, Tensor x, Tensor weight, bool needs_dx) -> (Tensor dx, Tensor dweight)"
)


_MOST_CHANNELS = {"amx_bf16": 256, "avx512_bf16": 128, "avx512_fp32": 256, "avx2_fp32": 512}
"""Of each engine; beyond, oneDNN is as fast or faster."""


class NativeConv2d(nn.Conv2d):
    """A 3x3 convolution in native code, from weights in fp32; stands where the convolution stood.

    Args:
        conv: The convolution, for which `fits_native` holds; its weight becomes this module's.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 3, padding=1, bias=False, device="meta")
        self._parameters = conv._parameters
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.plusx.convolution(x, self.weight) if self.fits(x) else super().forward(x)

    def fits(self, x: Tensor) -> bool:
        """Whether the native code can take this; whatever else it is, PyTorch computes it or says why it cannot."""
        return (
            x.dim() == 4
            and x.is_cpu
            and max(self.in_channels, self.out_channels) <= _MOST_CHANNELS.get(engine(x.dtype) or "", 0)
            and x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > 0
            and x.shape[1] == self.in_channels
            and self.weight.is_cpu
            and self.weight.dtype == torch.float32
            and self.weight.shape == (self.out_channels, self.in_channels, 3, 3)
            and (self.weight.is_contiguous() or self.weight.is_contiguous(memory_format=torch.channels_last))
        )


def fits_native(conv: nn.Module) -> bool:
    """Whether this is a convolution that convolution.h computes, and faster than PyTorch does."""
    return (
        type(conv) is nn.Conv2d
        and (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and (conv.groups, conv.bias, conv.padding_mode) == (1, None, "zeros")
        and conv.in_channels % 16 == conv.out_channels % 16 == 0
        and max(conv.in_channels, conv.out_channels) <= max(_MOST_CHANNELS.values())
        and not has_hooks(conv)
    )


# ---- the operators ---------------------------------------------------------------------------------------------------


def _convolution(x: Tensor, weight: Tensor) -> Tensor:
    y = empty((x.shape[0], weight.shape[0], *x.shape[2:]), x.dtype)
    _call("forward", x, weight, {"y": y})
    return y


def _convolution_fake(x: Tensor, weight: Tensor) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _convolution_backward(dy: Tensor, x: Tensor, weight: Tensor, needs_dx: bool) -> tuple[Tensor, Tensor]:
    dx, dweight = empty_like(x) if needs_dx else x.new_empty(0), torch.empty_like(weight)
    dy = dy.contiguous(memory_format=torch.channels_last)
    _call("backward", x, weight, {"dy": dy, "dweight": dweight, **({"dx": dx} if needs_dx else {})})
    return dx, dweight


def _convolution_backward_fake(dy: Tensor, x: Tensor, weight: Tensor, needs_dx: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x) if needs_dx else x.new_empty(0), torch.empty_like(weight)


def _call(name: str, x: Tensor, weight: Tensor, tensors: dict[str, Tensor]) -> None:
    """One function of convolution.h."""
    batch, in_channels, height, width = x.shape
    call = ConvolutionCall(
        batch=batch,
        height=height,
        width=width,
        in_channels=in_channels,
        out_channels=weight.shape[0],
        threads=torch.get_num_threads(),
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        strides=(ctypes.c_long * 4)(*weight.stride()),
        **{field: tensor.data_ptr() for field, tensor in tensors.items()},
    )
    run(f"convolution_{name}_{engine(x.dtype)}", call)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor]:
    x, weight = ctx.saved_tensors
    needs_dx = ctx.needs_input_grad[0]
    dx, dweight = torch.ops.plusx.convolution_backward(dy, x, weight, needs_dx)
    return dx if needs_dx else None, dweight


_LIBRARY.impl("convolution", _convolution, "CPU")
_LIBRARY.impl("convolution_backward", _convolution_backward, "CPU")
torch.library.register_fake("plusx::convolution", _convolution_fake)
torch.library.register_fake("plusx::convolution_backward", _convolution_backward_fake)
torch.library.register_autograd("plusx::convolution", _gradients, setup_context=_save)
torch.library.register_autograd("plusx::convolution_backward", once)

"""Convolutions of narrow nets as one operator: `convolution`, forward and backward.

convolution.h computes those of 3x3 with stride 1, columns.h strided ones and stems. PyTorch computes the latter a
little faster, but its threads wait for one another within them, which a busy machine punishes; and a CIFAR net has no
others.

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
_LIBRARY.define("convolution(Tensor x, Tensor weight, int stride, int padding) -> Tensor")
_LIBRARY.define(
    "convolution_backward(Tensor dy, Tensor x, Tensor weight, int stride, int padding, bool needs_dx)"
    " -> (Tensor dx, Tensor dweight)"
)


_MOST_CHANNELS = {
    "convolution": {"amx_bf16": 256, "avx512_bf16": 128, "avx512_fp32": 256, "avx2_fp32": 512},
    "columns": {"avx512_bf16": 64, "avx512_fp32": 64, "avx2_fp32": 64},
}
"""By what computes it and the engine; beyond, oneDNN is faster."""


class NativeConv2d(nn.Conv2d):
    """A convolution in native code, from weights in fp32; stands where the convolution stood.

    Args:
        conv: The convolution, for which `fits_native` holds; its weight becomes this module's.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        side, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
        super().__init__(conv.in_channels, conv.out_channels, side, stride, padding, bias=False, device="meta")
        self._parameters = conv._parameters
        self.by = _by(conv.in_channels, conv.out_channels, side, stride, padding)
        """convolution or columns: the header that computes it."""
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.fits(x):
            return super().forward(x)
        return torch.ops.plusx.convolution(x.to(precision(x)), self.weight, self.stride[0], int(self.padding[0]))

    def fits(self, x: Tensor) -> bool:
        """Whether the native code can take this; whatever else it is, PyTorch computes it or says why it cannot."""
        most = _MOST_CHANNELS[self.by].get(engine(precision(x)) or "", 0)
        side = self.kernel_size[0]
        return (
            x.dim() == 4
            and x.is_cpu
            and max(self.in_channels, self.out_channels) <= most
            and x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > 0
            and x.shape[1] == self.in_channels
            and min(x.shape[2:]) + 2 * int(self.padding[0]) >= side
            and self.weight.is_cpu
            and self.weight.dtype == torch.float32
            and self.weight.shape == (self.out_channels, self.in_channels, side, side)
            and (self.weight.is_contiguous() or self.weight.is_contiguous(memory_format=torch.channels_last))
        )


def fits_native(conv: nn.Module) -> bool:
    """Whether this is a convolution that convolution.h or columns.h is for."""
    if type(conv) is not nn.Conv2d or has_hooks(conv):
        return False
    if (conv.dilation, conv.groups, conv.bias, conv.padding_mode) != ((1, 1), 1, None, "zeros"):
        return False
    if isinstance(conv.padding, str):
        return False
    (side, stride, padding), columns = zip(conv.kernel_size, conv.stride, conv.padding, strict=True)
    if (side, stride, padding) != columns or conv.out_channels % 16:
        return False
    by = _by(conv.in_channels, conv.out_channels, side, stride, padding)
    wanted = by == "convolution" or stride > 1 or conv.in_channels < 16  # oneDNN has the product of matrices, too
    return wanted and max(conv.in_channels, conv.out_channels) <= max(_MOST_CHANNELS[by].values())


def _by(in_channels: int, out_channels: int, side: int, stride: int, padding: int) -> str:
    fits = (side, stride, padding) == (3, 1, 1) and in_channels % 16 == out_channels % 16 == 0
    return "convolution" if fits else "columns"


def precision(x: Tensor) -> torch.dtype:
    """That of the convolution: autocast changes real numbers, but no double precision."""
    changes = torch.is_autocast_enabled("cpu") and x.is_floating_point() and x.dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if changes else x.dtype


# ---- the operators ---------------------------------------------------------------------------------------------------


def _convolution(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    y = empty(_shape(x, weight, stride, padding), x.dtype)
    _call("forward", x, weight, stride, padding, {"y": y})
    return y


def _convolution_fake(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    shape = _shape(x, weight, stride, padding)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _shape(x: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[int, int, int, int]:
    height, width = ((size + 2 * padding - weight.shape[2]) // stride + 1 for size in x.shape[2:])
    return x.shape[0], weight.shape[0], height, width


def _convolution_backward(
    dy: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, needs_dx: bool
) -> tuple[Tensor, Tensor]:
    dx, dweight = empty_like(x) if needs_dx else x.new_empty(0), torch.empty_like(weight)
    dy = dy.contiguous(memory_format=torch.channels_last)
    _call("backward", x, weight, stride, padding, {"dy": dy, "dweight": dweight, **({"dx": dx} if needs_dx else {})})
    return dx, dweight


def _convolution_backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, needs_dx: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x) if needs_dx else x.new_empty(0), torch.empty_like(weight)


def _call(name: str, x: Tensor, weight: Tensor, stride: int, padding: int, tensors: dict[str, Tensor]) -> None:
    """One function of convolution.h or columns.h."""
    batch, in_channels, height, width = x.shape
    out_channels, _, side, _ = weight.shape
    call = ConvolutionCall(
        batch=batch,
        height=height,
        width=width,
        in_channels=in_channels,
        out_channels=out_channels,
        side=side,
        stride=stride,
        padding=padding,
        threads=torch.get_num_threads(),
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        strides=(ctypes.c_long * 4)(*weight.stride()),
        **{field: tensor.data_ptr() for field, tensor in tensors.items()},
    )
    run(f"{_by(in_channels, out_channels, side, stride, padding)}_{name}_{engine(x.dtype)}", call)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.stride, ctx.padding = inputs
    ctx.save_for_backward(x, weight)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    needs_dx = ctx.needs_input_grad[0]
    dx, dweight = torch.ops.plusx.convolution_backward(dy, *ctx.saved_tensors, ctx.stride, ctx.padding, needs_dx)
    return dx if needs_dx else None, dweight, None, None


_LIBRARY.impl("convolution", _convolution, "CPU")
_LIBRARY.impl("convolution_backward", _convolution_backward, "CPU")
torch.library.register_fake("plusx::convolution", _convolution_fake)
torch.library.register_fake("plusx::convolution_backward", _convolution_backward_fake)
torch.library.register_autograd("plusx::convolution", _gradients, setup_context=_save)
torch.library.register_autograd("plusx::convolution_backward", once)

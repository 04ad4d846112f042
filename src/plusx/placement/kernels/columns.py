"""Strided convolutions and stems of narrow nets as one operator: `columns`, forward and backward; columns.h says how.

PyTorch computes them as well. But its threads wait for one another within them, which a busy machine punishes, and
these are the last of a CIFAR net's convolutions that convolution.h does not compute.

Shapes: N images, C channels, H height, W width; tensors of rank 4 are channels last.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from plusx.placement.graph import has_hooks
from plusx.placement.kernels.memory import empty, empty_like
from plusx.placement.kernels.native import ColumnsCall, engine, run
from plusx.placement.kernels.norm import once

_LIBRARY = torch.library.Library("plusx", "FRAGMENT")
_LIBRARY.define("columns(Tensor x, Tensor weight, int stride, int padding) -> Tensor")
_LIBRARY.define(
    "columns_backward(Tensor dy, Tensor x, Tensor weight, int stride, int padding, bool needs_dx)"
    " -> (Tensor dx, Tensor dweight)"
)

_MOST_CHANNELS = 64
"""Beyond, oneDNN is faster."""


class ColumnsConv2d(nn.Conv2d):
    """A convolution as a product of matrices, from weights in fp32; stands where the convolution stood.

    Args:
        conv: The convolution, for which `fits_columns` holds; its weight becomes this module's.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        where = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
        super().__init__(*where, bias=False, device="meta")  # type: ignore[arg-type]
        self._parameters = conv._parameters
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.fits(x):
            return super().forward(x)
        if torch.is_autocast_enabled("cpu"):  # of images, which no norm of ours has made
            x = x.to(torch.get_autocast_dtype("cpu"))
        return torch.ops.plusx.columns(x, self.weight, self.stride[0], int(self.padding[0]))

    def fits(self, x: Tensor) -> bool:
        """Whether the native code can take this; whatever else it is, PyTorch computes it or says why it cannot."""
        half = torch.is_autocast_enabled("cpu") and x.dtype == torch.float32
        found = engine(torch.get_autocast_dtype("cpu") if half else x.dtype)
        side, padding = self.kernel_size[0], int(self.padding[0])
        return (
            x.dim() == 4
            and x.is_cpu
            and found is not None
            and found != "amx_bf16"
            and x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > 0
            and x.shape[1] == self.in_channels
            and min(x.shape[2:]) + 2 * padding >= side
            and self.weight.is_cpu
            and self.weight.dtype == torch.float32
            and self.weight.shape == (self.out_channels, self.in_channels, side, side)
        )


def fits_columns(conv: nn.Module) -> bool:
    """Whether this is a strided convolution or a stem that columns.h computes as fast as PyTorch does."""
    return (
        type(conv) is nn.Conv2d
        and all(
            isinstance(pair, tuple) and pair[0] == pair[1] for pair in (conv.kernel_size, conv.stride, conv.padding)
        )
        and (conv.dilation, conv.groups, conv.bias, conv.padding_mode) == ((1, 1), 1, None, "zeros")
        and (conv.stride[0] > 1 or conv.in_channels < 16)
        and conv.out_channels % 16 == 0
        and max(conv.in_channels, conv.out_channels) <= _MOST_CHANNELS
        and not has_hooks(conv)
    )


# ---- the operators ---------------------------------------------------------------------------------------------------


def _columns(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    y = empty(_shape(x, weight, stride, padding), x.dtype)
    _call("forward", x, weight, stride, padding, {"y": y})
    return y


def _columns_fake(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    shape = _shape(x, weight, stride, padding)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _shape(x: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[int, int, int, int]:
    height, width = ((size + 2 * padding - weight.shape[2]) // stride + 1 for size in x.shape[2:])
    return x.shape[0], weight.shape[0], height, width


def _columns_backward(
    dy: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, needs_dx: bool
) -> tuple[Tensor, Tensor]:
    dx, dweight = empty_like(x) if needs_dx else x.new_empty(0), torch.empty_like(weight)
    dy = dy.contiguous(memory_format=torch.channels_last)
    _call("backward", x, weight, stride, padding, {"dy": dy, "dweight": dweight, **({"dx": dx} if needs_dx else {})})
    return dx, dweight


def _columns_backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, needs_dx: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x) if needs_dx else x.new_empty(0), torch.empty_like(weight)


def _call(name: str, x: Tensor, weight: Tensor, stride: int, padding: int, tensors: dict[str, Tensor]) -> None:
    """One function of columns.h."""
    batch, in_channels, height, width = x.shape
    call = ColumnsCall(
        batch=batch,
        height=height,
        width=width,
        in_channels=in_channels,
        out_channels=weight.shape[0],
        side=weight.shape[2],
        stride=stride,
        padding=padding,
        threads=torch.get_num_threads(),
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        strides=(ctypes.c_long * 4)(*weight.stride()),
        **{field: tensor.data_ptr() for field, tensor in tensors.items()},
    )
    run(f"columns_{name}_{engine(x.dtype)}", call)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.stride, ctx.padding = inputs
    ctx.save_for_backward(x, weight)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    needs_dx = ctx.needs_input_grad[0]
    dx, dweight = torch.ops.plusx.columns_backward(dy, *ctx.saved_tensors, ctx.stride, ctx.padding, needs_dx)
    return dx if needs_dx else None, dweight, None, None


_LIBRARY.impl("columns", _columns, "CPU")
_LIBRARY.impl("columns_backward", _columns_backward, "CPU")
torch.library.register_fake("plusx::columns", _columns_fake)
torch.library.register_fake("plusx::columns_backward", _columns_backward_fake)
torch.library.register_autograd("plusx::columns", _gradients, setup_context=_save)
torch.library.register_autograd("plusx::columns_backward", once)

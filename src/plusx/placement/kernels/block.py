"""A residual block of two 3x3 convolutions as one operator, `block`, forward and backward; block.h says how.

    y1 = conv(x, w1),  u = relu(norm1(y1)),  y2 = conv(u, w2),  z = relu(norm2(y2) + s)

The shortcut s is x, or another tensor of its shape, such as a projection of x.

Shapes: all tensors of rank 4 are N x C x H x W, channels last, of one type; weights are in fp32.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from plusx.placement.kernels.convolution import NativeConv2d, precision
from plusx.placement.kernels.memory import empty_like
from plusx.placement.kernels.native import BlockCall, engine, run
from plusx.placement.kernels.norm import FusedNorm, once

_LIBRARY = torch.library.Library("plusx", "FRAGMENT")
_LIBRARY.define(
    "block(Tensor x, Tensor w1, Tensor scale1, Tensor shift1, Tensor w2, Tensor scale2, Tensor shift2,"
    " Tensor? shortcut, float eps1, float eps2)"
    " -> (Tensor z, Tensor y1, Tensor y2, Tensor mean1, Tensor variance1, Tensor mean2, Tensor variance2)"
)
_LIBRARY.define(
    "block_backward(Tensor dz, Tensor x, Tensor w1, Tensor scale1, Tensor shift1, Tensor w2, Tensor scale2,"
    " Tensor shift2, Tensor? shortcut, Tensor z, Tensor y1, Tensor y2, Tensor mean1, Tensor variance1, Tensor mean2,"
    " Tensor variance2, float eps1, float eps2)"
    " -> (Tensor dx, Tensor dw1, Tensor dscale1, Tensor dshift1, Tensor dw2, Tensor dscale2, Tensor dshift2,"
    " Tensor dshortcut)"
)


class FusedBlock:
    """A block as one call in training; it owns nothing, the net's modules stay where they are.

    Args:
        conv1: And the others, in the order of the equations above.
    """

    def __init__(self, conv1: NativeConv2d, norm1: FusedNorm, conv2: NativeConv2d, norm2: FusedNorm) -> None:
        self.conv1, self.norm1, self.conv2, self.norm2 = conv1, norm1, conv2, norm2

    def __call__(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        conv1, norm1, conv2, norm2 = self.conv1, self.norm1, self.conv2, self.norm2
        fits = norm1.fits(x) and norm2.fits(x, shortcut) and conv1.fits(x) and conv2.fits(x)
        same = conv1.out_channels == conv2.out_channels == norm1.num_features and x.dtype == precision(x)
        if not (fits and same and norm1.training and norm2.training):
            return norm2(conv2(norm1(conv1(x), relu=True)), x if shortcut is None else shortcut, relu=True)
        first, second = (conv1.weight, norm1.weight, norm1.bias), (conv2.weight, norm2.weight, norm2.bias)
        z, _, _, *moments = torch.ops.plusx.block(x, *first, *second, shortcut, norm1.eps, norm2.eps)
        count = x.numel() // x.shape[1]
        norm1.track(moments[0], moments[1], count)
        norm2.track(moments[2], moments[3], count)
        return z


# ---- the operators ---------------------------------------------------------------------------------------------------


def _block(*inputs: Any) -> tuple[Tensor, ...]:
    *tensors, eps1, eps2 = inputs
    x, scale1 = tensors[0], tensors[2]
    z, y1, y2 = (empty_like(x) for _ in range(3))
    moments = [torch.empty_like(scale1) for _ in range(4)]
    _call("forward", _fields(*tensors, z, y1, y2, *moments), x, tensors[1], tensors[4], eps1, eps2)
    return z, y1, y2, *moments


def _block_fake(x: Tensor, w1: Tensor, scale1: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return *(torch.empty_like(x) for _ in range(3)), *(torch.empty_like(scale1) for _ in range(4))


def _block_backward(dz: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    *tensors, eps1, eps2 = inputs
    fields = _fields(*tensors)
    x, *parameters = tensors[:7]
    dshortcut = x.new_empty(0) if tensors[7] is None else empty_like(x)
    names = ("dweight1", "dscale1", "dshift1", "dweight2", "dscale2", "dshift2")
    gradients = {"dx": empty_like(x)} | dict(zip(names, map(torch.empty_like, parameters), strict=True))
    rest = {"dz": dz.contiguous(memory_format=torch.channels_last), "g1": empty_like(x)}
    if tensors[7] is not None:
        rest["dshortcut"] = dshortcut
    _call("backward", fields | gradients | rest, x, tensors[1], tensors[4], eps1, eps2)
    return *gradients.values(), dshortcut


def _block_backward_fake(dz: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    shortcut = inputs[7]
    dshortcut = inputs[0].new_empty(0) if shortcut is None else torch.empty_like(shortcut)
    return *map(torch.empty_like, inputs[:7]), dshortcut


def _fields(*tensors: Tensor | None) -> dict[str, Tensor]:
    names = "x weight1 scale1 shift1 weight2 scale2 shift2 shortcut z y1 y2 mean1 variance1 mean2 variance2"
    return {name: tensor for name, tensor in zip(names.split(), tensors, strict=True) if tensor is not None}


def _call(name: str, fields: dict[str, Tensor], x: Tensor, w1: Tensor, w2: Tensor, eps1: float, eps2: float) -> None:
    """One function of block.h."""
    batch, channels, height, width = x.shape
    strides = ctypes.c_long * 4
    call = BlockCall(
        batch=batch,
        height=height,
        width=width,
        channels=channels,
        threads=torch.get_num_threads(),
        eps1=eps1,
        eps2=eps2,
        strides1=strides(*w1.stride()),
        strides2=strides(*w2.stride()),
        **{field: tensor.data_ptr() for field, tensor in fields.items()},
    )
    run(f"block_{name}_{engine(x.dtype)}", call)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps1, ctx.eps2 = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # of y1 and y2, which nobody reads
    ctx.save_for_backward(*tensors, *output)


def _gradients(ctx: Any, dz: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *gradients, dshortcut = torch.ops.plusx.block_backward(dz, *ctx.saved_tensors, ctx.eps1, ctx.eps2)
    return *gradients, dshortcut if dshortcut.numel() else None, None, None


_LIBRARY.impl("block", _block, "CPU")
_LIBRARY.impl("block_backward", _block_backward, "CPU")
torch.library.register_fake("plusx::block", _block_fake)
torch.library.register_fake("plusx::block_backward", _block_backward_fake)
torch.library.register_autograd("plusx::block", _gradients, setup_context=_save)
torch.library.register_autograd("plusx::block_backward", once)

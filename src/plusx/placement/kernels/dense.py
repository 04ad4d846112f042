"""Maps to which a dense block adds, in one tensor; Huang et al. (2016), arXiv:1608.06993, Eqn. (2).

    x_l = cat([x_{l-1}, f_l]),   y_l = relu(norm_l(x_l))

Concatenating copies all earlier maps for every layer, and its gradient is one sum more over all of them. Here the
tensor of the whole block is made once: a layer writes its maps behind the earlier ones, its batch norm reads the first
so many channels, and in the backward pass adds to the gradient of as many. A channel's mean and variance over the batch
are the same for every layer that reads it and are computed once.

Shapes: N images, C channels that are there, K that there will be; tensors of rank 4 are channels last.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from plusx.placement.kernels.memory import empty
from plusx.placement.kernels.norm import FusedNorm, call

_LIBRARY = torch.library.Library("plusx", "FRAGMENT")
_LIBRARY.define("moments(Tensor x) -> (Tensor mean, Tensor variance)")
_LIBRARY.define("norm_first(Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor variance, float eps) -> Tensor")
_LIBRARY.define(
    "norm_first_backward(Tensor dy, Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor variance, float eps,"
    " Tensor(a!) dx) -> (Tensor dweight, Tensor dbias)"
)


class DenseMaps:
    """The maps of one block in one pass.

    Args:
        norms: Those of the block's layers and of what follows the block, in this order; the last reads all K channels.
        x: The block's input, N x C x H x W.
    """

    def __init__(self, norms: Sequence[FusedNorm], x: Tensor) -> None:
        self.maps, self.norms = x, iter(norms)
        # Where this is false, or ends to be, maps are concatenated as the net says and PyTorch computes or refuses.
        self.shared = all(norm.training and norm.takes(x) for norm in norms) and x.shape[1] < norms[-1].num_features
        if self.shared:
            last = norms[-1]
            self.channels = 0
            self.mean, self.variance = (torch.empty(last.num_features) for _ in range(2))
            self.maps = _Open.apply(x, last.num_features)
            self._enter(x)

    def add(self, f: Tensor) -> "DenseMaps":
        """x_l = cat([x_{l-1}, f])."""
        if self.shared and not self._has_room_for(f):
            self.maps, self.shared = self.maps[:, : self.channels], False
        if self.shared:
            self.maps = _Append.apply(self.maps, f, self.channels)
            self._enter(f)
        else:
            self.maps = torch.cat([self.maps, f], 1)
        return self

    def normed(self) -> Tensor:
        """y_l, by the next of the norms."""
        norm = next(self.norms)
        if self.shared and norm.num_features != self.channels:
            self.maps, self.shared = self.maps[:, : self.channels], False
        if not self.shared or self.channels == self.maps.shape[1]:
            return norm(self.maps, relu=True)
        mean, variance = self.mean[: self.channels], self.variance[: self.channels]
        y, self.maps = _Norm.apply(self.maps, norm.weight, norm.bias, mean, variance, norm.eps)
        norm.track(mean, variance, y.numel() // self.channels)
        return y

    def _has_room_for(self, f: Tensor) -> bool:
        batch, channels, height, width = self.maps.shape
        fits = f.dim() == 4 and f.shape == (batch, f.shape[1], height, width) and f.numel() > 0
        return fits and f.is_cpu and f.dtype == self.maps.dtype and self.channels + f.shape[1] <= channels

    @torch.no_grad()
    def _enter(self, new: Tensor) -> None:
        begin, self.channels = self.channels, self.channels + new.shape[1]
        mean, variance = torch.ops.plusx.moments(new.contiguous(memory_format=torch.channels_last))
        self.mean[begin : self.channels], self.variance[begin : self.channels] = mean, variance


# ---- the gradient's way ----------------------------------------------------------------------------------------------
#
# The tensor of maps passes through all layers in a line, and so does its gradient, back: each layer changes in place
# what the one after it hands on, which nobody else reads. What the forward pass writes, it writes behind the channels
# that others have saved, so `data`, which autograd does not watch for changes, is saved and written to.


class _Open(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int) -> Tensor:
        batch, ctx.channels, height, width = x.shape
        maps = empty((batch, channels, height, width), x.dtype)
        maps[:, : ctx.channels] = x
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmaps: Tensor) -> tuple[Tensor, None]:
        return dmaps[:, : ctx.channels].contiguous(memory_format=torch.channels_last), None


class _Append(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, f: Tensor, channels: int) -> Tensor:
        ctx.place = slice(channels, channels + f.shape[1])
        maps.data[:, ctx.place] = f
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmaps: Tensor) -> tuple[Tensor, Tensor, None]:
        return dmaps, dmaps[:, ctx.place].contiguous(memory_format=torch.channels_last), None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        ctx.eps = eps
        ctx.save_for_backward(maps.data, weight, bias, mean.data, variance.data)
        return torch.ops.plusx.norm_first(maps, weight, bias, mean, variance, eps), maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dmaps: Tensor) -> tuple[Tensor | None, ...]:
        dweight, dbias = torch.ops.plusx.norm_first_backward(dy, *ctx.saved_tensors, ctx.eps, dmaps)
        return dmaps, dweight, dbias, None, None, None


# ---- the operators ---------------------------------------------------------------------------------------------------


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = (torch.empty(x.shape[1]) for _ in range(2))
    call("moments", x, {"mean": mean, "variance": variance})
    return mean, variance


def _moments_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = (x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))
    return mean, variance


def _norm_first(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    y = empty((x.shape[0], len(weight), *x.shape[2:]), x.dtype)
    tensors = {"weight": weight, "bias": bias, "mean": mean, "variance": variance, "y": y}
    call("apply", x, tensors, first=len(weight), eps=eps, relu=True)
    return y


def _norm_first_fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x[:, : len(weight)], memory_format=torch.channels_last)


def _norm_first_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float, dx: Tensor
) -> tuple[Tensor, Tensor]:
    dweight, dbias = torch.empty_like(weight), torch.empty_like(weight)
    tensors = {"weight": weight, "bias": bias, "mean": mean, "variance": variance, "dx": dx}
    tensors |= {"dy": dy.contiguous(memory_format=torch.channels_last), "dweight": dweight, "dbias": dbias}
    call("backward", x, tensors, first=len(weight), eps=eps, relu=True)
    return dweight, dbias


def _norm_first_backward_fake(dy: Tensor, x: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weight), torch.empty_like(weight)


_LIBRARY.impl("moments", _moments, "CPU")
_LIBRARY.impl("norm_first", _norm_first, "CPU")
_LIBRARY.impl("norm_first_backward", _norm_first_backward, "CPU")
torch.library.register_fake("plusx::moments", _moments_fake)
torch.library.register_fake("plusx::norm_first", _norm_first_fake)
torch.library.register_fake("plusx::norm_first_backward", _norm_first_backward_fake)

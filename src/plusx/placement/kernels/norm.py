"""Batch norm with the addition and the ReLU that follow it, as one operator: `norm`, forward and backward.

    y = norm(x),   y = relu(norm(x)),   y = relu(norm(x) + S(residual))

S is the identity or option A of He et al. (2015): every `stride`-th pixel, and zeros for the channels that the residual
lacks. The mathematics is Ioffe and Szegedy (2015), arXiv:1502.03167, Algorithm 1; norm.c says how it is computed.

Shapes: N images, C channels, H height, W width; all tensors of rank 4 are channels last.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.placement.graph import has_hooks
from plusx.placement.kernels.memory import empty, empty_like
from plusx.placement.kernels.native import NormCall, run, vector_level

_LIBRARY = torch.library.Library("plusx", "FRAGMENT")
_LIBRARY.define(
    "norm(Tensor x, Tensor weight, Tensor bias, Tensor? residual, int stride, float eps, bool relu)"
    " -> (Tensor y, Tensor mean, Tensor variance)"
)
_LIBRARY.define(
    "norm_backward(Tensor dy, Tensor x, Tensor? y, Tensor weight, Tensor bias, Tensor mean, Tensor variance,"
    " int residual_channels, int stride, float eps, bool relu)"
    " -> (Tensor dx, Tensor dweight, Tensor dbias, Tensor dresidual)"
)
_LIBRARY.define(
    "norm_apply(Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor variance, Tensor? residual, int stride,"
    " float eps, bool relu) -> Tensor"
)

_again = False
"""Set by `recomputing`: recomputing passes a batch a second time, from deep inside the backward pass."""


class FusedNorm(nn.BatchNorm2d):
    """Batch norm that can add a residual and apply ReLU in the same pass; stands where the batch norm stood.

    Called with x alone it is batch norm, so that a net whose submodules are called one by one stays what it is.

    Args:
        norm: The batch norm, for which `fits_fusion` holds; its parameters and buffers become this module's.
        native: Whether the native code may be used.
    """

    def __init__(self, norm: nn.BatchNorm2d, *, native: bool = True) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.native = native
        self.train(norm.training)

    def forward(self, x: Tensor, residual: Tensor | None = None, stride: int = 0, relu: bool = False) -> Tensor:
        """y, with a residual added as it is, or by option A where it has a stride.

        Args:
            x: N x C x H x W.
            residual: As large as x; with a stride, as many times higher and wider, with C channels or fewer.
            stride: Option A's; 0 adds the residual as it is.
            relu: Whether ReLU follows.
        """
        if not self.fits(x, residual, stride):
            y = self._plain(x)
            if residual is not None:
                y = y + (zero_padded(residual, x.shape[1], stride) if stride else residual)
            return F.relu(y) if relu else y
        scale_and_shift = (self.weight, self.bias)
        if not self.training:
            moments = (self.running_mean, self.running_var)
            return torch.ops.plusx.norm_apply(x, *scale_and_shift, *moments, residual, stride or 1, self.eps, relu)
        y, mean, variance = torch.ops.plusx.norm(x, *scale_and_shift, residual, stride or 1, self.eps, relu)
        self.track(mean, variance, x.numel() // x.shape[1])
        return y

    def fits(self, x: Tensor, residual: Tensor | None = None, stride: int = 0) -> bool:
        """Whether the native code can take these; whatever else it is, PyTorch computes it or says why it cannot."""
        if not self.takes(x) or x.shape[1] != self.num_features:
            return False
        if residual is None:
            return True
        if not self.training and _differentiated(residual):
            return False
        batch, channels, height, width = x.shape
        has = residual.shape[1] if stride and residual.dim() == 4 else channels
        # A side of 27 has 14 strides of 2 too, and a sum may be of shapes that differ: both are left to PyTorch.
        return (
            residual.shape == (batch, has, height * (stride or 1), width * (stride or 1))
            and has <= channels
            and residual.is_cpu
            and residual.dtype == x.dtype
            and residual.is_contiguous(memory_format=torch.channels_last)
        )

    def takes(self, x: Tensor) -> bool:
        """Whether the native code can take this module as it is now, and x but for its number of channels."""
        vectors = (self.weight, self.bias, self.running_mean, self.running_var)
        return (
            self.native
            and vector_level() > 0
            and x.dim() == 4
            and x.is_cpu
            and x.dtype in (torch.float32, torch.bfloat16)
            and x.is_contiguous(memory_format=torch.channels_last)
            # More than one value a channel, without which PyTorch refuses to train, and some to evaluate.
            and x.numel() > (x.shape[1] if self.training else 0)
            and (self.training or not _differentiated(x, self.weight, self.bias))
            and self.momentum is not None
            and self.num_batches_tracked is not None
            and all(v is not None and v.is_cpu and v.dtype == torch.float32 for v in vectors)
            and all(v is not None and v.shape == (self.num_features,) and v.is_contiguous() for v in vectors)
        )

    def _plain(self, x: Tensor) -> Tensor:
        if self.training and _again:  # momentum 0 leaves the running moments as they are
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, 0.0, self.eps)
        return super().forward(x)

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Enter a batch's moments, over `count` pixels, into the running ones."""
        if _again:
            return
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def _differentiated(*tensors: Tensor | None) -> bool:
    """Whether a gradient with respect to one of them will be asked for."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


@contextmanager
def recomputing() -> Iterator[None]:
    """Batches that pass here have passed before: their mean and variance are not entered into the running ones."""
    global _again
    before, _again = _again, True
    try:
        yield
    finally:
        _again = before


def fits_fusion(norm: nn.Module | None) -> bool:
    """Whether `FusedNorm` can stand in for this module."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and not has_hooks(norm)
    )


def zero_padded(residual: Tensor, channels: int, stride: int) -> Tensor:
    """Option A in plain PyTorch."""
    return F.pad(F.avg_pool2d(residual, 1, stride), (0, 0, 0, 0, 0, channels - residual.shape[1]))


# ---- the operators ---------------------------------------------------------------------------------------------------


def _norm(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, stride: int, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, variance = empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    tensors = {"weight": weight, "bias": bias, "residual": residual, "y": y, "mean": mean, "variance": variance}
    call("forward", x, tensors, stride=stride, eps=eps, relu=relu)
    return y, mean, variance


def _norm_fake(x: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _norm_apply(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    residual: Tensor | None,
    stride: int,
    eps: float,
    relu: bool,
) -> Tensor:
    y = empty_like(x)
    tensors = {"weight": weight, "bias": bias, "residual": residual, "y": y, "mean": mean, "variance": variance}
    call("apply", x, tensors, stride=stride, eps=eps, relu=relu)
    return y


def _norm_apply_fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _norm_backward(
    dy: Tensor,
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    residual_channels: int,
    stride: int,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, _, height, width = x.shape
    dx, dweight, dbias = empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    shape = (batch, residual_channels, height * stride, width * stride)
    dresidual = empty(shape, x.dtype) if residual_channels else x.new_empty(0)
    if stride > 1:
        dresidual.zero_()  # pixels that no output has read
    tensors = {"weight": weight, "bias": bias, "mean": mean, "variance": variance, "y": y, "dx": dx}
    tensors |= {"dy": dy.contiguous(memory_format=torch.channels_last), "dweight": dweight, "dbias": dbias}
    if residual_channels:
        tensors["dresidual"] = dresidual
    call("backward", x, tensors, stride=stride, eps=eps, relu=relu)
    return dx, dweight, dbias, dresidual


def _norm_backward_fake(
    dy: Tensor,
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    residual_channels: int,
    stride: int,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    if not residual_channels:
        return dx, dweight, dbias, x.new_empty(0)
    batch, _, height, width = x.shape
    shape = (batch, residual_channels, height * stride, width * stride)
    dresidual = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    return dx, dweight, dbias, dresidual


def call(
    name: str,
    x: Tensor,
    tensors: Mapping[str, Tensor | None],
    *,
    stride: int = 1,
    eps: float = 0.0,
    relu: bool = False,
    first: int = 0,
) -> None:
    """One function of norm.c.

    Args:
        name: The function's.
        x: And the others, under the names of norm.h.
        tensors: Likewise.
        stride: Option A's.
        eps: Added to the variance.
        relu: Whether ReLU follows.
        first: How many of x's channels are meant, if not all.
    """
    shortcut = tensors.get("residual")
    if shortcut is None:
        shortcut = tensors.get("dresidual")
    batch, channels, height, width = x.shape
    channels = first or channels
    fields = NormCall(
        avx512=vector_level() == 2,
        half=x.dtype == torch.bfloat16,
        relu=relu,
        threads=torch.get_num_threads(),
        batch=batch,
        height=height,
        width=width,
        channels=channels,
        eps=eps,
        x=x.data_ptr(),
        residual_channels=channels if shortcut is None else shortcut.shape[1],
        stride=stride,
        pitch=x.shape[1] if first else 0,
        **{field: tensor.data_ptr() for field, tensor in tensors.items() if tensor is not None},
    )
    run(f"norm_{name}", fields)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, residual, ctx.stride, ctx.eps, ctx.relu = inputs
    y, mean, variance = output
    ctx.residual_channels = 0 if residual is None else residual.shape[1]
    ctx.mark_non_differentiable(mean, variance)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight, bias, mean, variance, *([] if residual is None else [y]))


def _gradients(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, weight, bias, mean, variance, *rest = ctx.saved_tensors
    dx, dweight, dbias, dresidual = torch.ops.plusx.norm_backward(
        dy,
        x,
        rest[0] if rest else None,
        weight,
        bias,
        mean,
        variance,
        ctx.residual_channels,
        ctx.stride,
        ctx.eps,
        ctx.relu,
    )
    return dx, dweight, dbias, dresidual if ctx.residual_channels else None, None, None, None


def once(ctx: Any, *gradients: Any) -> None:
    """The gradient of a gradient, which none of our operators has; without this it would be zero."""
    raise RuntimeError("fused kernels are differentiated once; for gradients of gradients set placement.kernels=plain")


_LIBRARY.impl("norm", _norm, "CPU")
_LIBRARY.impl("norm_apply", _norm_apply, "CPU")
_LIBRARY.impl("norm_backward", _norm_backward, "CPU")
torch.library.register_fake("plusx::norm", _norm_fake)
torch.library.register_fake("plusx::norm_apply", _norm_apply_fake)
torch.library.register_fake("plusx::norm_backward", _norm_backward_fake)
torch.library.register_autograd("plusx::norm", _gradients, setup_context=_save)
torch.library.register_autograd("plusx::norm_backward", once)

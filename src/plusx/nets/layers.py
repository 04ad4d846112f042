"""What three or more families share; and the activations, poolings and initialisers that any net takes."""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, fx, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]
from torch.nn import functional as F


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm; He et al. (2015), Sec. 3.4."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels, eps)


class NormReluConv(nn.Sequential):
    """Batch norm, ReLU, then convolution without bias: "pre-activation"; He et al. (2016), arXiv:1603.05027."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels, eps)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )


def classifier(in_features: int, num_classes: int, bias: bool = True) -> nn.Module:
    """The last linear layer. Without classes it is the identity, and the net puts out the features before it."""
    return nn.Linear(in_features, num_classes, bias) if num_classes else nn.Identity()


def local_response_norm() -> nn.LocalResponseNorm:
    """b_i = a_i / (k + alpha sum_j a_j^2)^beta over n = 5 neighbouring channels; Krizhevsky et al. (2012), Sec. 3.3.

    k = 2, alpha = 1e-4, beta = 0.75. PyTorch divides alpha by n, the paper does not, hence 5e-4.
    """
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


# ---- in tracers' hands -----------------------------------------------------------------------------------------------


@torch.jit.ignore  # type: ignore[untyped-decorator]
def is_recorded(x: Tensor) -> bool:
    """Whether torch.fx records what is computed with x, in order to repeat it in training too.

    A tracer for evaluation alone says so by its attribute `evaluation_only`.
    """
    return isinstance(x, fx.Proxy) and not getattr(x.tracer, "evaluation_only", False)


@torch.jit.ignore  # type: ignore[untyped-decorator]
def as_one_node(module: nn.Module, x: Tensor) -> Tensor:
    """A call of the whole module in the graph that torch.fx records.

    Numbers that a forward draws, and ways that it takes by its mode, would else stay for ever what they were while it
    was recorded.
    """
    assert isinstance(x, fx.Proxy) and isinstance(x.tracer, fx.Tracer)
    return x.tracer.create_proxy("call_module", x.tracer.path_of_module(module), (x,), {})


# ---- activations -----------------------------------------------------------------------------------------------------


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 tanh(2a / 3), so that f(1) = 1 and f(-1) = -1; LeCun et al. (1998), Appendix A."""

    def forward(self, a: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(a * (2 / 3))


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),  # max(a, 0); Krizhevsky et al. (2012), Sec. 3.1
    "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "prelu": nn.PReLU,  # one learnt slope a layer, from 0.25; He et al. (2015), arXiv:1502.01852
    "elu": lambda: nn.ELU(inplace=True),  # Clevert et al. (2015), arXiv:1511.07289
    "gelu": nn.GELU,  # a times the normal distribution's share below a; Hendrycks and Gimpel (2016), arXiv:1606.08415
    "silu": lambda: nn.SiLU(inplace=True),  # a sigmoid(a); the same, Sec. 4
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
}


def swap_activations(net: nn.Module, name: str) -> None:
    """Put one activation in the place of every other. ValueError when it is unknown.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> swap_activations(net, "tanh")
        >>> net[1]
        Tanh()
    """
    make = _choice(ACTIVATIONS, "activation", name)
    for parent, child, _ in _children(net, tuple(type(activation()) for activation in ACTIVATIONS.values())):
        setattr(parent, child, make())


# ---- pooling ---------------------------------------------------------------------------------------------------------


class StochasticPool2d(nn.Module):
    """In training one activation a of each region, drawn with probability a / sum(a); in evaluation sum(a^2) / sum(a).

    Zeiler and Fergus (2013), arXiv:1301.3557. Activations must not be negative; a negative one counts as zero. A region
    of zeros gives zero, where the paper's probabilities would be 0 / 0.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int = 0, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        if not is_scripting() and is_recorded(x):
            return as_one_node(self, x)
        batch, channels, height, width = map(int, x.shape)  # numbers for torch.jit.trace too
        out = [self._length(side) for side in (height, width)]
        # Zeros around the image, to the right and below as many as the last region needs: they are never drawn.
        need = [(n - 1) * self.stride + self.kernel_size for n in out]
        right, below = (max(n - s - self.padding, 0) for n, s in zip(reversed(need), (width, height), strict=True))
        a = F.pad(F.relu(x), (self.padding, right, self.padding, below))
        regions = a.unfold(2, self.kernel_size, self.stride).unfold(3, self.kernel_size, self.stride)
        a = regions.reshape(batch, channels, *regions.shape[2:4], self.kernel_size**2)
        total = a.sum(-1, keepdim=True)
        if not self.training:
            return (a.square().sum(-1, keepdim=True) / total.clamp(min=1e-30)).squeeze(-1)
        drawn = torch.rand_like(total) * total
        index = (a.detach().cumsum(-1) <= drawn).sum(-1, keepdim=True).clamp(max=self.kernel_size**2 - 1)
        return a.gather(-1, index).squeeze(-1)

    def _length(self, side: int) -> int:
        """PyTorch's rule for poolings, ceil mode included: the last region must begin inside the image."""
        span = side + 2 * self.padding - self.kernel_size
        if span < 0:
            raise ValueError(f"a side of {side} is smaller than the pooling's {self.kernel_size}")
        length = (-(-span // self.stride) if self.ceil_mode else span // self.stride) + 1
        return length - (self.ceil_mode and (length - 1) * self.stride >= side + self.padding)


POOLINGS: Mapping[str, Callable[[int, int, int, bool], nn.Module]] = {
    "max": lambda kernel, stride, padding, ceil: nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil),
    "average": lambda kernel, stride, padding, ceil: nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil),
    "stochastic": StochasticPool2d,
}


def swap_poolings(net: nn.Module, name: str) -> None:
    """Put one pooling in the place of every other but the global, at equal geometry. ValueError when it is unknown."""
    make = _choice(POOLINGS, "pooling", name)
    for parent, child, pool in _children(net, (nn.MaxPool2d, nn.AvgPool2d, StochasticPool2d)):
        setattr(parent, child, make(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode))


# ---- initialisers ----------------------------------------------------------------------------------------------------


def _uniform(weight: Tensor) -> None:
    nn.init.uniform_(weight, -1 / math.sqrt(weight[0].numel()), 1 / math.sqrt(weight[0].numel()))


def _he(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu")


def _gaussian(weight: Tensor) -> None:
    nn.init.normal_(weight, std=0.01)


INITIALISERS: Mapping[str, Callable[[Tensor], object]] = {
    "uniform": _uniform,  # U(+-1 / sqrt(fan_in)), PyTorch's own
    "xavier": nn.init.xavier_uniform_,  # U(+-sqrt(6 / (fan_in + fan_out))); Glorot and Bengio (2010), Eqn. (16)
    "he": _he,  # N(0, 2 / fan_in); He et al. (2015), arXiv:1502.01852, Eqn. (10)
    "gaussian": _gaussian,  # N(0, 0.01^2); Krizhevsky et al. (2012), Sec. 5
}


def initialise(net: nn.Module, name: str) -> None:
    """Draw the weights of every convolution and linear layer anew; biases stay. ValueError when unknown."""
    draw = _choice(INITIALISERS, "init", name)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            draw(module.weight)


def zero_biases(net: nn.Module) -> None:
    """Biases of every convolution and linear layer 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _choice(table: Mapping[str, Callable[..., object]], what: str, name: str) -> Callable[..., object]:
    if name not in table:
        raise ValueError(f"{what} is {name!r}; choose one of {', '.join(table)}")
    return table[name]


def _children(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, module) of every module of those kinds."""
    for parent in list(net.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, kinds):
                yield parent, name, module

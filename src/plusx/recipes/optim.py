"""Optimizers, penalties and the averaging of weights; each optimizer's docstring is its rule."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from plusx.recipes.bounds import require

Touched = Literal["all", "weights"]
"""Parameters that a penalty shrinks: every one, or the weights of layers, which are the tensors of two dimensions or
more; biases and the scale and shift of a normalisation are vectors."""


def parameters(which: Touched) -> str:
    """Which parameters they are, in words."""
    return "all parameters" if which == "all" else "the weights of layers"


class _Optimizer:
    """What the numbers of every optimizer must be, by the name of the field, and how it is put into words."""

    lr: float
    weight_decay: float
    decay: Touched

    def _words(self, *settings: str) -> str:
        decay = f"weight decay {self.weight_decay:g} on {self._decays}" if self.weight_decay else ""
        return ", ".join(filter(None, (type(self).__name__, f"rate {self.lr:g}", *settings, decay)))

    @property
    def _decays(self) -> str:
        return parameters(self.decay)

    def __post_init__(self) -> None:
        for field_ in dataclasses.fields(self):  # type: ignore[arg-type]
            name, value = field_.name, getattr(self, field_.name)
            if name in ("lr", "head_lr", "vector_lr", "eps", "clip"):
                require(value is None or value > 0, f"optim.{name}", value, "more than 0")
            elif name == "layer_decay":
                require(0 < value <= 1, f"optim.{name}", value, "in (0, 1]")
            elif name == "weight_decay":
                require(value >= 0, f"optim.{name}", value, "0 or more")
            elif name in ("momentum", "sgd_momentum", "beta1", "beta2", "rho", "alpha"):
                require(0 <= value < 1, f"optim.{name}", value, "in [0, 1)")


@dataclass(frozen=True)
class _Clipped(_Optimizer):
    """An optimizer whose gradients may be shortened."""

    clip: float | None = field(default=None, kw_only=True)
    """Largest length of a step's gradient, all parameters taken as one vector; a longer one is shortened to it, with
    the L1 penalty's and before weight decay and momentum; Pascanu et al. (2012), arXiv:1211.5063, Sec. 3.2. None leaves
    gradients as they are."""

    def _words(self, *settings: str) -> str:
        clip = [f"gradients of a length of {self.clip:g} at most"] if self.clip is not None else []
        return super()._words(*settings, *clip)


@dataclass(frozen=True)
class _Layered(_Clipped):
    """An optimizer that gives each part of a net a rate of its own: the stem, each stage, the head."""

    head_lr: float | None = field(default=None, kw_only=True)
    """Learning rate of the head at the peak; none is `lr`."""
    layer_decay: float = field(default=1.0, kw_only=True)
    """What the rate of the last stage, relative to `lr`, and of every part before it, relative to the next, is
    multiplied by; Howard and Ruder (2018), arXiv:1801.06146, Sec. 3.1. 1 gives all the same."""

    def _words(self, *settings: str) -> str:
        head = [f"the head at {self.head_lr:g}"] if self.head_lr is not None else []
        parts = [f"each part at {self.layer_decay:g} of the next one's rate"] if self.layer_decay < 1 else []
        return super()._words(*head, *parts, *settings)


@dataclass(frozen=True)
class SGD(_Layered):
    """b <- momentum b + g;  w <- w - lr b, with g the gradient plus weight_decay times w (PyTorch's form)."""

    lr: float = 0.1
    """Learning rate at the peak, before the schedule."""
    momentum: float = 0.9
    """Decay of the velocity b; 0 is plain SGD."""
    weight_decay: float = 1e-4
    """L2 penalty weight_decay / 2 ||w||^2: its gradient is added to g, and the reported loss leaves it out."""
    decay: Touched = "all"
    """Which parameters weight decay shrinks; `all` includes batch norm and biases, as Caffe and fb.resnet.torch do."""
    nesterov: bool = False
    """Look ahead: w <- w - lr (g + momentum b)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.momentum > 0 or not self.nesterov, "optim.momentum", self.momentum, "more than 0 with nesterov")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        nesterov = " (Nesterov)" if self.nesterov else ""
        return self._words(f"momentum {self.momentum:g}{nesterov}" if self.momentum else "")


@dataclass(frozen=True)
class Adam(_Layered):
    """m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;  w <- w - lr m' / (sqrt(v') + eps).

    Kingma and Ba (2014); m' and v' are m and v divided by 1 - beta^t, which undoes their start at 0. The defaults are
    the paper's and torch's.
    """

    lr: float = 1e-3
    """Learning rate at the peak, before the schedule."""
    beta1: float = 0.9
    """Decay of the mean of gradients."""
    beta2: float = 0.999
    """Decay of the mean of squared gradients."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """L2 penalty weight_decay / 2 ||w||^2, added to g and so rescaled with it. See AdamW."""
    decay: Touched = "all"
    """Which parameters the penalty shrinks."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return self._words(f"betas {self.beta1:g} and {self.beta2:g}")


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay; Loshchilov and Hutter (2017)."""

    weight_decay: float = 0.01
    """Shrinks w by lr weight_decay w each step, apart from the gradient: for AdamW this is no L2 penalty."""


@dataclass(frozen=True)
class Lamb(Adam):
    """u = m' / (sqrt(v') + eps) + weight_decay w;  w <- w - lr ||w|| / ||u|| u, for each weight of a layer apart.

    You et al. (2019), arXiv:1904.00962, Algorithm 2, with phi(z) = z; m' and v' are Adam's. A step so replaces the same
    share of every layer, which large batches need. What weight decay leaves alone (biases, scales and shifts, unless
    `decay` is `all`) follows Adam, as in timm, and so does a weight of length 0.
    """

    lr: float = 8e-3
    """Learning rate at the peak: the share of a layer's length that a step replaces."""
    eps: float = 1e-6
    """Added to the root of the second moment; 1e-6 is the paper's."""
    weight_decay: float = 0.02
    """Part of the step before it is rescaled, so its strength follows the layer's length."""
    decay: Touched = "weights"
    """Which parameters it shrinks, and which are rescaled."""


@dataclass(frozen=True)
class Adagrad(_Layered):
    """s <- s + g^2;  w <- w - lr g / (sqrt(s) + eps); Duchi et al. (2011). The rate only ever falls."""

    lr: float = 0.01
    """Learning rate at the peak, before the schedule; 0.01 is torch's default."""
    eps: float = 1e-10
    """Added to the root of s; 1e-10 is torch's default."""
    weight_decay: float = 0.0
    """L2 penalty weight_decay / 2 ||w||^2, added to g and so rescaled with it; torch's default is 0."""
    decay: Touched = "all"
    """Which parameters the penalty shrinks; torch's default is `all`."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return self._words()


@dataclass(frozen=True)
class Adadelta(_Layered):
    """v <- rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) g;  u <- rho u + (1 - rho) d^2;  w <- w - lr d.

    Zeiler (2012).
    """

    lr: float = 1.0
    """Learning rate at the peak, before the schedule; torch's default, 1, is the paper's rule, which has no rate."""
    rho: float = 0.9
    """Decay of the means v and u; 0.9 is torch's default, the paper's as commonly stated is 0.95."""
    eps: float = 1e-6
    """Added under both roots, and so the size of the first steps; 1e-6 is torch's default."""
    weight_decay: float = 0.0
    """L2 penalty weight_decay / 2 ||w||^2, added to g and so rescaled with it; torch's default is 0."""
    decay: Touched = "all"
    """Which parameters the penalty shrinks; torch's default is `all`."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return self._words(f"rho {self.rho:g}")


@dataclass(frozen=True)
class RMSprop(_Layered):
    """v <- alpha v + (1 - alpha) g^2;  w <- w - lr g / (sqrt(v) + eps); Hinton's lecture (2012)."""

    lr: float = 0.01
    """Learning rate at the peak, before the schedule; 0.01 is torch's default."""
    alpha: float = 0.99
    """Decay of the mean v; 0.99 is torch's default, the lecture's as commonly stated is 0.9."""
    eps: float = 1e-8
    """Added to the root of v; 1e-8 is torch's default."""
    momentum: float = 0.0
    """Decay of a velocity of the rescaled gradients; torch's default is 0, none."""
    weight_decay: float = 0.0
    """L2 penalty weight_decay / 2 ||w||^2, added to g and so rescaled with it; torch's default is 0."""
    decay: Touched = "all"
    """Which parameters the penalty shrinks; torch's default is `all`."""

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return self._words(f"alpha {self.alpha:g}", f"momentum {self.momentum:g}" if self.momentum else "")


@dataclass(frozen=True)
class Muon(_Clipped):
    """b <- momentum b + g;  w <- sqrt(out) w / ||w|| - lr O(g + momentum b), for the matrices; Jordan et al. (2024).

    A matrix is the weight of a linear layer, or of a convolution as out x (in height width). O moves its singular
    values near 1. Weights keep one length, as in airbench94_muon, so a normalisation should follow each. The last
    layer and the vectors (biases, scales and shifts of normalisations) follow Nesterov SGD at rates of their own.
    """

    lr: float = 0.24
    """Rate of the matrices at the peak: about the share of a weight's length that one step replaces. 0.24 is
    airbench94_muon's, for batches of 2,000."""
    momentum: float = 0.6
    """Decay of the matrices' velocity; 0.6 is airbench94_muon's."""
    ns_steps: int = 3
    """Newton-Schulz iterations: 3 in airbench94_muon, 5 bring small singular values nearer to 1."""
    head_lr: float = 0.1
    """Rate of the last layer's weight at the peak."""
    vector_lr: float = 0.1
    """Rate of the vectors at the peak; nets whose batch norm has no scale bear a rate of 100."""
    sgd_momentum: float = 0.85
    """Decay of the velocity of the last layer and the vectors; 0.85 is airbench94_muon's."""
    weight_decay: float = 0.0
    """Share of the last layer and the vectors that a step at the peak takes off, before momentum: their L2 factor is
    this divided by their rate. airbench94_muon has 2e-6 times the batch size."""

    @property
    def _decays(self) -> str:
        return "the last layer and the vectors"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.ns_steps >= 1, "optim.ns_steps", self.ns_steps, "1 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return self._words(
            f"momentum {self.momentum:g}, {self.ns_steps} Newton-Schulz iterations",
            f"the last layer by SGD at {self.head_lr:g} and the vectors at {self.vector_lr:g}",
            f"momentum {self.sgd_momentum:g} there",
        )


Optim = SGD | AdamW | Adam | Lamb | Adagrad | Adadelta | RMSprop | Muon


@dataclass(frozen=True)
class Penalty:
    """l1 sum |w|, by its gradient: the reported loss leaves it out. The L2 penalty is `optim.weight_decay`."""

    l1: float = 0.0
    """l1 sign(w) is added to the gradient, for every optimizer; 0 costs nothing."""
    on: Touched = "weights"
    """Which parameters the penalty shrinks; parameters that are not trained stay as they are."""

    def __post_init__(self) -> None:
        require(self.l1 >= 0, "penalty.l1", self.l1, "0 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        return f"L1, {self.l1:g} times the sum of |w| over {parameters(self.on)}" if self.l1 else "none"


@dataclass(frozen=True)
class Averaging:
    """a <- d a + (1 - d) w, the moving average of the weights, which evaluation and the finished run use.

    Morales-Brotons et al. (2024), arXiv:2411.18704. d is `decay`, but 1 - 1/n for the n-th average while that is less:
    the first averages are plain means, and the random start is forgotten. Batch norm's statistics are averaged too.
    """

    decay: float = 0.99
    """About 1 / (1 - decay) averages are remembered."""
    every: int = 1
    """Steps between them."""

    def __post_init__(self) -> None:
        require(0 < self.decay < 1, "averaging.decay", self.decay, "in (0, 1)")
        require(self.every >= 1, "averaging.every", self.every, "1 or more")

    @property
    def in_words(self) -> str:
        """What it does, with its numbers."""
        every = "every step" if self.every == 1 else f"every {self.every} steps"
        return f"moving average of the weights, decay {self.decay:g}, {every}"

"""How a net is trained, as plain data: frozen dataclasses, no torch.

A recipe is whole: net, data, preprocessing, augmentation, optimizer, schedule, length, batch size, loss, seed,
evaluation and placement. Variants come from `dataclasses.replace` or, on the command line, from one generic
`--set part.field=value` (`override`), which rejects what it does not know.

Everything that has a position in time is a fraction of the run, so a schedule keeps its shape when the length changes.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import os
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


def _require(ok: bool, name: str, value: Any, what: str) -> None:
    if not ok:
        raise ValueError(f"{name} is {value!r}; it must be {what}")


@dataclass(frozen=True)
class NetSpec:
    """The net: a name of the catalog and the options of its builder."""

    name: str
    """Catalog name; `plusx nets` lists them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the builder, such as {"shortcut": "B"}."""
    weights: str | None = None
    """Weights to start from: a file, a run directory, or published ones (torchvision:IMAGENET1K_V1,
    timm/resnet50.a1_in1k); none starts from random. Rows of the last layer go to classes by their names; where the
    weights have other classes, or do not name them, it is drawn anew."""


@dataclass(frozen=True)
class DataSpec:
    """Images to train on, to choose by and to measure on: slices of splits, as `train[:45000]` or `train[90%:]`.

    Slices of CIFAR and the digits go by position, those of folders take as much of every class, by content.
    """

    train: str = "train"
    """Images that are trained on."""
    val: str | None = None
    """Images that choose: best weights, plateau schedules. Never the test images."""
    test: str | None = "test"
    """Images that are measured on and decide nothing."""
    limit: int | None = None
    """Use only this many images of each part, evenly spaced; for trying a recipe out."""
    undecodable: Literal["refuse", "skip"] = "refuse"
    """What to do with files of a class folder that cannot be decoded: refuse to train, or leave exactly those out."""
    workers: int = 0
    """Loader processes; any number gives the same batches."""

    def __post_init__(self) -> None:
        _require(self.workers >= 0, "data.workers", self.workers, "0 or more")
        _require(self.limit is None or self.limit >= 1, "data.limit", self.limit, "1 or more")


@dataclass(frozen=True)
class PreprocessSpec:
    """How an image becomes a tensor. Means and deviations come from the training images and are kept in the run."""

    size: int | None = None
    """Side of the square input in pixels; none keeps the size of data that has one size."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How another shape becomes square: centre crop, pad with black, or change the aspect ratio."""
    crop_fraction: float = 1.0
    """With fit=crop: share of the shorter side that the centre crop covers (ImageNet's 224 of 256 is 0.875)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Resampling filter, always with antialiasing."""
    normalize: Literal["channel", "pixel-mean"] = "channel"
    """`channel`: mean and deviation of each channel. `pixel-mean`: mean of each pixel; He et al. (2015), Sec. 4.2."""

    def __post_init__(self) -> None:
        _require(self.size is None or self.size >= 1, "preprocess.size", self.size, "1 or more")
        _require(0 < self.crop_fraction <= 1, "preprocess.crop_fraction", self.crop_fraction, "in (0, 1]")


@dataclass(frozen=True)
class RandomCrop:
    """Pad every side and crop back at random; He et al. (2015), Sec. 4.2."""

    pad: int = 4
    """Pixels on each side."""
    mode: Literal["zeros", "reflect"] = "zeros"
    """What they show: zeros, which are the mean after normalisation, or the image mirrored at its edge."""

    def __post_init__(self) -> None:
        _require(self.pad >= 0, "RandomCrop.pad", self.pad, "0 or more")


@dataclass(frozen=True)
class FlipLR:
    """Mirror left and right with probability 1/2."""

    alternate: bool = False
    """Draw in an image's first epoch only, then mirror it in every other epoch; Jordan (2024), arXiv:2404.00498,
    Sec. 3.6. Any two epochs in a row so show both views of every image."""


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a random part of the image and resize it; Szegedy et al. (2014), Sec. 6. Only for image files."""

    min_area: float = 0.25
    """Smallest share of the image's area."""
    max_aspect: float = 4 / 3
    """Largest ratio of the crop's sides, either way."""

    def __post_init__(self) -> None:
        _require(0 < self.min_area <= 1, "RandomResizedCrop.min_area", self.min_area, "in (0, 1]")
        _require(self.max_aspect >= 1, "RandomResizedCrop.max_aspect", self.max_aspect, "1 or more")


@dataclass(frozen=True)
class ScaleCrop:
    """Crop the input's size out of the image at a random scale; He et al. (2015), Sec. 3.4. Only for image files."""

    low: int = 256
    """Shortest that the image's shorter side is made, in pixels."""
    high: int = 480
    """Longest."""

    def __post_init__(self) -> None:
        _require(1 <= self.low <= self.high, "ScaleCrop.low", self.low, "from 1 to ScaleCrop.high")


@dataclass(frozen=True)
class ColorNoise:
    """Shift each RGB image along the main axes of ImageNet's colours; Krizhevsky et al. (2012), Sec. 4.1."""

    std: float = 0.1
    """Standard deviation of the factor that multiplies each axis' eigenvalue, drawn once for an image each time."""

    def __post_init__(self) -> None:
        _require(self.std >= 0, "ColorNoise.std", self.std, "0 or more")


Augment = RandomCrop | FlipLR | RandomResizedCrop | ScaleCrop | ColorNoise
Touched = Literal["all", "weights"]
"""Parameters that a penalty shrinks: every one, or the weights of layers, which are the tensors of two dimensions or
more; biases and the scale and shift of a normalisation are vectors."""


class _Optimizer:
    """What the numbers of every optimizer must be, by the name of the field."""

    def __post_init__(self) -> None:
        for field_ in dataclasses.fields(self):  # type: ignore[arg-type]
            name, value = field_.name, getattr(self, field_.name)
            if name in ("lr", "head_lr", "vector_lr", "eps"):
                _require(value > 0, f"optim.{name}", value, "more than 0")
            elif name == "weight_decay":
                _require(value >= 0, f"optim.{name}", value, "0 or more")
            elif name in ("momentum", "sgd_momentum", "beta1", "beta2", "rho", "alpha"):
                _require(0 <= value < 1, f"optim.{name}", value, "in [0, 1)")


@dataclass(frozen=True)
class SGD(_Optimizer):
    """b <- momentum b + g;  w <- w - lr b, with g the gradient plus weight_decay times w (PyTorch's form)."""

    lr: float = 0.1
    """Learning rate at the peak, before the schedule."""
    momentum: float = 0.9
    """Decay of the velocity b; 0 is plain SGD."""
    weight_decay: float = 1e-4
    """L2 penalty weight_decay / 2 ||w||^2: its gradient is added to g, and the reported loss leaves it out."""
    decay: Touched = "all"
    """What it shrinks; `all` has batch norm and biases too, as Caffe and fb.resnet.torch do."""
    nesterov: bool = False
    """Look ahead: w <- w - lr (g + momentum b)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.momentum > 0 or not self.nesterov, "optim.momentum", self.momentum, "more than 0 with nesterov")


@dataclass(frozen=True)
class Adam(_Optimizer):
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
    """What it shrinks."""


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay; Loshchilov and Hutter (2017)."""

    weight_decay: float = 0.01
    """Shrinks w by lr weight_decay w each step, apart from the gradient: for AdamW this is no L2 penalty."""


@dataclass(frozen=True)
class Adagrad(_Optimizer):
    """s <- s + g^2;  w <- w - lr g / (sqrt(s) + eps); Duchi et al. (2011). The rate only ever falls."""

    lr: float = 0.01
    """Learning rate at the peak, before the schedule; 0.01 is torch's default."""
    eps: float = 1e-10
    """Added to the root of s; 1e-10 is torch's default."""
    weight_decay: float = 0.0
    """L2 penalty weight_decay / 2 ||w||^2, added to g and so rescaled with it; torch's default is 0."""
    decay: Touched = "all"
    """What it shrinks; torch's default is `all`."""


@dataclass(frozen=True)
class Adadelta(_Optimizer):
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
    """What it shrinks; torch's default is `all`."""


@dataclass(frozen=True)
class RMSprop(_Optimizer):
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
    """What it shrinks; torch's default is `all`."""


@dataclass(frozen=True)
class Muon(_Optimizer):
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

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.ns_steps >= 1, "optim.ns_steps", self.ns_steps, "1 or more")


Optim = SGD | AdamW | Adam | Adagrad | Adadelta | RMSprop | Muon


@dataclass(frozen=True)
class Penalty:
    """l1 sum |w|, by its gradient: the reported loss leaves it out. The L2 penalty is `optim.weight_decay`."""

    l1: float = 0.0
    """l1 sign(w) is added to the gradient, for every optimizer; 0 costs nothing."""
    on: Touched = "weights"
    """What it shrinks; parameters that are not trained stay as they are."""

    def __post_init__(self) -> None:
        _require(self.l1 >= 0, "penalty.l1", self.l1, "0 or more")


@dataclass(frozen=True)
class Constant:
    """The peak rate throughout."""


@dataclass(frozen=True)
class Steps:
    """The rate is multiplied by `factor` at each milestone."""

    at: tuple[float, ...] = (1 / 2, 3 / 4)
    """Milestones as fractions of the run."""
    factor: float = 0.1
    """Multiplier at each."""

    def __post_init__(self) -> None:
        ok = all(0 < t < 1 for t in self.at) and list(self.at) == sorted(self.at)
        _require(ok, "schedule.at", self.at, "increasing fractions of the run in (0, 1)")


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from the peak to `final`; Loshchilov and Hutter (2016) without restarts."""

    final: float = 0.0
    """Multiplier at the end."""


@dataclass(frozen=True)
class Linear:
    """A straight line from the peak to `final`."""

    final: float = 0.0
    """Multiplier at the end."""


@dataclass(frozen=True)
class OneCycle:
    """A straight line up to the peak, then a straight line down to `final`; after Smith (2017)."""

    peak_at: float = 0.25
    """Fraction of the run at which the rate is highest."""
    start: float = 0.1
    """Multiplier at the start."""
    final: float = 0.0
    """Multiplier at the end."""

    def __post_init__(self) -> None:
        _require(0 < self.peak_at < 1, "schedule.peak_at", self.peak_at, "in (0, 1)")


@dataclass(frozen=True)
class Plateau:
    """The rate is multiplied by `factor` whenever validation error has not improved for `patience` evaluations."""

    patience: int = 3
    """Evaluations without a new best."""
    factor: float = 0.1
    """Multiplier at each plateau."""

    def __post_init__(self) -> None:
        _require(self.patience >= 1, "schedule.patience", self.patience, "1 or more")


Schedule = Constant | Steps | Cosine | Linear | OneCycle | Plateau


@dataclass(frozen=True)
class Warmup:
    """A gentle start, multiplied onto the schedule."""

    fraction: float = 0.05
    """Length, as a fraction of the run."""
    start: float = 0.1
    """Multiplier at the first step."""
    shape: Literal["linear", "constant"] = "linear"
    """`linear` rises from `start` to 1; `constant` stays at `start` and then jumps, as He et al. (2015) did for 110."""

    def __post_init__(self) -> None:
        _require(0 < self.fraction < 1, "warmup.fraction", self.fraction, "in (0, 1)")


@dataclass(frozen=True)
class CrossEntropy:
    """Mean over the batch of -sum_k q_k log softmax(logits)_k."""

    label_smoothing: float = 0.0
    """q is (1 - label_smoothing) one-hot + label_smoothing / num_classes; Szegedy et al. (2015), Sec. 7."""
    aux_weight: float = 0.3
    """Weight of each auxiliary head's loss, for nets that have such heads; Szegedy et al. (2014), Sec. 5."""

    def __post_init__(self) -> None:
        _require(0 <= self.label_smoothing < 1, "loss.label_smoothing", self.label_smoothing, "in [0, 1)")
        _require(self.aux_weight >= 0, "loss.aux_weight", self.aux_weight, "0 or more")


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
        _require(0 < self.decay < 1, "averaging.decay", self.decay, "in (0, 1)")
        _require(self.every >= 1, "averaging.every", self.every, "1 or more")


@dataclass(frozen=True)
class Progressive:
    """Smaller images in the first part of the run: steps there cost about scale^2 as much.

    After Howard (2018), "Now anyone can train Imagenet in 18 minutes", and Tan and Le (2021), arXiv:2104.00298, Sec. 4.
    """

    scale: float = 0.75
    """Side of the smaller images, as a share of the full side."""
    until: float = 0.5
    """Fraction of the run that sees them."""
    by: Literal["resize", "crop"] = "resize"
    """`resize` shows the whole image smaller; `crop` a random part at the size that things have in evaluation, which
    Touvron et al. (2019), arXiv:1906.06423, find to matter."""

    def __post_init__(self) -> None:
        _require(0 < self.scale < 1, "progressive.scale", self.scale, "in (0, 1)")
        _require(0 < self.until < 1, "progressive.until", self.until, "in (0, 1)")


EVALUATION_SHARE = 0.1
"""The part of a run's work that evaluations may cost where the recipe does not count them."""


@dataclass(frozen=True)
class Evaluation:
    """When a run is measured, on what, and which weights it keeps."""

    count: int | None = None
    """Evaluations, evenly spaced over the run; the last is at its end. None: at most one an epoch, and no more than
    cost a tenth of the run."""
    parts: tuple[Literal["train", "val", "test"], ...] = ("val",)
    """Parts of the data measured each time; a part that the data lacks is left out."""
    keep: Literal["best", "last"] = "best"
    """Which weights are the run's: those of the lowest validation error (earliest of equals), or the last."""
    batch_size: int = 256
    """Images at once; changes no number."""
    flip: bool = False
    """Average the softmax of each image and of its mirror image; for images whose classes have no left and right."""

    def __post_init__(self) -> None:
        _require(self.count is None or self.count >= 1, "evaluation.count", self.count, "1 or more")
        _require(self.batch_size >= 1, "evaluation.batch_size", self.batch_size, "1 or more")


@dataclass(frozen=True)
class PlacementSpec:
    """Where it runs; `auto` asks the machine, and the answer is written into the run so that a resume repeats it."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes CUDA, then MPS, then the CPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the device multiplies matrices of bf16 in hardware."""
    threads: int | None = None
    """CPU threads; none takes what the cgroup quota and the affinity mask allow."""
    kernels: Literal["auto", "fused", "plain"] = "auto"
    """`fused` runs batch norm, addition and ReLU as one operation and narrow convolutions in native code of ours,
    `auto` does so where that code was built; `plain` is PyTorch alone."""
    compile: bool = False
    """Whether torch.compile makes the net's code, which takes it a while before the first step."""
    choose: Literal["auto", "rules", "measure"] = "auto"
    """What decides where several ways are open: `measure` times a few steps of each, for 15 s at most and once for a
    net, batch and machine; `rules` does not; `auto` measures for runs that take longer than 5 minutes."""
    checkpoint: bool = False
    """Whether to keep few tensors for the backward pass and compute the rest again: less memory, a third more work."""

    def __post_init__(self) -> None:
        _require(self.threads is None or self.threads >= 1, "placement.threads", self.threads, "1 or more")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run computes."""

    name: str
    """What the recipe is called in the run's card."""
    net: NetSpec
    """What is trained."""
    data: DataSpec = DataSpec()
    """What it is trained, chosen and measured on."""
    preprocess: PreprocessSpec = PreprocessSpec()
    """How an image becomes the net's input."""
    augment: tuple[Augment, ...] = ()
    """Random changes of each training image, in this order."""
    optim: Optim = SGD()
    """The optimizer."""
    penalty: Penalty = Penalty()
    """A penalty on the weights besides the optimizer's weight decay."""
    schedule: Schedule = Constant()
    """The learning rate over the run, as a multiple of the optimizer's."""
    warmup: Warmup | None = None
    """How the learning rate begins; none begins with the schedule."""
    loss: CrossEntropy = CrossEntropy()
    """What is minimised."""
    averaging: Averaging | None = None
    """A moving average of the weights; none keeps the weights of the last step."""
    progressive: Progressive | None = None
    """Smaller images early in the run; none has the full size throughout."""
    steps: int | None = None
    """Optimizer steps; 0 leaves the first weights as they are. Exactly one of steps and epochs is set, and setting one
    clears the other."""
    epochs: float | None = None
    """Passes over the training images."""
    batch_size: int = 128
    """Images per optimizer step; changing it does not rescale the learning rate."""
    seed: int = 0
    """Decides initial weights, data order and augmentation."""
    evaluation: Evaluation = Evaluation()
    """When the net is measured, and which weights are kept."""
    placement: PlacementSpec = PlacementSpec()
    """Where the run runs, and how fast."""
    log_every: int = 50
    """Steps between records of the training loss."""
    save_seconds: float = 60.0
    """Seconds between resume points: what a crash costs at most."""

    def __post_init__(self) -> None:
        _require((self.steps is None) != (self.epochs is None), "steps", self.steps, "set, or else epochs")
        _require(self.steps is None or self.steps >= 0, "steps", self.steps, "0 or more")
        _require(self.epochs is None or self.epochs > 0, "epochs", self.epochs, "more than 0")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _require(self.log_every >= 1, "log_every", self.log_every, "1 or more")
        _require(self.save_seconds >= 0, "save_seconds", self.save_seconds, "0 or more")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        if isinstance(self.schedule, Plateau):
            _require("val" in self.evaluation.parts, "evaluation.parts", self.evaluation.parts, "with val for Plateau")

    def total_steps(self, num_train: int) -> int:
        """Optimizer steps of a run over `num_train` images."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * num_train / self.batch_size))

    def evaluations(self, num_train: int, num_evaluated: int) -> int:
        """How often a run is measured.

        Args:
            num_train: Images that it trains on.
            num_evaluated: Images that one evaluation measures.
        """
        if self.evaluation.count is not None:
            return self.evaluation.count
        steps = self.total_steps(num_train)
        seen = steps * self.batch_size
        # Of the work on an image, the forward pass is a third. Images are counted and not seconds, so that a resumed
        # run is measured at the same steps.
        affordable = EVALUATION_SHARE * 3 * seen / max(1, num_evaluated)
        return max(1, min(int(affordable), seen // max(1, num_train), steps))

    def smoke(self) -> Recipe:
        """The same recipe shrunk to seconds: every part still runs, nothing is learnt."""
        return dataclasses.replace(
            self,
            steps=6,
            epochs=None,
            batch_size=min(self.batch_size, 16),
            data=dataclasses.replace(self.data, limit=64, workers=0),
            preprocess=dataclasses.replace(
                self.preprocess, size=self.preprocess.size and min(self.preprocess.size, 64)
            ),
            evaluation=dataclasses.replace(self.evaluation, count=2),
            log_every=2,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the inverse of `from_dict`."""
        return _encode(self)

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Recipe:
        """A recipe from `to_dict`'s output. Raises ValueError on unknown kinds and keys."""
        recipe = _decode(dict(fields))
        if not isinstance(recipe, Recipe):
            raise ValueError(f"not a recipe: {fields.get('kind')!r}")
        return recipe


def override(recipe: Recipe, key: str, value: Any) -> Recipe:
    """A recipe with one field changed; what `--set key=value` does.

    Args:
        key: Path of the field, such as `optim.lr`, `net.options.shortcut` or `augment.RandomCrop.pad`.
        value: A value of the field's own type, or its text: a number, true or false, none, a choice, a comma-separated
            list, or the name of a part (`optim=AdamW`, `augment=RandomCrop,FlipLR,ColorNoise`).

    Raises:
        ValueError: The key is unknown (the nearest is named) or the value does not fit it.

    Example:
        >>> from plusx.recipes import digits
        >>> override(digits(), "optim.lr", "0.2") == override(digits(), "optim.lr", 0.2)
        True
        >>> override(digits(), "augment", (RandomCrop(pad=2), FlipLR())).augment
        (RandomCrop(pad=2, mode='zeros'), FlipLR(alternate=False))
    """
    changed = _override(recipe, key.split("."), value, key)
    for length, other in (("epochs", "steps"), ("steps", "epochs")):
        if changed.get(length) is not None:
            changed[other] = None
    return dataclasses.replace(recipe, **changed)


def override_all(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with several fields changed; a whole part before the fields within it, whatever their order.

    Args:
        changes: Keys and values, as for `override`.

    Raises:
        ValueError: As for `override`.

    Example:
        >>> from plusx.recipes import digits
        >>> override_all(digits(), {"optim.lr": 0.01, "optim": "AdamW"}).optim.lr
        0.01
    """
    for key in sorted(changes, key=lambda key: key.count(".")):
        recipe = override(recipe, key, changes[key])
    return recipe


def _override(part: Any, path: list[str], value: Any, key: str) -> dict[str, Any]:
    """The fields of `part` that change: one, rebuilt from the leaf upwards."""
    fields = {f.name for f in dataclasses.fields(part)}
    if path[0] not in fields:
        raise ValueError(f"unknown key {key!r}; {_suggest(path[0], fields, key)}")
    hint, current = typing.get_type_hints(type(part))[path[0]], getattr(part, path[0])
    if len(path) == 1:
        return {path[0]: _fitted(hint, value, key)}
    if isinstance(current, Mapping):
        return {path[0]: {**current, ".".join(path[1:]): _fitted_option(value, key)}}
    if isinstance(current, tuple) and len(path) > 2:
        names = [type(item).__name__ for item in current]
        if path[1] not in names:
            raise ValueError(f"unknown key {key!r}; {_suggest(path[1], names, key)}")
        at = names.index(path[1])
        item = dataclasses.replace(current[at], **_override(current[at], path[2:], value, key))
        return {path[0]: (*current[:at], item, *current[at + 1 :])}
    if not dataclasses.is_dataclass(current):
        raise ValueError(f"unknown key {key!r}; {path[0]!r} has no parts")
    return {path[0]: dataclasses.replace(current, **_override(current, path[1:], value, key))}  # type: ignore[type-var]


def _fitted(hint: Any, value: Any, key: str) -> Any:
    """A value, or the text of one, as the annotated type; ValueError says what would fit."""
    if isinstance(value, str):
        return _parse(hint, value, key)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    options = arguments if origin in (typing.Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    if type(value) in options and dataclasses.is_dataclass(value):
        return value
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, tuple | list):
            return tuple(_fitted(typing.get_args(option)[0], item, key) for item in value)
        if typing.get_origin(option) is Mapping and isinstance(value, Mapping):
            return {str(name): _fitted_option(item, f"{key}.{name}") for name, item in value.items()}
        if option is bool and isinstance(value, bool):
            return value
        if option is str and isinstance(value, os.PathLike):
            return os.fspath(value)
        if option in (int, float) and isinstance(value, numbers.Real) and not isinstance(value, bool):
            if not math.isfinite(value):
                break
            if option is float or isinstance(value, numbers.Integral):
                return option(value)
    raise ValueError(f"{key} is {reprlib.repr(value)}; it must be {_in_words(hint)}")


def _fitted_option(value: Any, key: str) -> Any:
    """A builder's option as JSON has it, so that the run's card can keep it."""
    match value:
        case str():
            return option_value(value)
        case bool() | None:
            return value
        case numbers.Integral():
            return int(value)
        case numbers.Real() if math.isfinite(value):
            return float(value)
        case list() | tuple():
            return [_fitted_option(item, key) for item in value]
    raise ValueError(f"{key} is {reprlib.repr(value)}; it must be a number, a text, true, false or a list of these")


def _in_words(hint: Any) -> str:
    """What a value of the annotated type is."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return f"a tuple, each {_in_words(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin is Mapping:
        return "a mapping of options"
    words = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a text", type(None): "None"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def _parse(hint: Any, text: str, key: str) -> Any:
    """Text to a value of the annotated type; ValueError says what would fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if text not in arguments:
            raise ValueError(f"{key}={text}: choose one of {', '.join(map(str, arguments))}")
        return text
    if origin is tuple:
        return tuple(_parse(arguments[0], item.strip(), key) for item in text.split(",") if item.strip())
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and text.lower() == "none":
            return None
        options = [a for a in arguments if a is not type(None)]
        return _parse(options[0], text, key) if len(options) == 1 else _named_part(options, text, key)
    if dataclasses.is_dataclass(hint):
        return _named_part([hint], text, key)
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key}={text}: write true or false")
        return text.lower() == "true"
    if hint in (int, float):
        try:
            number = hint(text)
        except ValueError:
            raise ValueError(f"{key}={text}: not {'a whole number' if hint is int else 'a number'}") from None
        if not math.isfinite(number):
            raise ValueError(f"{key}={text}: not a finite number")
        return number
    if hint is str:
        return text
    raise ValueError(f"{key} cannot be set as a whole from text; set {key}.NAME=VALUE")


def _named_part(options: list[Any], text: str, key: str) -> Any:
    by_name = {option.__name__: option for option in options}
    needed = [f.name for f in dataclasses.fields(options[0]) if not _has_default(f)]
    if needed:
        raise ValueError(f"{key}={text}: {key} cannot be set as a whole from text; set {key}.{needed[0]}={text}")
    if text not in by_name:
        raise ValueError(f"{key}={text}: choose one of {', '.join(by_name)}")
    return by_name[text]()


def _has_default(field_: dataclasses.Field[Any]) -> bool:
    return field_.default is not dataclasses.MISSING or field_.default_factory is not dataclasses.MISSING


def as_text(value: Any) -> str:
    """A field's value as `--set` takes it; of a part, its name.

    Example:
        >>> as_text(None), as_text(True), as_text(0.1), as_text(("train", "val")), as_text((RandomCrop(), FlipLR()))
        ('none', 'true', '0.1', 'train,val', 'RandomCrop,FlipLR')
    """
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    if isinstance(value, tuple | list):
        return ",".join(map(as_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def option_value(text: str) -> Any:
    """Builder options have the builder's types: numbers, true and false are read as such, all else stays text.

    Example:
        >>> [option_value(text) for text in ("3", "0.5", "true", "3x3")]
        [3, 0.5, True, '3x3']
    """
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _suggest(wrong: str, known: typing.Iterable[str], key: str) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"did you mean {key.replace(wrong, near[0])!r}?" if near else f"choose one of {', '.join(sorted(known))}"


def _parts_of(hint: Any) -> typing.Iterator[type]:
    """The dataclasses that an annotation admits, and those that their fields admit."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
        for field_hint in typing.get_type_hints(hint).values():
            yield from _parts_of(field_hint)
    for argument in typing.get_args(hint):
        yield from _parts_of(argument)


_PARTS: dict[str, Any] = {part.__name__: part for part in _parts_of(Recipe)}
"""Every kind of part that a recipe may hold, by name."""


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return dict(value)
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict) or "kind" not in value:
        return value
    kind = _PARTS.get(value["kind"])
    if kind is None:
        raise ValueError(f"unknown recipe part {value['kind']!r}")
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = set(value) - known - {"kind"}
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r} in {value['kind']}")
    return kind(**{key: _decode(item) for key, item in value.items() if key != "kind"})

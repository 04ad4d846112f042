"""How a net is trained, as plain data: frozen dataclasses, no torch.

A recipe is whole: net, data, preprocessing, augmentation, optimizer, schedule, length, batch size, loss, seed,
evaluation and placement. Variants come from `dataclasses.replace` or, on the command line, from one generic
`--set part.field=value` (`override`), which rejects what it does not know.

Everything that has a position in time is a fraction of the run, so a schedule keeps its shape when the length changes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from plusx.recipes.augment import Augment, Mixing, Progressive
from plusx.recipes.bounds import require
from plusx.recipes.data import DataSpec, PreprocessSpec
from plusx.recipes.evaluation import EVALUATION_SHARE, Evaluation
from plusx.recipes.length import ByImages
from plusx.recipes.loss import CrossEntropy, Loss
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD, Averaging, Optim, Penalty
from plusx.recipes.placement import PlacementSpec
from plusx.recipes.schedule import Constant, Plateau, Schedule, Warmup


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
    """Random changes of each training image, in this order; those of pixels come first, MixUp and CutMix last."""
    optim: Optim = SGD()
    """The optimizer."""
    penalty: Penalty = Penalty()
    """A penalty on the weights besides the optimizer's weight decay."""
    schedule: Schedule = Constant()
    """The learning rate over the run, as a multiple of the optimizer's."""
    warmup: Warmup | None = None
    """How the learning rate begins; none begins with the schedule."""
    loss: Loss = CrossEntropy()
    """What is minimised."""
    balance: Literal["none", "loss", "sampler"] = "none"
    """How classes of unequal numbers of images come to count the same. `loss`: an image of class k counts N / (K n_k)
    times, of N images in all, n_k in the class and K classes, which is 1 in the mean over the images. `sampler`: every
    class is drawn as often as every other, so that images of small classes come more often. Errors that are measured
    count every image once."""
    averaging: Averaging | None = None
    """A moving average of the weights; none keeps the weights of the last step."""
    progressive: Progressive | None = None
    """Smaller images early in the run; none has the full size throughout."""
    steps: int | None = None
    """Optimizer steps; 0 leaves the initial weights unchanged. Exactly one of steps, epochs and max_time is set, and
    setting one clears the others."""
    epochs: float | ByImages | None = None
    """Passes over the training images, or a rule for their number."""
    max_time: float | None = None
    """Seconds from the call to its end, over all sittings: as many steps as fit into them, the schedule gone through to
    its end."""
    batch_size: int = 128
    """Images per optimizer step; changing it does not rescale the learning rate."""
    accumulate: int = 1
    """Pieces that a batch is computed in, one after another, for less memory. Their gradients add up to that of the
    mean loss over the whole batch, but batch norm sees each piece by itself."""
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
        lengths = [self.steps, self.epochs, self.max_time]
        require(lengths.count(None) == 2, "steps", self.steps, "set, or else epochs or max_time")
        require(self.max_time is None or self.max_time > 0, "max_time", self.max_time, "more than 0")
        require(self.steps is None or self.steps >= 0, "steps", self.steps, "0 or more")
        if isinstance(self.epochs, int | float):
            require(self.epochs > 0, "epochs", self.epochs, "more than 0")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        if mixing := [type(item).__name__ for item in self.augment if isinstance(item, Mixing)]:
            require(self.batch_size > 1, "batch_size", self.batch_size, f"2 or more with {mixing[0]}")
        require(self.accumulate >= 1, "accumulate", self.accumulate, "1 or more")
        require(self.log_every >= 1, "log_every", self.log_every, "1 or more")
        require(self.save_seconds >= 0, "save_seconds", self.save_seconds, "0 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        if isinstance(self.schedule, Plateau):
            require(
                "val" in self.evaluation.splits, "evaluation.splits", self.evaluation.splits, "with val for Plateau"
            )

    def resolved(self, num_train: int) -> Recipe:
        """The recipe for `num_train` training images, its length in numbers."""
        if isinstance(self.epochs, ByImages):
            return dataclasses.replace(self, epochs=self.epochs.epochs(num_train))
        return self

    def total_steps(self, num_train: int) -> int:
        """Optimizer steps of a run over `num_train` images; one that has a time instead tells them when it is over."""
        if self.steps is not None:
            return self.steps
        require(self.max_time is None, "max_time", self.max_time, "none where steps are counted beforehand")
        epochs = self.resolved(num_train).epochs
        assert isinstance(epochs, int | float)
        return max(1, math.ceil(epochs * num_train / self.batch_size))

    def evaluations(self, num_train: int, num_evaluated: int, *, steps: int | None = None) -> int:
        """How often a run is measured.

        Args:
            num_train: Images that it trains on.
            num_evaluated: Images that one evaluation measures.
            steps: Of the run, where not the recipe decides them.
        """
        if self.evaluation.count is not None:
            return self.evaluation.count
        steps = self.total_steps(num_train) if steps is None else steps
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
            max_time=None,
            batch_size=min(self.batch_size, 16),
            accumulate=min(self.accumulate, self.batch_size, 16),
            data=dataclasses.replace(self.data, limit=64, workers=0),
            preprocess=dataclasses.replace(
                self.preprocess, size=self.preprocess.size and min(self.preprocess.size, 64)
            ),
            evaluation=dataclasses.replace(self.evaluation, count=2),
            log_every=2,
        )

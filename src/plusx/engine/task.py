"""What is learnt: the loss, what is measured, and which measurement selects the weights. The loop knows no more of it.

Shapes: N images, B images in a batch, C channels, H height, W width, K classes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.data.balance import class_weights
from plusx.engine.losses import LossFn, make_loss
from plusx.engine.probabilities import mean_softmax
from plusx.placement.place import Placement
from plusx.recipes import Recipe
from plusx.recipes.loss import BinaryCrossEntropy, CrossEntropy
from plusx.runs.metrics import Measurement, name_of, quantity_of, split_of

Batch = tuple[Tensor, ...]
"""Normalised images, B x C x H x W, and whatever else the task needs of them."""
IMBALANCED = 1.5
"""How many times the images of its smallest class a split's largest one has, for the balanced error to be told."""
READ_AT_ONCE = 64
"""Batches whose logits wait on a device until they are read back."""


class Selects(NamedTuple):
    """The measurement that selects the best weights and tells plateaus."""

    quantity: str
    lowest: bool = True
    """Whether less of it is better."""

    def best(self, ranks: Sequence[float]) -> float | None:
        """The best value of those whose ranks these are; None of none."""
        return None if not ranks else min(ranks) if self.lowest else -min(ranks)

    def rank(self, measured: Iterable[Measurement]) -> float | None:
        """The measurement on the validation images as a number of which less is better; None where there is none."""
        values = [m.value for m in measured if m.name == name_of("val", self.quantity)]
        return (values[0] if self.lowest else -values[0]) if values else None


class Task(Protocol):
    """What a net is trained for."""

    @property
    def selects(self) -> Selects:
        """The measurement that selects the best weights."""

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch that is on the net's device, as a scalar to be minimised."""

    def measure(
        self, net: nn.Module, batches: Iterable[Batch], placement: Placement, *, split: str
    ) -> Iterator[Measurement]:
        """The measurements of a net on a split; the net is left in the mode that it was in."""

    def results(self, measured: Iterable[Measurement]) -> Mapping[str, Any]:
        """The last measurements as they stand in the run's card."""


@dataclass(frozen=True)
class Classification:
    """One class for each image. A batch is (x_BCHW, labels_B)."""

    loss_fn: LossFn
    flip: bool = False
    """Whether evaluation averages the softmax of each image and of its mirror image."""

    @property
    def selects(self) -> Selects:
        """The error, on whatever split chooses."""
        return Selects("error")

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        """The recipe's loss."""
        x_BCHW, labels_B = batch
        return self.loss_fn(net, x_BCHW, labels_B)

    def measure(
        self, net: nn.Module, batches: Iterable[Batch], placement: Placement, *, split: str
    ) -> Iterator[Measurement]:
        """Error and mean cross entropy; where classes are of unequal size also the mean of their own errors.

        Args:
            net: Placed already.
            batches: Every image once; the last batch may be short.
            placement: The net's.
            split: What the measurements are named after.
        """
        wrong, nats, images, was_training = 0, 0.0, 0, net.training
        wrong_K = images_K = torch.zeros((), dtype=torch.int64)
        waiting: list[tuple[list[Tensor], Tensor]] = []  # on the device, which reading each batch back would stall
        most = 1 if placement.reads_are_free else READ_AT_ONCE

        def read() -> None:
            nonlocal wrong, nats, images, wrong_K, images_K
            for logits, labels in waiting:
                logs_BK, labels_B = mean_softmax([logits_BK.cpu() for logits_BK in logits]), labels.cpu()
                wrong_B = logs_BK.argmax(1) != labels_B
                wrong += int(wrong_B.sum())
                wrong_K = wrong_K + torch.bincount(labels_B[wrong_B], minlength=logs_BK.shape[1])
                images_K = images_K + torch.bincount(labels_B, minlength=logs_BK.shape[1])
                nats += float(F.nll_loss(logs_BK, labels_B, reduction="sum"))
                images += len(labels_B)
            waiting.clear()

        net.eval()
        with torch.no_grad(), placement.evaluating():
            for x_BCHW, labels_B in batches:
                views = (x_BCHW, x_BCHW.flip(-1)) if self.flip else (x_BCHW,)
                with placement.autocast():
                    waiting.append(([net(placement.place_images(view)).float() for view in views], labels_B))
                if len(waiting) == most:
                    read()
        read()
        net.train(was_training)
        yield Measurement(name_of(split, "error"), wrong / images, "1")
        yield Measurement(name_of(split, "loss"), nats / images, "nats")
        present_K = images_K > 0
        if images_K.max() > IMBALANCED * images_K[present_K].min():
            balanced = (wrong_K[present_K] / images_K[present_K]).double().mean()
            yield Measurement(name_of(split, "balanced_error"), float(balanced), "1")

    def results(self, measured: Iterable[Measurement]) -> Mapping[str, Any]:
        """Each measurement by its name, and the accuracy beside each error."""
        values = {m.name: m.value for m in measured}
        splits = [split for name in values if quantity_of(name) == "error" and (split := split_of(name))]
        return values | {name_of(s, "accuracy"): 1 - values[name_of(s, "error")] for s in splits}


def task_of(recipe: Recipe, counts_K: Tensor, device: str) -> Task:
    """What a recipe teaches, by its loss.

    Args:
        recipe: The run's.
        counts_K: Training images of each class.
        device: The net's.
    """
    match recipe.loss:
        case CrossEntropy() | BinaryCrossEntropy():
            weights_K = class_weights(counts_K).to(device) if recipe.balance == "loss" else None
            return Classification(make_loss(recipe.loss, weights_K), flip=recipe.evaluation.flip)
        case _:
            assert_never(recipe.loss)

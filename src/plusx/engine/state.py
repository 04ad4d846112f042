"""All that changes during a run, and so all that a resume point holds."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from plusx.data.randomness import derive_seed
from plusx.engine.optim import make_optimizer, optimizer_tensors, restore_optimizer
from plusx.nets import build
from plusx.nets.weights import Translation
from plusx.placement.place import Placement
from plusx.recipes import Recipe
from plusx.runs.card import Card
from plusx.runs.store import Measurement, ResumePoint, Run


@dataclass
class TrainState:
    """A net in training."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    loss_sum: Tensor
    """Sum of the batch losses since the last record."""
    step: int = 0
    val_errors: list[float] = field(default_factory=list)
    """Of every evaluation so far."""
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """The net's state at the lowest validation error; empty before the first evaluation or when the last is kept."""
    seconds: float = 0.0
    """Wall time of training, evaluations included, over all starts of the run."""
    step_seconds: float = 0.0
    """The part of it spent in training steps."""


def fresh_state(card: Card, placement: Placement, start: Translation | None = None) -> TrainState:
    """The state before the first step.

    Args:
        card: Of the run.
        placement: Of the net.
        start: Somebody's weights; what they lack, and everything if there are none, is drawn from the seed.
    """
    torch.manual_seed(derive_seed(card.recipe.seed, "init"))
    net = build(card.recipe.net.name, **card.net_options)
    if start is not None:
        net.load_state_dict(start.tensors, strict=False)
    net = placement.place(net).train()
    optimizer = make_optimizer(card.recipe.optim, net)
    return TrainState(net, optimizer, torch.zeros((), device=placement.device))


def keep_best(state: TrainState, recipe: Recipe, found: Iterable[Measurement]) -> None:
    """Note the validation error; keep the weights if it is the lowest so far, and the recipe keeps the best."""
    for measurement in found:
        if measurement.name == "val_error":
            best_before = min(state.val_errors, default=math.inf)
            state.val_errors.append(measurement.value)
            if recipe.evaluation.keep == "best" and measurement.value < best_before:
                state.best_step = state.step
                state.best_weights = {name: t.detach().clone() for name, t in state.net.state_dict().items()}


def save(state: TrainState, run: Run) -> None:
    """Write a resume point."""
    tensors = {
        **{f"net/{name}": t for name, t in state.net.state_dict().items()},
        **{f"best/{name}": t for name, t in state.best_weights.items()},
        **{f"optimizer/{name}": t for name, t in optimizer_tensors(state.optimizer, state.net).items()},
        "loss_sum": state.loss_sum,
    }
    scalars = {
        "val_errors": state.val_errors,
        "best_step": state.best_step,
        "seconds": state.seconds,
        "step_seconds": state.step_seconds,
    }
    run.save(state.step, tensors, scalars)


def restore(state: TrainState, point: ResumePoint) -> None:
    """The inverse of `save`."""
    parts: dict[str, dict[str, Tensor]] = {"net": {}, "best": {}, "optimizer": {}}
    for key, value in point.tensors.items():
        if key != "loss_sum":
            part, name = key.split("/", 1)
            parts[part][name] = value
    state.net.load_state_dict(parts["net"])
    state.best_weights = parts["best"]
    restore_optimizer(state.optimizer, state.net, parts["optimizer"])
    state.loss_sum.copy_(point.tensors["loss_sum"])
    state.step = point.step
    state.val_errors = list(point.scalars["val_errors"])
    state.best_step = point.scalars["best_step"]
    state.seconds, state.step_seconds = point.scalars["seconds"], point.scalars["step_seconds"]


class Clock:
    """Wall time: of steps, of everything, and since the last resume point."""

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.mark = self.last_save = time.perf_counter()
        self.steps, self.steps_began = 0, state.step_seconds

    def stepped(self) -> None:
        """A training step ended."""
        elapsed = self._elapsed()
        self.state.step_seconds += elapsed
        self.steps += 1

    def evaluated(self) -> None:
        """An evaluation ended."""
        self._elapsed()

    def saved(self) -> None:
        """A resume point was written."""
        self._elapsed()
        self.last_save = self.mark

    def since_save(self) -> float:
        """Seconds since the last resume point."""
        return time.perf_counter() - self.last_save

    def images_per_s(self, batch_size: int) -> float:
        """Of the training steps since this start."""
        return self.steps * batch_size / max(self.state.step_seconds - self.steps_began, 1e-9)

    def _elapsed(self) -> float:
        now = time.perf_counter()
        elapsed, self.mark = now - self.mark, now
        self.state.seconds += elapsed
        return elapsed

"""Which learning rate to begin with: a sweep over rates that leaves nothing changed.

After Smith (2015), arXiv:1506.01186, Sec. 3.3: the first steps of a run are taken with a rate that grows from step to
step, until the loss does. The suggestion is a tenth of the rate where the smoothed loss was lowest, a rule of thumb: at
that rate the loss is about to grow, and below a tenth of it steps get small. It is one for the peak of the schedule.

Shapes: B images in a batch, C channels, H height, W width.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plusx.data.balance import images_of_classes
from plusx.data.randomness import derive_seed
from plusx.engine.course import Planned
from plusx.engine.freeze import Frozen
from plusx.engine.optim import make_optimizer
from plusx.engine.plan import PRETRAINED, asked_for, make_plan
from plusx.engine.state import TrainState, fresh_state
from plusx.engine.step import Step
from plusx.engine.task import Task, task_of
from plusx.engine.training import train_batches
from plusx.placement.machine import require_one_process
from plusx.placement.place import Placement
from plusx.progress import shown
from plusx.recipes import Recipe

LOWEST, HIGHEST = 1e-4, 1e2
"""Multiples of the recipe's rate between which the sweep goes."""
SMOOTHING = 0.9
"""What the mean of the losses keeps of the steps before."""
GROWN = 3.0
"""Multiple of the lowest loss at which the sweep ends."""
FALLEN = 0.98
"""Share of the first loss that the lowest must be below, for a rate to be suggested."""


@dataclass(frozen=True)
class FoundRate:
    """What `find_lr` found."""

    net: str
    recipe_rate: float
    """The recipe's `optim.lr`."""
    suggested: float | None
    """For `optim.lr`; None where the loss fell at no rate."""
    rates: tuple[float, ...]
    """Of the steps, growing."""
    losses: tuple[float, ...]
    """The smoothed loss after each, in nats."""

    def __repr__(self) -> str:
        told = "none" if self.suggested is None else f"{self.suggested:.2g}"
        return f"<FoundRate {self.net}: optim.lr {told} suggested, {self.recipe_rate:g} in the recipe>"


def find_lr(
    data: str | Path,
    *,
    recipe: str | Recipe | None = None,
    seed: int | None = None,
    weights: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    steps: int = 100,
    progress: bool | Callable[..., None] = True,
) -> FoundRate:
    """Take the first steps of a run with growing learning rates, and suggest one. Nothing is written or changed.

    All rates of the recipe grow alike, so those of parts of a net keep their ratios.

    Args:
        data: As for `train`.
        recipe: As for `train`.
        seed: As for `train`.
        weights: As for `train`.
        overrides: As for `train`.
        data_dir: As for `train`.
        download: As for `train`.
        steps: Of the sweep, at most.
        progress: True shows a bar in a terminal or a notebook; a callable is called with each `Reading` of a folder,
            then with the steps taken and the steps in all.

    Raises:
        ValueError: As for `train`, or the recipe takes no step.

    Example:
        >>> find_lr("digits", overrides={"data.limit": 64, "batch_size": 16}, steps=30).recipe_rate
        0.1
    """
    require_one_process()
    if steps < 10:
        raise ValueError(f"steps is {steps}; a sweep takes 10 or more")
    asked, preprocess_set = asked_for(data, recipe, overrides, seed, weights)
    if asked.steps == 0:
        raise ValueError(f"the recipe {asked.name} takes no step, so it has no learning rate to find")
    with shown(progress, f"{os.fspath(data)}, rates", unit="steps") as report:
        plan = make_plan(
            data,
            asked,
            preprocess_set,
            out=None,
            data_dir=Path(data_dir) if data_dir is not None else None,
            download=download,
            download_weights=download or weights == PRETRAINED,
            progress=report,
        )
        card, placement, images = plan.card, plan.choice.placement, plan.splits["train"]
        with torch.random.fork_rng(devices=[]):
            state = fresh_state(card, placement, plan.start, images)
            task = task_of(card.recipe, images_of_classes(images), placement.device)
            batches = train_batches(card.recipe, images, card.preprocess, placement)
            rates, losses = sweep(state, card.recipe, task, batches, placement, steps=steps, progress=report)
    best = min(range(len(losses)), key=losses.__getitem__)
    suggested = rates[best] / 10 if losses[best] < FALLEN * losses[0] else None
    return FoundRate(card.recipe.net.name, card.recipe.optim.lr, suggested, tuple(rates), tuple(losses))


def sweep(
    state: TrainState,
    recipe: Recipe,
    task: Task,
    batches: Planned,
    placement: Placement,
    *,
    steps: int,
    progress: Callable[[int, int], None],
) -> tuple[list[float], list[float]]:
    """The rates of steps that follow the state's, and the smoothed loss after each; the state stays as it is.

    Args:
        state: Its net is trained and put back; the optimizer is one of the sweep's own.
        recipe: Resolved for the training images.
        task: What is learnt.
        batches: What is learnt from.
        placement: The net's.
        steps: At most; the sweep ends when the loss grows.
        progress: Called with the steps taken and the steps in all.
    """
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    with _put_back(state, placement):
        optimizer = make_optimizer(recipe.optim, state.net, precision=placement.precision)
        Frozen(state.net, recipe.net).hold(True)
        step = Step.of(recipe, state.net, optimizer, task, placement)
        numbers = range(state.step, state.step + steps)
        begun = batches.planned(lambda share: numbers.stop if share else 0)  # the sweep is no share of a run
        for taken, batch in enumerate(begun.steps(numbers.start, numbers.stop, workers=recipe.data.workers)):
            rate = LOWEST * (HIGHEST / LOWEST) ** (taken / (steps - 1))
            torch.manual_seed(derive_seed(recipe.seed, "step", numbers[taken]))
            mean = SMOOTHING * mean + (1 - SMOOTHING) * step(batch, rate).item()
            smoothed = mean / (1 - SMOOTHING ** (taken + 1))
            if not math.isfinite(smoothed):
                break
            rates.append(recipe.optim.lr * rate)
            losses.append(smoothed)
            progress(taken + 1, steps)
            if smoothed > GROWN * min(losses):
                break
    progress(steps, steps)
    return rates, losses


@contextmanager
def _put_back(state: TrainState, placement: Placement) -> Iterator[None]:
    """Afterwards the net's tensors, gradients and modes, and the random generators, are what they were."""
    net = state.net
    tensors = {name: t.detach().clone() for name, t in net.state_dict().items()}
    gradients = [(p, p.grad, p.requires_grad) for p in net.parameters()]
    modes = [(module, module.training) for module in net.modules()]
    for parameter, _, _ in gradients:
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=[0] if placement.device == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, now in net.state_dict().items():
                now.copy_(tensors[name])
        for parameter, gradient, trained in gradients:
            parameter.grad = gradient
            parameter.requires_grad_(trained)
        for module, training in modes:
            module.training = training

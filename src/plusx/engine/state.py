"""All that changes during a run, and so all that a resume point holds."""

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from plusx.data.batches import EvalBatches
from plusx.data.images import ImageSet, spread
from plusx.data.randomness import derive_seed
from plusx.engine.course import Leg, legs_from, rows_of
from plusx.engine.head import fit_head
from plusx.engine.optim import make_optimizer, optimizer_tensors, restore_optimizer
from plusx.nets import build
from plusx.nets.net import FittedStem
from plusx.placement.place import Placement
from plusx.recipes import Recipe
from plusx.recipes.optim import Averaging
from plusx.runs.card import Card
from plusx.runs.store import ResumePoint, Run
from plusx.weights.translate import Translation

Item = TypeVar("Item")


@dataclass
class TrainState:
    """A net in training."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    loss_sum: Tensor
    """Sum of the batch losses since the last record."""
    step: int = 0
    val_errors: list[float] = field(default_factory=list)
    """The rank of the weights at every evaluation so far, less of which is better: of classification, their error."""
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """The net's state at the lowest validation error; empty before the first evaluation or when the last is kept."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """The moving average of the net's state; empty before the first, or when the recipe has none."""
    seconds: float = 0.0
    """Wall time of training, evaluations included, over all starts of the run."""
    step_seconds: float = 0.0
    """The seconds of it that training steps took, their batches included."""
    data_seconds: float = 0.0
    """The seconds of those that were spent waiting for a batch."""
    fitted_head: dict[str, float | int | None] = field(default_factory=dict)
    """What the last layer was fitted with before the first step, if it was."""
    legs: list[Leg] = field(default_factory=list)
    """The parts that a run with a time has planned so far."""
    began: float = field(default_factory=time.monotonic)
    """When this sitting began, by `time.monotonic`."""
    spent_before: float = 0.0
    """Seconds of the sittings before, each up to the resume point that the next one began with."""
    not_captured: str | None = None
    """Why the steps since this start were not recorded, where the placement asked for it."""

    @property
    def spent(self) -> float:
        """Seconds of all sittings so far, all that they did counted."""
        return self.spent_before + time.monotonic() - self.began


STEM_PIXELS = 5_000 * 32 * 32  # that a net's stem is fitted to: 5,000 images of CIFAR, as in airbench


def fresh_state(
    card: Card, placement: Placement, start: Translation | None = None, images: ImageSet | None = None
) -> TrainState:
    """The state before the first step.

    Args:
        card: The run's.
        placement: The net's.
        start: Somebody's weights; what they lack is drawn from the seed; without them, everything is.
        images: The training images, to some of which the stem of a net with a `FittedStem` is fitted where there is no
            `start`, and to all of which the recipe may have the last layer fitted. None fits nothing, as before a
            resume point is read.
    """
    began, fitted_head = time.perf_counter(), {}
    torch.manual_seed(derive_seed(card.recipe.seed, "init"))
    net = build(card.recipe.net.name, **card.net_options)
    if start is not None:
        net.load_state_dict(start.tensors, strict=False)
    elif images is not None and isinstance(net, FittedStem):
        some = spread(images, max(1, STEM_PIXELS // math.prod(card.preprocess.size)))
        x_BCHW, _ = EvalBatches(some, card.preprocess, len(some), readers=placement.threads)[0]
        net.fit_stem(x_BCHW)
    balanced = card.recipe.balance != "none"
    if card.recipe.net.fit_head and images is not None:
        fitted_head = dataclasses.asdict(fit_head(net, images, card.preprocess, placement, balanced=balanced))
    seconds = time.perf_counter() - began  # part of what the run costs
    net = placement.place(net).train()
    optimizer = make_optimizer(card.recipe.optim, net, precision=placement.precision)
    loss_sum = torch.zeros((), device=placement.device)
    return TrainState(net, optimizer, loss_sum, seconds=seconds, fitted_head=fitted_head)


@torch.no_grad()
def average(state: TrainState, averaging: Averaging | None) -> None:
    """Bring the moving average up to the state's step, where the recipe averages then."""
    if averaging is None or state.step % averaging.every:
        return
    number = state.step // averaging.every
    share = max(1 - averaging.decay, 1 / number)
    now = state.net.state_dict()
    if not state.average:
        state.average = {name: t.detach().clone() for name, t in now.items()}
    floats = [name for name, t in now.items() if t.is_floating_point()]
    torch._foreach_lerp_([state.average[name] for name in floats], [now[name] for name in floats], share)
    for name in now.keys() - set(floats):  # batch norm's count of steps
        state.average[name].copy_(now[name])


@contextmanager
def averaged(state: TrainState) -> Iterator[None]:
    """The net with its averaged weights, where there are any; afterwards it has its own again."""
    if not state.average:
        yield
        return
    own = {name: t.detach().clone() for name, t in state.net.state_dict().items()}
    state.net.load_state_dict(state.average)
    try:
        yield
    finally:
        state.net.load_state_dict(own)


def keep_best(state: TrainState, recipe: Recipe, rank: float | None) -> None:
    """Note the rank of the weights; keep them if no rank was lower so far, and the recipe keeps the best.

    Args:
        state: Changed in place.
        recipe: The run's.
        rank: The measurement that selects, less of which is better; None where it was not measured.
    """
    if rank is None:
        return
    best_before = min(state.val_errors, default=math.inf)
    state.val_errors.append(rank)
    if recipe.evaluation.keep == "best" and rank < best_before:
        state.best_step = state.step
        state.best_weights = {name: t.detach().clone() for name, t in state.net.state_dict().items()}


def out_of_patience(state: TrainState, recipe: Recipe) -> bool:
    """Whether so many evaluations in a row had no lower rank than those before that the run stops."""
    patience, ranks = recipe.evaluation.patience, state.val_errors
    if patience is None or not ranks:
        return False
    return len(ranks) - 1 - ranks.index(min(ranks)) >= patience


def save(state: TrainState, run: Run) -> None:
    """Write a resume point."""
    tensors = {
        **{f"net/{name}": t for name, t in state.net.state_dict().items()},
        **{f"best/{name}": t for name, t in state.best_weights.items()},
        **{f"average/{name}": t for name, t in state.average.items()},
        **{f"optimizer/{name}": t for name, t in optimizer_tensors(state.optimizer, state.net).items()},
        "loss_sum": state.loss_sum,
    }
    scalars = {
        "val_errors": state.val_errors,
        "best_step": state.best_step,
        "seconds": state.seconds,
        "step_seconds": state.step_seconds,
        "data_seconds": state.data_seconds,
        "fitted_head": state.fitted_head,
        **({"spent": state.spent, "legs": rows_of(state.legs)} if state.legs else {}),
    }
    run.save(state.step, tensors, scalars)


def restore(state: TrainState, point: ResumePoint) -> None:
    """The inverse of `save`."""
    state.net.load_state_dict(point.part("net"))
    state.best_weights = point.part("best")
    now = state.net.state_dict()  # whose device and layout the average has
    state.average = {name: torch.empty_like(now[name]).copy_(t) for name, t in point.part("average").items()}
    restore_optimizer(state.optimizer, state.net, point.part("optimizer"))
    state.loss_sum.copy_(point.tensors["loss_sum"])
    state.step = point.step
    state.val_errors = list(point.scalars["val_errors"])
    state.best_step = point.scalars["best_step"]
    state.seconds, state.step_seconds = point.scalars["seconds"], point.scalars["step_seconds"]
    state.data_seconds = point.scalars.get("data_seconds", 0.0)  # nor this
    state.fitted_head = point.scalars.get("fitted_head", {})  # which version 0.1 did not know
    state.spent_before, state.legs = point.scalars.get("spent", 0.0), legs_from(point.scalars.get("legs", ()))


class Clock:
    """Wall time: of steps, of everything, and since the last resume point."""

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.mark = self.last_save = time.perf_counter()
        self.steps, self.steps_began = 0, state.step_seconds

    def waiting_for(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches, with the time until each of them."""
        ahead = iter(batches)
        while True:
            began = time.perf_counter()
            try:
                batch = next(ahead)
            except StopIteration:
                return
            self.state.data_seconds += time.perf_counter() - began
            yield batch

    def stepped(self) -> None:
        """A training step ended."""
        elapsed = self._elapsed()
        self.state.step_seconds += elapsed
        self.steps += 1

    def evaluated(self) -> float:
        """An evaluation ended; the seconds that it took."""
        return self._elapsed()

    def saved(self) -> None:
        """A resume point was written."""
        self._elapsed()
        self.last_save = self.mark

    def since_save(self) -> float:
        """Seconds since the last resume point."""
        return time.perf_counter() - self.last_save

    def images_per_s(self, batch_size: int) -> float:
        """Images a second over the training steps since this start."""
        return self.steps * batch_size / max(self.state.step_seconds - self.steps_began, 1e-9)

    def _elapsed(self) -> float:
        now = time.perf_counter()
        elapsed, self.mark = now - self.mark, now
        self.state.seconds += elapsed
        return elapsed

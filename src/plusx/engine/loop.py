"""The training loop: from a state's step to the last, with every record, evaluation and resume point on the way."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, Self

import torch

from plusx.data.randomness import derive_seed
from plusx.engine.course import Course
from plusx.engine.events import DivergedError, Event, StoppedError
from plusx.engine.freeze import Frozen
from plusx.engine.schedule import multiplier
from plusx.engine.state import Clock, TrainState, average, averaged, keep_best, out_of_patience, save
from plusx.engine.step import Step
from plusx.engine.task import Batch, Task
from plusx.placement.place import Placement
from plusx.recipes import Recipe
from plusx.runs.metrics import Measurement
from plusx.runs.store import Run

SHOWN_SECONDS = 0.5
"""How often progress is reported where no loss is recorded, so that what shows it moves."""


class Batches(Protocol):
    """`batches.steps(start, stop)` yields the batches of those steps, in order."""

    @property
    def num_images(self) -> int:
        """How many there are in an epoch."""

    def planned(self, step_at: Callable[[float], int]) -> Self:
        """The same batches in a run in which a share is done at another step."""

    def steps(self, start: int, stop: int, *, workers: int = 0) -> Iterator[Batch]:
        """The batches of steps start .. stop - 1."""


class SplitImages(Protocol):
    """Every image of a split once."""

    @property
    def num_images(self) -> int:
        """How many there are in all."""

    def __iter__(self) -> Iterator[Batch]: ...


def fit(
    state: TrainState,
    recipe: Recipe,
    course: Course,
    task: Task,
    batches: Batches,
    splits: Mapping[Any, SplitImages],
    placement: Placement,
    run: Run,
    *,
    progress: Callable[[Event], None],
    should_stop: Callable[[], bool] | None,
) -> None:
    """Train from the state's step to the last of the course.

    Args:
        state: Changed in place.
        recipe: Resolved for the training images.
        course: Which share of the run is done at a step, and when it ends.
        task: What is learnt.
        batches: What is learnt from.
        splits: What is measured at each evaluation, by split.
        placement: The net's.
        run: Gets metrics and resume points.
        progress: Called with how far training has come.
        should_stop: Asked after every step; when true, a resume point is written.

    Raises:
        DivergedError: The loss is no longer a number.
        StoppedError: `should_stop` said yes.
        TooShortError: The run's time is over before it can end.
    """
    shown = 0.0

    def show(
        loss: float | None = None, images_per_s: float | None = None, measurements: Iterable[Measurement] = ()
    ) -> None:
        nonlocal shown
        shown = time.monotonic()
        per_epoch = batches.num_images / recipe.batch_size
        best = task.selects.best(state.val_errors)
        progress(Event(state.step, course.total or 0, loss, images_per_s, tuple(measurements), (), per_epoch, best))

    def new_step() -> Step:
        return Step.of(recipe, state.net, state.optimizer, task, placement)

    if out_of_patience(state, recipe):  # it was killed after its last step
        return
    clock, frozen, step = Clock(state), Frozen(state.net, recipe.net), new_step()
    for batch in clock.waiting_for(course.batches(lambda: state.step, batches, workers=recipe.data.workers)):
        if frozen.hold(state.step < course.leg.step_at(recipe.net.freeze_until)):
            step = new_step()  # what was recorded trains other parameters
        share = course.share(state.step)
        rate = multiplier(recipe.schedule, share, warmup=recipe.warmup, val_errors=state.val_errors)
        torch.manual_seed(derive_seed(recipe.seed, "step", state.step))  # for dropout and its kin
        loss = step(batch, rate)
        state.loss_sum += loss
        state.not_captured = step.not_captured
        state.step += 1
        average(state, recipe.averaging)
        last, record = state.step == course.total, state.step % recipe.log_every == 0
        stopping = should_stop is not None and should_stop() and not last
        saving = last or stopping or clock.since_save() >= recipe.save_seconds
        if record or saving or placement.reads_are_free:  # elsewhere .item() would stall the device every step
            _require_finite(loss.item(), state.step, recipe.optim.lr * rate)
        clock.stepped()
        if record:
            mean = state.loss_sum.item() / recipe.log_every
            run.log(state.step, _pace(mean, recipe.optim.lr * rate), seconds=state.seconds)
            show(mean, clock.images_per_s(recipe.batch_size))
            state.loss_sum.zero_()
        elif time.monotonic() - shown > SHOWN_SECONDS:
            show()
        if course.evaluates(state.step):
            with averaged(state):
                measured = measure_all(state, task, splits, placement)
                keep_best(state, recipe, task.selects.rank(measured))
            course.evaluated(clock.evaluated())
            run.log(state.step, measured, seconds=state.seconds)
            show(measurements=measured)
            last = last or out_of_patience(state, recipe)
        if saving or last:
            save(state, run)
            clock.saved()
        if last:
            break
        if stopping:
            raise StoppedError(
                f"stopped at step {state.step:,}{f' of {course.total:,}' if course.total else ''}",
                f"resume with: plusx train --resume {run.path}",
            )


def measure_all(
    state: TrainState, task: Task, splits: Mapping[Any, SplitImages], placement: Placement
) -> list[Measurement]:
    """The measurements on every split, of the weights that the net has now."""
    return [m for split, images in splits.items() for m in task.measure(state.net, images, placement, split=split)]


def _require_finite(loss: float, step: int, rate: float) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss is {loss} at step {step:,} with learning rate {rate:.3g}",
            "try a lower optim.lr (a third), a longer warmup, or placement.precision=fp32",
        )


def _pace(mean_loss: float, rate: float) -> list[Measurement]:
    return [Measurement("batch_loss", mean_loss, "nats"), Measurement("lr", rate, "1")]

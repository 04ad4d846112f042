"""Training: a run from what was asked for, and its exact continuation after any crash."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plusx.data.augment import make_augmentation
from plusx.data.balance import images_of_classes
from plusx.data.batches import EvalBatches, TrainBatches
from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess
from plusx.data.sources import NAMES, Source, load_source
from plusx.engine.calibration import calibration_after_training
from plusx.engine.course import Course, Leg, Pace, TooShortError, rows_of
from plusx.engine.events import Event, Reading, StoppedError
from plusx.engine.follow import EventFiles, Follower, LivePage, require_tensorboard
from plusx.engine.loop import SplitImages, fit, measure_all
from plusx.engine.memory import bytes_of
from plusx.engine.plan import PRETRAINED, asked_for, make_plan
from plusx.engine.state import TrainState, fresh_state, out_of_patience, restore, save
from plusx.engine.task import Task, task_of
from plusx.nets.own import passed, short
from plusx.placement.choose import Choice
from plusx.placement.machine import accelerator, describe, peak_memory_bytes, require_one_process
from plusx.placement.place import Placement, placement_after
from plusx.progress import shown
from plusx.recipes import Recipe
from plusx.recipes.length import duration
from plusx.report.run import write_report
from plusx.runs.card import Card
from plusx.runs.code import admit, write_code
from plusx.runs.files import free_path
from plusx.runs.images import last_data_dir, seen_before, seen_by, splits_of, unseen, write_images
from plusx.runs.metrics import Measurement
from plusx.runs.store import Run, create_run, discard_run, read_card, reopen_run
from plusx.weights.published import published_name
from plusx.weights.start import starting_weights
from plusx.weights.translate import Translation

FEW_IMAGES = 20_000
"""Below this, a net that starts from random weights is likely to end worse than one that starts from others'."""

Progress = Callable[[Reading | Choice | Event], None]
"""Called while the data is read, when it is decided where the run will run, and during training."""


@dataclass(frozen=True, repr=False)
class Trained:
    """A finished run."""

    run: Path
    card: Card

    def __repr__(self) -> str:
        return f"<Trained {self.run}: {self.card.in_words}>"


def train(
    data: str | Path,
    *,
    recipe: str | Recipe | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    weights: str | Path | None = None,
    max_time: float | str | None = None,
    memory: int | str | None = None,
    net: nn.Module | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    watch: bool = False,
    tensorboard: bool = False,
    progress: bool | Progress = True,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train a net and write a run directory.

    Args:
        data: digits, cifar10, cifar100, a folder of class folders, or a table (.csv) with the columns path and label,
            and perhaps split and group.
        recipe: A recipe or its name; by default, the recipe for the data.
        out: Run directory, new or empty; without one, a free name under runs/.
        seed: Random seed; overrides the recipe's.
        weights: Weights to start from: a run directory, a file, published ones by name (torchvision:IMAGENET1K_V1,
            timm/resnet50.a1_in1k), or `pretrained`, which fetches those that are published of the net into their cache
            if they are not there. The weights decide which net, if you do not; for a folder, the recipe is then
            `finetune`.
        max_time: Seconds, or a time such as 20m or 1h30m, from this call to its end, in place of the recipe's length.
            As many steps are taken as fit into it, and the learning rate goes through its whole schedule; the rule,
            also of a run that is resumed, is in `plusx.engine.course`.
        memory: Bytes, or a size such as 4GB or 800MB, that the run may hold, on CUDA of the device's memory: where the
            recipe's batches need more, the largest power of two that does not is taken, and learning rates in
            proportion; the rule is in `plusx.engine.memory`.
        net: A net of your own, of which a copy is trained, beginning with its weights. The run keeps the file of its
            class, if that alone makes it again; else the run can be loaded with `net=` only. A file may be named
            instead, of which the class is called with num_classes, if it takes that: `{"net.name": "mynet.py:MyNet"}`.
        overrides: Recipe fields to change, as `{"optim.lr": 0.05, "optim.nesterov": "true"}`: values or their text.
        data_dir: Folder that contains CIFAR.
        download: Fetch CIFAR into `data_dir`, and published weights into their cache, when they are not there.
        watch: Rewrite the run's report.html during training; an open page follows by itself.
        tensorboard: Write what is measured for TensorBoard as well, to the run's folder tensorboard.
        progress: True shows a bar in a terminal or notebook, False shows nothing; a function is called with each
            `Reading`, `Choice` and `Event`.
        should_stop: Asked after every step; when true, a resume point is written and `StoppedError` raised.

    Raises:
        ValueError: Something that was asked for does not exist or does not fit.
        StoppedError: The run was stopped early; the message says why.

    Example:
        >>> from plusx.recipes import digits
        >>> trained = train("digits", recipe=digits().smoke(), out="runs/digits")
        >>> trained.card.results["steps"]
        6
    """
    began = time.monotonic()
    require_one_process()
    if tensorboard:
        require_tensorboard()
    if net is not None:
        overrides = _with_object(net, overrides, weights)
    limit = bytes_of(memory) if isinstance(memory, str) else memory
    asked, preprocess_set = asked_for(data, recipe, overrides, seed, weights, max_time)
    with shown(progress, str(data), stopping=should_stop) as show:
        plan = make_plan(
            data,
            asked,
            preprocess_set,
            out=Path(out) if out is not None else None,
            data_dir=Path(data_dir) if data_dir is not None else None,
            download=download,
            download_weights=download or weights == PRETRAINED,
            progress=show,
            memory=limit,
        )
        show(plan.choice)
        if plan.note is not None:
            show(Event(0, 0, notes=(plan.note,)))
        card, placement = plan.card, plan.choice.placement
        with torch.random.fork_rng(devices=[]):
            state = fresh_state(card, placement, plan.start, plan.splits["train"])
            state.began = began
            name = f"{plan.source.title}-{short(card.recipe.net.name)}-seed{card.recipe.seed}"
            path = Path(out) if out is not None else free_path(Path("runs") / name)
            new = [folder for folder in (path, *path.parents) if not folder.exists()]
            run = create_run(path, card)
            write_code(run.path, card)
            if card.code is not None and card.code["as_object"]:
                save(state, run)  # nothing else has the weights that it begins with
            write_images(run.path, plan.source, plan.splits, plan.before)
            follow = _followers(run.path, state.step, watch, tensorboard, show)
            try:
                return _finish(run, state, plan.splits, placement, follow, progress=show, should_stop=should_stop)
            except TooShortError:
                discard_run(run, new)
                raise


def resume(
    run: str | Path,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    trust_code: bool = False,
    net: nn.Module | None = None,
    watch: bool = False,
    tensorboard: bool = False,
    progress: bool | Progress = True,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Resume a run that was stopped or killed, to the same weights, bit for bit, as if it had not been.

    Args:
        run: Run directory.
        data_dir: Folder that now contains its images, if they have moved: the folder itself, or the one that CIFAR is
            in.
        device: cpu, cuda or mps, in place of the one that it began on; the weights then differ in their last bits.
        trust_code: As for `load`.
        net: As for `load`.
        watch: As for `train`.
        tensorboard: As for `train`.
        progress: As for `train`.
        should_stop: As for `train`.

    Raises:
        ValueError: The directory is not an unfinished run, its images are gone or have changed, or this machine lacks
            the
            device that it began on.
        StoppedError: As for `train`.
    """
    began = time.monotonic()
    require_one_process()
    if tensorboard:
        require_tensorboard()
    path = Path(run)
    card = read_card(path)
    if card.status == "finished":
        raise ValueError(f"{path} is finished; there is nothing to resume")
    admit(path, card, trust_code=trust_code, net=net)
    placement = _placement_again(path, card, device)
    with shown(progress, str(run), stopping=should_stop) as show:
        source = _source_again(path, card, Path(data_dir) if data_dir is not None else None, show)
        before = seen_before(path)
        if before is None:  # it died before they were written
            before = seen_by(card.recipe.net.weights)
        splits, _ = unseen(splits_of(card.recipe, source.splits), before)
        opened, point = reopen_run(path)
        where = {"name": source.name, "data_dir": str(source.data_dir) if source.data_dir else None}
        opened.card = dataclasses.replace(
            opened.card, placement=placement.to_dict(), source={**opened.card.source, **where}
        )
        with torch.random.fork_rng(devices=[]):
            # A resume point holds all weights: those that the run began with may be gone.
            if point is None and card.code is not None and card.code["as_object"]:
                raise ValueError(
                    f"{path} has no whole resume point, and nothing else has its first weights; start anew"
                )
            if point is None:
                state = fresh_state(card, placement, _start_again(card), splits["train"])
                write_images(path, source, splits, before)
            else:
                state = fresh_state(card, placement)
                restore(state, point)
            state.began = began
            follow = _followers(path, state.step, watch, tensorboard, show)
            return _finish(opened, state, splits, placement, follow, progress=show, should_stop=should_stop)


def _with_object(net: nn.Module, overrides: Mapping[str, Any] | None, weights: str | Path | None) -> dict[str, Any]:
    """The overrides that have a net trained that was passed as an object."""
    if clash := [key for key in overrides or {} if key == "net" or key.startswith(("net.name", "net.options"))]:
        raise ValueError(f"net= is a net that is made already, and {clash[0]} says how to make one; leave one out")
    if weights is not None or "net.weights" in (overrides or {}):
        raise ValueError("net= begins with its own weights; load others into it, or leave weights out")
    return {**(overrides or {}), "net.name": passed(net)}


def _placement_again(run: Path, card: Card, device: str | None) -> Placement:
    """Where a run is resumed: as it began, or on another device that was asked for."""
    began = Placement.from_dict(card.placement)
    if device is not None and device != began.device:
        other = placement_after(card.recipe.placement, device)
        reason = f"asked for when the run was resumed; it began on {began.device}"
        return dataclasses.replace(other, reasons={**other.reasons, "device": reason})
    if began.device not in ("cpu", accelerator()):
        raise ValueError(
            f"{run} began on {began.device}, which this machine lacks; resume it where it has one, or here with "
            f"--device cpu, which changes the last bits of the weights"
        )
    return began


def _start_again(card: Card) -> Translation | None:
    """The weights that a run starts from, once more; None where they are drawn."""
    if card.recipe.net.weights is None:
        return None
    weights, net = card.recipe.net.weights, card.recipe.net.name
    return starting_weights(weights, net, class_names=card.class_names, **card.net_options).translation


def _source_again(run: Path, card: Card, data_dir: Path | None, progress: Callable[[Reading], None]) -> Source:
    """The images that a run began with, wherever they lie now: their fingerprint tells."""
    name = card.source["name"]
    if name not in NAMES:
        name, data_dir = str(data_dir or name), None
        if not Path(name).exists():
            raise ValueError(
                f"the images of {run} were in {name}, which is gone; say where they are now: "
                f"plusx train --resume {run} --data-dir FOLDER"
            )
    source = load_source(
        name,
        data_dir=data_dir or last_data_dir(card),
        undecodable=card.recipe.data.undecodable,
        group=card.recipe.data.group,
        progress=lambda done, total: progress(Reading(done, total)),
    )
    if source.fingerprint != card.source["fingerprint"]:
        raise ValueError(f"the images of {source.name} are not those that {run} began with; start a new run")
    return source


def _finish(
    run: Run,
    state: TrainState,
    splits: Mapping[str, ImageSet],
    placement: Placement,
    follow: Sequence[Follower],
    *,
    progress: Progress,
    should_stop: Callable[[], bool] | None,
) -> Trained:
    """Fit to the last step, then measure the kept weights, write them, the card and the report."""
    recipe, preprocess = run.card.recipe, run.card.preprocess
    task = task_of(recipe, images_of_classes(splits["train"]), placement.device)
    train, val = splits["train"], splits.get("val")
    in_memory = sum(images.size_bytes for images in splits.values())
    if in_memory and placement.holds(in_memory):  # files are read, and so normalised, by the processor
        splits = {split: images.to(placement.device) for split, images in splits.items()}
        preprocess = preprocess.to(placement.device)
    readers = _readers(recipe, placement)
    batches = train_batches(recipe, splits["train"], preprocess, placement)
    every = {
        split: EvalBatches(images, preprocess, recipe.evaluation.batch_size, recipe.data.workers, readers)
        for split, images in splits.items()
    }
    measured = {split: images for split, images in every.items() if split in recipe.evaluation.splits}
    last = {split: images for split, images in every.items() if split in measured or split == "test"}
    advice = _advice(run.card) if recipe.steps != 0 else ()

    def tell(event: Event) -> None:
        progress(event)
        for follower in follow:
            follower(event)

    try:
        course = _course(state, recipe, task, batches, measured, last, val, placement)
        notes = (_splits_in_words(run.card), *_code_in_words(run), *advice)
        tell(Event(state.step, course.total or 0, notes=notes))
        fit(state, recipe, course, task, batches, measured, placement, run, progress=tell, should_stop=should_stop)
        if kept_weights := state.best_weights or state.average:
            state.net.load_state_dict(kept_weights)
        results = _results(state, recipe, task, measure_all(state, task, last, placement))
        found = calibration_after_training(run.card, state.net.state_dict(), val, train, placement.device)
        run.card = dataclasses.replace(run.card, calibration=found)
        run.finish(state.net.state_dict(), {**results, "stopped": _stopped(state, recipe, course)})
        title = f"{short(recipe.net.name)} on {Path(run.card.source['name']).name}"
        write_report([run.path], run.path / "report.html", title=title)
    except OSError as fault:
        raise StoppedError(
            f"cannot write to {run.path} at step {state.step:,}: {fault.strerror or fault}",
            f"its last resume point is whole: make room and resume with: plusx train --resume {run.path}",
        ) from None
    finally:
        run.close()
        for follower in follow:
            follower.close(finished=run.card.status == "finished")
    return Trained(run.path, run.card)


def _followers(run: Path, step: int, watch: bool, tensorboard: bool, progress: Progress) -> list[Follower]:
    """What follows a training, as was asked for."""
    return [*([LivePage(run, progress)] if watch else []), *([EventFiles(run, step)] if tensorboard else [])]


def _stopped(state: TrainState, recipe: Recipe, course: Course) -> str:
    """Why the run ended where it did."""
    if out_of_patience(state, recipe):
        patience, total = recipe.evaluation.patience, course.total
        waited = f"{patience} evaluations" if patience != 1 else "1 evaluation"
        return f"at step {state.step:,} of {total:,}: no lower validation error in {waited}"
    if recipe.max_time is not None:
        return f"after {state.step:,} steps: they fill the time of {duration(recipe.max_time)}"
    return f"after all {state.step:,} steps"


def _course(
    state: TrainState,
    recipe: Recipe,
    task: Task,
    batches: TrainBatches,
    measured: Mapping[Any, EvalBatches],
    last: Mapping[Any, EvalBatches],
    val: ImageSet | None,
    placement: Placement,
) -> Course:
    """The way of the run: so many steps, or as many as fit into its time."""
    on_the_way, at_the_end = (sum(images.num_images for images in each.values()) for each in (measured, last))
    at_the_end += len(val) if val is not None else 0  # for calibration

    def evaluations(steps: int) -> int:
        return recipe.evaluations(batches.num_images, on_the_way, steps=steps)

    if recipe.max_time is None:
        return Course([Leg(0, 0.0, recipe.total_steps(batches.num_images))], evaluations)
    a_step = state.spent_before / max(1, state.step)  # of the sittings before, if there were any
    an_image = _seconds_an_image(state, task, last, placement)
    pace = Pace(recipe.max_time, lambda: state.spent, a_step, an_image, on_the_way, at_the_end, placement.wait)
    return Course(state.legs, evaluations, pace)


def _seconds_an_image(state: TrainState, task: Task, splits: Mapping[str, SplitImages], placement: Placement) -> float:
    """How long measuring an image takes, reading included; of the first batch of a split, the second time."""
    for split, images in splits.items():
        for batch in itertools.islice(images, 1):
            list(task.measure(state.net, [batch], placement, split=split))
    began, count = time.perf_counter(), 0
    for split, images in splits.items():
        for batch in itertools.islice(images, 1):
            list(task.measure(state.net, [batch], placement, split=split))
            count += len(batch[0])
    return (time.perf_counter() - began) / max(1, count)


def train_batches(recipe: Recipe, images: ImageSet, preprocess: Preprocess, placement: Placement) -> TrainBatches:
    """What a run learns from.

    Args:
        recipe: The run's.
        images: Its training images.
        preprocess: Its own, where the images are.
        placement: Where it runs.
    """
    augmentation = make_augmentation(recipe.augment, preprocess, recipe.progressive)
    return TrainBatches(
        images,
        preprocess,
        augmentation,
        recipe.batch_size,
        recipe.seed,
        _readers(recipe, placement),
        fast=recipe.data.reading == "fast",
        balanced=recipe.balance == "sampler",
    )


def _readers(recipe: Recipe, placement: Placement) -> int:
    """Threads that read image files, in each process that does."""
    return 1 if recipe.data.workers else placement.threads


def _splits_in_words(card: Card) -> str:
    """How many images are for what, before the first step."""
    purposes = {"train": "to train on", "val": "held out for validation", "test": "for testing"}
    counts = [f"{count:,} {purposes[split]}" for split, count in card.source["images"].items()]
    return f"images: {'; '.join([', '.join(counts), *card.left_out, *card.source.get('notes', ())])}"


def _code_in_words(run: Run) -> tuple[str, ...]:
    """What loading the run will take, where its net is a user's own."""
    code = run.card.code
    if code is None:
        return ()
    if code["file"] is None:
        return (f"{run.path} can be loaded in Python only, with net={code['made_by']}(...): {code['why']}",)
    return (f"{run.path} keeps a copy of {code['file']}, which is run where the run is loaded with --trust-code",)


def _advice(card: Card) -> tuple[str, ...]:
    """That weights of others are likely to help, where few images are learnt from nothing."""
    images, net = card.source["images"]["train"], card.recipe.net
    if card.source["name"] in NAMES or net.weights is not None or images >= FEW_IMAGES:
        return ()
    try:
        published_name(net.name)
    except ValueError:
        return ()
    return (
        f"{net.name} starts from random weights, and {images:,} images are few to learn from: published weights are "
        "likely to be better; add --pretrained",
    )


def _results(state: TrainState, recipe: Recipe, task: Task, measured: Iterable[Measurement]) -> dict[str, Any]:
    return {
        "net": recipe.net.name,
        "params": sum(p.numel() for p in state.net.parameters()),
        "seed": recipe.seed,
        "steps": state.step,
        "kept_step": state.best_step if state.best_weights else state.step,
        **({"fitted_head": state.fitted_head} if state.fitted_head else {}),
        **task.results(measured),
        **({"legs": rows_of(state.legs)} if state.legs else {}),
        "images_per_s": round(state.step * recipe.batch_size / max(state.step_seconds, 1e-9), 1),
        "data_share": round(state.data_seconds / max(state.step_seconds, 1e-9), 3),
        "seconds": round(state.seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(),
        **({"not_captured": state.not_captured} if state.not_captured else {}),
        "machine": describe(),
    }

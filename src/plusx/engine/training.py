"""Training: a run from its recipe, and its exact continuation after any crash.

Shapes: B images in a batch, C channels, H height, W width.
"""

import dataclasses
import inspect
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor

from plusx.data.augment import alternating_flip, color_noise, flip_lr, random_crop, shrink, shrunk_side
from plusx.data.batches import Augmentation, EvalBatches, TrainBatches
from plusx.data.images import ImageSet, require_every_class
from plusx.data.preprocess import Preprocess, fit_preprocess, random_box, scale_box
from plusx.data.randomness import derive_seed
from plusx.data.sources import NAMES, Source, load_source
from plusx.engine.evaluation import measure, placement_after, placement_of
from plusx.engine.events import DivergedError, Event, StoppedError
from plusx.engine.losses import make_loss
from plusx.engine.optim import set_multiplier
from plusx.engine.schedule import multiplier
from plusx.engine.speed import chosen_placement
from plusx.engine.state import Clock, TrainState, average, averaged, fresh_state, keep_best, restore, save
from plusx.engine.step import captured_step, train_step
from plusx.nets import build, entry, require_input
from plusx.placement.choose import Choice
from plusx.placement.machine import accelerator, describe, peak_memory_bytes, require_one_process
from plusx.placement.place import Placement
from plusx.recipes import Recipe, override_all, recipe_for
from plusx.recipes.augment import Augment, ColorNoise, FlipLR, Progressive, RandomCrop, RandomResizedCrop, ScaleCrop
from plusx.recipes.net import NetSpec
from plusx.recipes.schedule import Plateau
from plusx.report.run import write_report
from plusx.runs.card import Card
from plusx.runs.files import free_path
from plusx.runs.images import last_data_dir, splits_of, write_images
from plusx.runs.metrics import Measurement
from plusx.runs.store import Run, create_run, read_card, reopen_run, require_free
from plusx.weights.convert import find_weights, starting_weights
from plusx.weights.layouts import Translation

Watcher = Callable[[Event], None]
SHOWN_SECONDS = 0.5
"""A watcher hears of the steps this often where no loss is recorded, so that what it shows moves."""


@dataclass(frozen=True, repr=False)
class Trained:
    """A finished run."""

    run: Path
    card: Card

    def __repr__(self) -> str:
        return f"<Trained {self.run}: {self.card.in_words}>"


def fit(
    state: TrainState,
    recipe: Recipe,
    batches: TrainBatches,
    parts: Mapping[str, EvalBatches],
    placement: Placement,
    run: Run,
    *,
    watch: Watcher | None,
    should_stop: Callable[[], bool] | None,
) -> None:
    """The loop: from the state's step to the recipe's last."""
    total, shown = recipe.total_steps(len(batches.images)), 0.0
    evaluations = recipe.evaluations(len(batches.images), sum(len(view.images) for view in parts.values()))

    def show(
        loss: float | None = None, images_per_s: float | None = None, measurements: Iterable[Measurement] = ()
    ) -> None:
        nonlocal shown
        shown = time.monotonic()
        if watch:
            per_epoch = len(batches.images) / recipe.batch_size
            watch(Event(state.step, total, loss, images_per_s, tuple(measurements), steps_per_epoch=per_epoch))

    loss_fn, clock = make_loss(recipe.loss), Clock(state)

    def learn(x_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        return train_step(state.net, state.optimizer, loss_fn, recipe.penalty, x_BCHW, labels_B, placement)

    step = captured_step(learn, state.net, state.optimizer, placement)
    for x_BCHW, labels_B in batches.steps(state.step, total, workers=recipe.data.workers):
        rate = multiplier(recipe.schedule, state.step, total, warmup=recipe.warmup, val_errors=state.val_errors)
        set_multiplier(state.optimizer, rate)
        torch.manual_seed(derive_seed(recipe.seed, "step", state.step))  # for dropout and its kin
        loss = step(x_BCHW, labels_B)
        state.loss_sum += loss
        state.not_captured = step.refused
        state.step += 1
        average(state, recipe.averaging)
        last, record = state.step == total, state.step % recipe.log_every == 0
        stopping = should_stop is not None and should_stop() and not last
        saving = last or stopping or clock.since_save() >= recipe.save_seconds
        if record or saving or placement.reads_are_free:  # elsewhere .item() would stall the device every step
            _require_finite(loss.item(), state)
        clock.stepped()
        if record:
            mean = state.loss_sum.item() / recipe.log_every
            run.log(state.step, _pace(mean, state.optimizer), seconds=state.seconds)
            show(mean, clock.images_per_s(recipe.batch_size))
            state.loss_sum.zero_()
        elif time.monotonic() - shown > SHOWN_SECONDS:
            show()
        if state.step * evaluations // total > (state.step - 1) * evaluations // total:
            with averaged(state):
                found = _measure(state, recipe, parts, placement)
                keep_best(state, recipe, found)
            clock.evaluated()
            run.log(state.step, found, seconds=state.seconds)
            show(measurements=found)
        if saving:
            save(state, run)
            clock.saved()
        if stopping:
            raise StoppedError(
                f"stopped at step {state.step:,} of {total:,}", f"resume with: plusx train --resume {run.path}"
            )


def train(
    data: str | Path,
    *,
    recipe: str | Recipe | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
    watch: Watcher | None = None,
    on_scan: Callable[[int, int], None] | None = None,
    on_choice: Callable[[Choice], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train a net and leave a run directory.

    Args:
        data: digits, cifar10, cifar100, or a folder of class folders.
        recipe: A recipe or its name; the data's own if not given.
        out: Run directory, new or empty; a free name under runs/ if not given.
        seed: In place of the recipe's.
        overrides: Recipe fields to change, as `{"optim.lr": 0.05, "optim.nesterov": "true"}`: values or their text.
        data_dir: Where CIFAR lies.
        download: Fetch CIFAR into `data_dir`, and published weights into their cache, when they are not there.
        watch: Called with progress.
        on_scan: Called with the files read and the files in all, while a folder is read.
        on_choice: Called with where the run will run, and what else was measured.
        should_stop: Asked after every step; when true, a resume point is written and `StoppedError` raised.

    Raises:
        ValueError: Something that was asked for does not exist or does not fit.
        StoppedError: The run ended early, for a reason that the message names.

    Example:
        >>> from plusx.recipes import digits
        >>> trained = train("digits", recipe=digits().smoke(), out="runs/digits")
        >>> trained.card.results["steps"]
        6
    """

    require_one_process()

    def chosen(num_train: int) -> Recipe:
        result = recipe if isinstance(recipe, Recipe) else recipe_for(str(data), recipe, num_train)
        return override_all(result, {**(overrides or {}), **({} if seed is None else {"seed": seed})})

    provisional = chosen(1)  # what is misspelt or in the way stops here, before any data is read
    placement = placement_of(provisional)
    with torch.device("meta"):
        build(provisional.net.name, **provisional.net.options)
    if provisional.net.weights is not None:
        find_weights(provisional.net.weights, provisional.net.name, download=download)
    if out is not None:
        require_free(Path(out))
    source = load_source(
        str(data),
        data_dir=Path(data_dir) if data_dir else None,
        download=download,
        undecodable=provisional.data.undecodable,
        on_progress=on_scan,
    )
    final = chosen(len(source.splits["train"]))
    if final.net.weights is not None and (file := Path(final.net.weights).expanduser()).exists():
        # A resumed run may be started from another folder. A published name stays one.
        final = dataclasses.replace(final, net=dataclasses.replace(final.net, weights=str(file.resolve())))
    parts = splits_of(final, source.splits)
    require_every_class(parts["train"], final.data.train)
    if isinstance(final.schedule, Plateau) and "val" not in parts:
        raise ValueError("schedule is Plateau, which watches the validation error; set data.val")
    preprocess = _fit_preprocess(final, parts["train"])
    net_options = _net_options(final.net, parts["train"], preprocess)
    start = _start(final.net, net_options, parts["train"].class_names)
    net_options = dict(start.options) if start else net_options  # with what only the weights tell, such as the shortcut
    _require_inputs(final, net_options, preprocess)
    image = (preprocess.channels, *preprocess.size)
    choice = chosen_placement(final, net_options, image, final.total_steps(len(parts["train"])), placement)
    placement = choice.placement
    if on_choice:
        on_choice(choice)
    card = Card(
        recipe=final,
        net_options=net_options,
        class_names=parts["train"].class_names,
        preprocess=preprocess,
        source={
            "name": source.name,
            "data_dir": str(source.data_dir) if source.data_dir else None,
            "fingerprint": source.fingerprint,
            "images": {part: len(images) for part, images in parts.items()},
            "left_out": [f"{each.path}: {each.reason}" for each in source.left_out],
        },
        placement=placement.to_dict(),
        notes=start.notes if start else (),
    )
    with torch.random.fork_rng(devices=[]):
        state = fresh_state(card, placement, start, parts["train"])
        name = f"{Path(source.name).name}-{final.net.name}-seed{final.seed}"
        run = create_run(Path(out) if out else free_path(Path("runs") / name), card)
        write_images(run.path, source, parts)
        return _finish(run, state, parts, placement, watch=watch, should_stop=should_stop)


def resume(
    run: str | Path,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    watch: Watcher | None = None,
    on_scan: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Resume a run that was stopped or killed, to the same weights, bit for bit, as if it had not been.

    Args:
        run: Run directory.
        data_dir: Where its images lie now, if not where they lay: the folder itself, or the one that CIFAR is in.
        device: cpu, cuda or mps, in place of the one that it began on; the weights then differ in their last bits.
        watch: Called with progress.
        on_scan: Called with how many files of a folder were read, and how many there are.
        should_stop: As for `train`.

    Raises:
        ValueError: The directory is no unfinished run, its images are gone or have changed, or this machine lacks the
            device that it began on.
        StoppedError: As for `train`.
    """
    require_one_process()
    path = Path(run)
    card = read_card(path)
    if card.status == "finished":
        raise ValueError(f"{path} is finished; there is nothing to resume")
    placement = _placement_again(path, card, device)
    source = _source_again(path, card, Path(data_dir) if data_dir else None, on_scan)
    parts = splits_of(card.recipe, source.splits)
    opened, point = reopen_run(path)
    place = {"name": source.name, "data_dir": str(source.data_dir) if source.data_dir else None}
    opened.card = dataclasses.replace(
        opened.card, placement=placement.to_dict(), source={**opened.card.source, **place}
    )
    with torch.random.fork_rng(devices=[]):
        # A resume point holds all weights: those that the run began with may be gone.
        if point is None:
            start = _start(card.recipe.net, card.net_options, card.class_names)
            state = fresh_state(card, placement, start, parts["train"])
            write_images(path, source, parts)  # it may have died before they were written
        else:
            state = fresh_state(card, placement)
            restore(state, point)
        return _finish(opened, state, parts, placement, watch=watch, should_stop=should_stop)


def _placement_again(run: Path, card: Card, device: str | None) -> Placement:
    """Where a run goes on: as it began, or on another device that was asked for."""
    began = Placement.from_dict(card.placement)
    if device is not None and device != began.device:
        other = placement_after(card.recipe, device)
        reason = f"asked for when the run was resumed; it began on {began.device}"
        return dataclasses.replace(other, reasons={**other.reasons, "device": reason})
    if began.device not in ("cpu", accelerator()):
        raise ValueError(
            f"{run} began on {began.device}, which this machine lacks; resume it where it has one, or here with "
            f"--device cpu, which changes the last bits of the weights"
        )
    return began


def _source_again(run: Path, card: Card, data_dir: Path | None, on_scan: Callable[[int, int], None] | None) -> Source:
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
        on_progress=on_scan,
    )
    if source.fingerprint != card.source["fingerprint"]:
        raise ValueError(f"the images of {source.name} are not those that {run} began with; start a new run")
    return source


def make_augmentation(
    augment: Iterable[Augment], preprocess: Preprocess, progressive: Progressive | None = None, total: int = 0
) -> Augmentation:
    """The functions that a recipe's augmentations name, in their order.

    Args:
        augment: The recipe's.
        preprocess: What normalised the images that they will see.
        progressive: The recipe's.
        total: Steps of the run.
    """
    look = None
    by_epoch: list[Callable[..., Tensor]] = []
    change: list[Callable[..., Tensor]] = []
    for item in augment:
        match item:
            case RandomCrop(pad, mode):
                change.append(partial(random_crop, pad=pad, mode=mode))
            case FlipLR(alternate=True):
                by_epoch.append(alternating_flip)
            case FlipLR():
                change.append(flip_lr)
            case RandomResizedCrop(min_area, max_aspect):
                look = partial(random_box, min_area=min_area, max_aspect=max_aspect)
            case ScaleCrop(low, high):
                look = partial(scale_box, side=max(preprocess.size), low=low, high=high)
            case ColorNoise(std):
                change.append(partial(color_noise, std=std, scale_C11=preprocess.std_C11))
            case _:
                assert_never(item)
    if progressive is None:
        return Augmentation(look, tuple(change), tuple(by_epoch))
    smaller = partial(shrink, scale=progressive.scale, by=progressive.by)
    return Augmentation(look, tuple(change), tuple(by_epoch), smaller, round(progressive.until * total))


def _net_options(net: NetSpec, images: ImageSet, preprocess: Preprocess) -> dict[str, Any]:
    """All options of the builder: the recipe's, and those that the data decides."""
    decided = {"num_classes": len(images.class_names), "in_channels": images.channels}
    if "image_size" in inspect.signature(entry(net.name).builder).parameters:
        height, width = preprocess.size
        if height != width:
            raise ValueError(f"{net.name} takes square images; these are {height} x {width}")
        decided["image_size"] = height
    for option, value in decided.items():
        if (asked := net.options.get(option, value)) != value:
            raise ValueError(f"net.options.{option} is {asked!r}, but the data decides it: here it is {value}")
    return {**net.options, **decided}


def _start(net: NetSpec, options: Mapping[str, Any], class_names: Sequence[str]) -> Translation | None:
    if net.weights is None:
        return None
    return starting_weights(net.weights, net.name, class_names=class_names, **options)


def _fit_preprocess(recipe: Recipe, images: ImageSet) -> Preprocess:
    spec = recipe.preprocess
    cropping = [type(a).__name__ for a in recipe.augment if isinstance(a, RandomResizedCrop | ScaleCrop)]
    if images.pixels_NCHW is not None and cropping:
        raise ValueError(f"augment has {cropping[0]}, which is for image files; these images have one fixed size")
    if images.channels != 3 and any(isinstance(a, ColorNoise) for a in recipe.augment):
        raise ValueError(f"augment has ColorNoise, which is for RGB; channels of these images: {images.channels}")
    preprocess = fit_preprocess(
        images,
        size=spec.size,
        fit=spec.fit,
        crop_fraction=spec.crop_fraction,
        interpolation=spec.interpolation,
        normalize=spec.normalize,
    )
    for item in recipe.augment:
        if isinstance(item, ScaleCrop) and item.low < max(preprocess.size):
            raise ValueError(f"ScaleCrop.low is {item.low}; the input has {max(preprocess.size)} pixels")
        if isinstance(item, RandomCrop) and item.mode == "reflect" and item.pad >= min(preprocess.size):
            side = min(preprocess.size)
            raise ValueError(f"RandomCrop.pad is {item.pad}; images of {side} pixels reflect {side - 1} at most")
    return preprocess


def _require_inputs(recipe: Recipe, net_options: Mapping[str, Any], preprocess: Preprocess) -> None:
    """Raises ValueError when the net does not take images of the sizes that the run will have."""
    batch_size = recipe.batch_size if recipe.total_steps(1) else None  # with no step, nothing is trained
    require_input(recipe.net.name, net_options, (preprocess.channels, *preprocess.size), batch_size=batch_size)
    if recipe.progressive is not None:
        height, width = (shrunk_side(side, recipe.progressive.scale) for side in preprocess.size)
        require_input(recipe.net.name, net_options, (preprocess.channels, height, width), batch_size=batch_size)


def _measure(
    state: TrainState, recipe: Recipe, parts: Mapping[str, EvalBatches], placement: Placement
) -> list[Measurement]:
    """The numbers of every part, of the weights that the net has now."""
    flip = recipe.evaluation.flip
    return [m for part in parts for m in measure(state.net, parts[part], placement, part=part, flip=flip)]


def _finish(
    run: Run,
    state: TrainState,
    parts: Mapping[str, ImageSet],
    placement: Placement,
    *,
    watch: Watcher | None,
    should_stop: Callable[[], bool] | None,
) -> Trained:
    """Fit to the last step, then measure the kept weights, write them, the card and the report."""
    recipe, preprocess = run.card.recipe, run.card.preprocess
    if placement.holds(sum(images.size_bytes for images in parts.values())):
        parts = {part: images.to(placement.device) for part, images in parts.items()}
        preprocess = preprocess.to(placement.device)
    total = recipe.total_steps(len(parts["train"]))
    augmentation = make_augmentation(recipe.augment, preprocess, recipe.progressive, total)
    readers = 1 if recipe.data.workers else placement.threads
    batches = TrainBatches(parts["train"], preprocess, augmentation, recipe.batch_size, recipe.seed, readers)
    views = {
        part: EvalBatches(images, preprocess, recipe.evaluation.batch_size, recipe.data.workers, readers)
        for part, images in parts.items()
    }
    watched: dict[str, EvalBatches] = {part: view for part, view in views.items() if part in recipe.evaluation.parts}
    if watch:
        watch(Event(state.step, total, notes=(_split_in_words(run.card),)))
    try:
        fit(state, recipe, batches, watched, placement, run, watch=watch, should_stop=should_stop)
        if kept_weights := state.best_weights or state.average:
            state.net.load_state_dict(kept_weights)
        kept = {part: views[part] for part in views if part in watched or part == "test"}
        found = _measure(state, recipe, kept, placement)
        run.finish(state.net.state_dict(), _results(state, recipe, found))
        title = f"{recipe.net.name} on {Path(run.card.source['name']).name}"
        write_report([run.path], run.path / "report.html", title=title)
    except OSError as fault:
        raise StoppedError(
            f"cannot write to {run.path} at step {state.step:,}: {fault.strerror or fault}",
            f"its last resume point is whole: make room and resume with: plusx train --resume {run.path}",
        ) from None
    finally:
        run.close()
    return Trained(run.path, run.card)


def _split_in_words(card: Card) -> str:
    """How many images are for what, before the first step."""
    purposes = {"train": "to train on", "val": "held out for validation", "test": "for testing"}
    counts = [f"{count:,} {purposes[split]}" for split, count in card.source["images"].items()]
    return f"images: {'; '.join([', '.join(counts), *card.left_out])}"


def _results(state: TrainState, recipe: Recipe, found: Iterable[Measurement]) -> dict[str, Any]:
    measured = {m.name: m.value for m in found}
    accuracies = {
        name.replace("_error", "_accuracy"): 1 - value for name, value in measured.items() if name.endswith("_error")
    }
    return {
        "net": recipe.net.name,
        "params": sum(p.numel() for p in state.net.parameters()),
        "seed": recipe.seed,
        "steps": state.step,
        "kept_step": state.best_step if state.best_weights else state.step,
        **measured,
        **accuracies,
        "images_per_s": round(state.step * recipe.batch_size / max(state.step_seconds, 1e-9), 1),
        "seconds": round(state.seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(),
        **({"not_captured": state.not_captured} if state.not_captured else {}),
        "machine": describe(),
    }


def _require_finite(loss: float, state: TrainState) -> None:
    if not math.isfinite(loss):
        rate = state.optimizer.param_groups[0]["lr"]
        raise DivergedError(
            f"the loss is {loss} at step {state.step:,} with learning rate {rate:.3g}",
            "try a lower optim.lr (a third), a longer warmup, or placement.precision=fp32",
        )


def _pace(mean_loss: float, optimizer: torch.optim.Optimizer) -> list[Measurement]:
    return [
        Measurement("batch_loss", mean_loss, "nats"),
        Measurement("lr", float(optimizer.param_groups[0]["lr"]), "1"),
    ]

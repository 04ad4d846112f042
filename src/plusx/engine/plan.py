"""What was asked for, as the card of a run: every choice made, and refused here where it does not fit."""

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plusx.data.augment import require_fitting, shrunk_side
from plusx.data.balance import require_weights
from plusx.data.images import ImageSet, require_every_class
from plusx.data.preprocess import Preprocess, fit_preprocess, input_size
from plusx.data.sources import Source, load_source
from plusx.engine.events import Reading
from plusx.engine.freeze import parts
from plusx.engine.memory import fitted_to
from plusx.engine.speed import chosen_placement
from plusx.nets import build, entry, require_input
from plusx.nets.own import CODES, OBJECTS, Code, code_of, enter_object, is_own, named, require_output, taken
from plusx.placement.choose import Choice
from plusx.placement.place import Placement, choose_placement
from plusx.recipes import Recipe, override_all, recipe_for
from plusx.recipes.data import PreprocessSpec
from plusx.recipes.length import seconds_of
from plusx.recipes.net import NetSpec
from plusx.recipes.schedule import Plateau
from plusx.recipes.text import LENGTHS
from plusx.runs.card import Card
from plusx.runs.code import described
from plusx.runs.images import seen_by, splits_of, unseen
from plusx.runs.store import require_free
from plusx.weights.find import find_weights, net_of
from plusx.weights.presets import in_words
from plusx.weights.published import published_name
from plusx.weights.start import starting_weights
from plusx.weights.translate import Translation

log = logging.getLogger(__name__)

PRETRAINED = "pretrained"
"""In place of weights: those that are published of the net."""


@dataclass(frozen=True)
class Plan:
    """A run before its first step."""

    card: Card
    source: Source
    splits: Mapping[str, ImageSet]
    start: Translation | None
    """The weights that the net starts from; None draws them."""
    choice: Choice
    """Where it runs, and what else was measured."""
    note: str | None = None
    """What was decided for a limit of memory."""
    before: frozenset[str] = frozenset()
    """Content hashes of the images that the weights were trained on."""


def asked_for(
    data: str | os.PathLike[str],
    recipe: str | Recipe | None,
    overrides: Mapping[str, Any] | None,
    seed: int | None,
    weights: str | os.PathLike[str] | None = None,
    max_time: float | str | None = None,
) -> tuple[Recipe, frozenset[str]]:
    """The recipe that somebody asks for, and the fields of `preprocess` that they set themselves.

    In a recipe that is passed as an object, the fields that differ from the defaults count as set.

    Args:
        data: As for `train`.
        recipe: As for `train`.
        overrides: As for `train`.
        seed: As for `train`.
        weights: As for `train`.
        max_time: As for `train`.

    Raises:
        ValueError: A name or a key is unknown, or a value does not fit.
    """
    if isinstance(recipe, Recipe):
        began = recipe
    else:
        began = recipe_for(os.fspath(data), recipe, from_weights=weights is not None)
    changes = dict(overrides or {}) | ({} if seed is None else {"seed": seed})
    if max_time is not None:
        if other := [length for length in LENGTHS if length in changes]:
            raise ValueError(f"max_time and {other[0]} both say how long the run is; give one of them")
        if began.steps == 0:
            raise ValueError(f"max_time is {max_time}, but the recipe {began.name} takes no step; leave max_time out")
        changes["max_time"] = seconds_of(max_time) if isinstance(max_time, str) else max_time
    asked = override_all(began, changes)
    if (name := named(asked.net.name)) != asked.net.name:
        asked = override_all(asked, {"net.name": name})
    if weights is not None:
        if "net.weights" in changes:
            raise ValueError(f"net.weights is {changes['net.weights']}, but weights to start from are named as well")
        chosen = isinstance(recipe, Recipe) or not changes.keys().isdisjoint(("net", "net.name"))
        asked = override_all(asked, _started_from(os.fspath(weights), asked.net.name, chosen=chosen))
    mine = {key.removeprefix("preprocess.") for key in overrides or {} if key.startswith("preprocess.")}
    if "preprocess" in (overrides or {}):
        mine |= _set_fields(asked.preprocess)
    if isinstance(recipe, Recipe):
        mine |= _set_fields(recipe.preprocess)
    return asked, frozenset(mine)


def make_plan(
    data: str | os.PathLike[str],
    recipe: Recipe,
    preprocess_set: frozenset[str],
    *,
    out: Path | None,
    data_dir: Path | None,
    download: bool,
    download_weights: bool,
    progress: Callable[[Reading], None],
    memory: int | None = None,
) -> Plan:
    """Decide all that a run needs, from what was asked for and the data.

    Args:
        data: As for `train`.
        recipe: What was asked for.
        preprocess_set: The fields of `recipe.preprocess` that somebody set; the weights that the net starts from decide
            the others.
        out: As for `train`.
        data_dir: As for `train`.
        download: Whether CIFAR may be fetched.
        download_weights: Whether published weights may be fetched.
        progress: Called while a folder is read.
        memory: Bytes that the run may hold; None leaves the batch size as it is.

    Raises:
        ValueError: Something that was asked for does not exist or does not fit.
    """
    if recipe.steps == 0 and (memory is not None or recipe.evaluation.patience is not None):
        what = "memory" if memory is not None else "evaluation.patience"
        raise ValueError(f"{what} is for runs that take steps; the recipe {recipe.name} takes none: leave it out")
    rules = choose_placement(recipe.placement)  # what is misspelt or in the way stops here, before any data is read
    own = is_own(recipe.net.name)
    if own and recipe.net.weights is not None:
        raise ValueError(
            f"net.weights is {recipe.net.weights!r}, but weights are read for nets of the catalog only; load them into "
            "your net in Python, and pass it: plusx.train(data, net=net)"
        )
    if own and memory is not None:
        raise ValueError(f"memory measures nets of the catalog, and {recipe.net.name} is your own; set batch_size")
    if own:
        recipe, rules = _as_written(recipe, rules)
    else:
        with torch.device("meta"):
            parts(build(recipe.net.name, **recipe.net.options), recipe.net.freeze)
    if recipe.net.weights is not None:
        find_weights(recipe.net.weights, recipe.net.name, download=download_weights)
    elif recipe.net.fit_head:
        raise ValueError(
            "net.fit_head is true, but the net has no weights to start from: add --pretrained, or --from with a run, a "
            "file or published weights"
        )
    if out is not None:
        require_free(out)
    source = load_source(
        os.fspath(data),
        data_dir=data_dir,
        download=download,
        undecodable=recipe.data.undecodable,
        group=recipe.data.group,
        progress=lambda done, total: progress(Reading(done, total)),
    )
    recipe = _weights_where_they_lie(recipe.resolved(len(source.splits["train"])))
    before = seen_by(recipe.net.weights)
    splits, seen = unseen(splits_of(recipe, source.splits), before)
    images = splits["train"]
    require_every_class(images, recipe.data.train)
    if recipe.balance != "none":
        require_weights(images, recipe.balance, recipe.data.train)
    if isinstance(recipe.schedule, Plateau) and "val" not in splits:
        raise ValueError("schedule is Plateau, which watches the validation error; set data.val")
    if (patience := recipe.evaluation.patience) is not None:
        if "val" not in splits or "val" not in recipe.evaluation.splits:
            raise ValueError(
                f"evaluation.patience is {patience}, which watches the validation error; set data.val, and "
                "evaluation.splits with val"
            )
        if recipe.evaluation.keep != "best":
            raise ValueError(f"evaluation.patience is {patience}, which ends after the best; set evaluation.keep=best")
    net_options = _net_options(recipe, images)
    start, of_weights = None, None
    if recipe.net.weights is not None:
        begun = starting_weights(recipe.net.weights, recipe.net.name, class_names=images.class_names, **net_options)
        start, of_weights = begun.translation, begun.preprocess
        net_options = dict(start.options)  # with what only the weights tell, such as the shortcut
        recipe = _preprocessed_as(of_weights, recipe, preprocess_set, images)
    preprocess = fit_preprocess(images, recipe.preprocess, of_weights)
    require_fitting(recipe.augment, images, preprocess)
    image = (preprocess.channels, *preprocess.size)
    code = None
    if own:
        require_output(recipe.net.name, net_options, image, len(images.class_names))
        with torch.random.fork_rng(devices=[]):
            parts(build(recipe.net.name, **net_options), recipe.net.freeze)
        recipe, code = _with_code(recipe, net_options, image)
    else:
        _require_inputs(recipe, net_options, preprocess)
    total = recipe.total_steps(len(images)) if recipe.max_time is None else None
    choice = chosen_placement(recipe, net_options, image, total, rules)
    note, notes = None, (*start.notes, *_prepared(recipe, preprocess)) if start else ()
    if memory is not None:
        recipe, note = fitted_to(recipe, memory, net_options, image, choice.placement)
        notes = (*notes, note)
    card = Card(
        recipe=recipe,
        net_options=net_options,
        class_names=images.class_names,
        preprocess=preprocess,
        source={
            "name": source.name,
            "data_dir": str(source.data_dir) if source.data_dir else None,
            "fingerprint": source.fingerprint,
            "images": {split: len(images) for split, images in splits.items()},
            "left_out": [f"{each.path}: {each.reason}" for each in source.left_out],
            **({"notes": [*source.notes, *seen]} if source.notes or seen else {}),
            **({"trained_before": known} if (known := len(before & set(images.digests or ()))) else {}),
        },
        placement=choice.placement.to_dict(),
        notes=notes,
        code=code,
    )
    return Plan(card, source, splits, start, choice, note, before)


def _as_written(recipe: Recipe, rules: Placement) -> tuple[Recipe, Placement]:
    """The recipe and the placement of a net that is a user's own: nothing takes its forward apart unless asked to.

    What it does beside computing tensors, such as drawing from Python's generator, a graph or a recording would freeze.
    """
    spec, why = recipe.placement, "a net of your own runs as it is written"
    changes: dict[str, Any] = {"kernels": "plain"} if spec.kernels == "auto" else {}
    changes |= {"choose": "rules"} if spec.choose == "auto" else {}
    reasons = {**rules.reasons, "capture": why, **({"kernels": why} if spec.kernels == "auto" else {})}
    rules = dataclasses.replace(rules, kernels=changes.get("kernels", rules.kernels), capture=False, reasons=reasons)
    return dataclasses.replace(recipe, placement=dataclasses.replace(spec, **changes)), rules


def _with_code(
    recipe: Recipe, net_options: Mapping[str, Any], image: tuple[int, int, int]
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe under the name that a net of one's own has by its code, and what the card says of that."""
    name = recipe.net.name
    if (passed := OBJECTS.get(name)) is None:
        return recipe, described(CODES[name], name, as_object=False)
    code = code_of(passed, net_options, image)
    if isinstance(code, Code):
        CODES[code.name] = code
        enter_object(code.name, passed)
        recipe = dataclasses.replace(recipe, net=dataclasses.replace(recipe.net, name=code.name))
    return recipe, described(code, name, as_object=True)


def _started_from(weights: str, net: str, *, chosen: bool) -> dict[str, str]:
    """The overrides that have a net start from weights; the weights decide which net, where nobody has chosen it."""
    if weights == PRETRAINED:
        return {"net.weights": published_name(net)}
    return {"net.weights": weights, "net.name": net if chosen else net_of(weights) or net}


def _set_fields(spec: PreprocessSpec) -> set[str]:
    """The fields that differ from the defaults."""
    return {f.name for f in dataclasses.fields(spec) if getattr(spec, f.name) != f.default}


def _weights_where_they_lie(recipe: Recipe) -> Recipe:
    """The recipe with the absolute path of a file of weights: a run may be resumed from another folder."""
    weights = recipe.net.weights
    if weights is None or not (file := Path(weights).expanduser()).exists():
        return recipe
    return dataclasses.replace(recipe, net=dataclasses.replace(recipe.net, weights=str(file.resolve())))


def _preprocessed_as(
    weights: Preprocess | None, recipe: Recipe, set_by_user: frozenset[str], images: ImageSet
) -> Recipe:
    """The recipe with the preprocessing of the weights that its net starts from, where nobody set another."""
    if weights is None:
        return recipe
    height, width = weights.size
    theirs: dict[str, Any] = {
        "fit": weights.fit,
        "crop_fraction": weights.crop_fraction,
        "interpolation": weights.interpolation,
        "normalize": "weights",
    }
    if images.files is not None and height == width and not _has_a_fixed_size(recipe.net):
        theirs["size"] = height
    kept = {name: value for name, value in theirs.items() if name not in set_by_user}
    return dataclasses.replace(recipe, preprocess=dataclasses.replace(recipe.preprocess, **kept))


def _prepared(recipe: Recipe, preprocess: Preprocess) -> tuple[str, ...]:
    """The sentence on what was taken over from weights, if anything was; it is logged as well."""
    if recipe.preprocess.normalize != "weights":
        return ()
    note = f"images are prepared as these weights' were: {in_words(preprocess)}"
    log.warning("%s: %s", recipe.net.weights, note)
    return (note,)


def _has_a_fixed_size(net: NetSpec) -> bool:
    return entry(net.name).takes("image_size")


def _net_options(recipe: Recipe, images: ImageSet) -> dict[str, Any]:
    """All options of the builder: the recipe's, and those that the data decides."""
    net, decided = recipe.net, {"num_classes": len(images.class_names), "in_channels": images.channels}
    if _has_a_fixed_size(net):
        height, width = input_size(images, recipe.preprocess)
        if height != width:
            raise ValueError(f"{net.name} takes square images; these are {height} x {width}")
        decided["image_size"] = height
    if is_own(net.name):
        decided = taken(net.name, decided)
    for option, value in decided.items():
        if (asked := net.options.get(option, value)) != value:
            raise ValueError(f"net.options.{option} is {asked!r}, but the data decides it: here it is {value}")
    return {**net.options, **decided}


def _require_inputs(recipe: Recipe, net_options: Mapping[str, Any], preprocess: Preprocess) -> None:
    """Raises ValueError when the net does not take images of the sizes that the run will have."""
    batch_size = None if recipe.steps == 0 else recipe.batch_size  # with no step, nothing is trained
    require_input(recipe.net.name, net_options, (preprocess.channels, *preprocess.size), batch_size=batch_size)
    if recipe.accumulate > 1:
        _require_pieces(recipe, net_options, preprocess)
    if recipe.progressive is not None:
        height, width = (shrunk_side(side, recipe.progressive.scale) for side in preprocess.size)
        require_input(recipe.net.name, net_options, (preprocess.channels, height, width), batch_size=batch_size)


def _require_pieces(recipe: Recipe, net_options: Mapping[str, Any], preprocess: Preprocess) -> None:
    """Raises ValueError when a batch has fewer images than pieces, or when the net cannot be trained on a piece."""
    if recipe.accumulate > recipe.batch_size:
        raise ValueError(f"accumulate is {recipe.accumulate}; batch_size is {recipe.batch_size}, so it is that at most")
    try:
        piece = recipe.batch_size // recipe.accumulate
        require_input(recipe.net.name, net_options, (preprocess.channels, *preprocess.size), batch_size=piece)
    except ValueError:
        raise ValueError(
            f"accumulate is {recipe.accumulate}, which leaves {recipe.net.name} pieces of one image, too few for its "
            f"batch norm; batch_size is {recipe.batch_size}, so it is {recipe.batch_size // 2} at most"
        ) from None

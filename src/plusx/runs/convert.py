"""Other people's weights: a file, or published ones, to a net of ours, and to a run directory that every verb takes."""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from plusx.data.cifar import CLASS_NAMES
from plusx.data.preprocess import Preprocess
from plusx.nets import build as build_fresh
from plusx.nets import entry, require_input
from plusx.nets.weights import Translation, translate
from plusx.recipes import Recipe
from plusx.recipes.recipe import NetSpec, PlacementSpec
from plusx.runs.card import Card
from plusx.runs.checkpoint import read_checkpoint
from plusx.runs.presets import channelwise, in_words, preset_for
from plusx.runs.published import find_published, imagenet_class_names, is_published
from plusx.runs.store import create_run, free_path, read_card, require_free

CIFAR_SIDE = 32


class Weights(NamedTuple):
    """A file of weights, and what is known of them before it is read."""

    net: str
    """Catalog name."""
    file: Path
    options: Mapping[str, Any] = {}
    """Builder options that a run's card states."""
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Converted:
    """A run directory made of somebody's weights."""

    run: Path
    card: Card
    file: Path
    """Where the weights came from."""
    entry: str | None
    """The entry of the file that held them; None is the whole file."""
    translation: Translation
    """What became of each of their tensors."""

    @property
    def preprocess_in_words(self) -> str:
        return in_words(self.card.preprocess)


def convert(
    weights: str | Path,
    net: str | None = None,
    *,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    data: str | None = None,
    classes: str | Path | None = None,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    download: bool = False,
    progress: bool = False,
) -> Converted:
    """Make a run directory of somebody's weights, with the preprocessing that they were trained with.

    Args:
        weights: A file, a run directory, or published weights: torchvision:IMAGENET1K_V1, timm/resnet50.a1_in1k.
        net: Catalog name; a run directory and timm's names tell it.
        out: Run directory, new or empty; a free name under runs/ if not given.
        options: Builder options.
        data: cifar10 or cifar100: what they were trained on, which names the classes and is what `evaluate` measures.
        classes: File of the class names, one a line.
        size: Side of the input in pixels, in place of the preset's.
        mean: Of pixels / 255, one a channel, in place of the preset's.
        std: Of pixels / 255, one a channel, in place of the preset's.
        download: Fetch published weights that the cache lacks.
        progress: Show how far a download has come, on standard error.

    Raises:
        ValueError: The weights are not that net's, cannot be read safely, or nothing tells their preprocessing.

    Example:
        >>> import torchvision
        >>> torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), "theirs.pth")
        >>> converted = convert("theirs.pth", "resnet18", out="runs/theirs")
        >>> converted.translation.source, len(converted.translation.renamed), converted.card.preprocess.size
        ('torchvision', 122, (224, 224))
    """
    if out is not None:
        require_free(Path(out))
    if data is not None and data not in CLASS_NAMES:
        raise ValueError(
            f"data is {data!r}; choose {' or '.join(CLASS_NAMES)}, or name the classes with --classes FILE"
        )
    found = find_weights(str(weights), net, download=download, progress=progress)
    # Their authors measured in fp32; rounding to bf16 would move the error that they state.
    recipe = Recipe(
        "converted", NetSpec(found.net, dict(options or {})), steps=0, placement=PlacementSpec(precision="fp32")
    )
    checkpoint = read_checkpoint(found.file)
    translation = _translate(found, checkpoint.tensors, recipe.net.options)
    if any(not name.endswith("num_batches_tracked") for name in translation.missing):
        raise ValueError(
            f"{found.file} has no last layer of {translation.options['num_classes']} classes; leave num_classes out, "
            f"or train one: plusx train DATA --set net.name={found.net} --set net.weights={weights}"
        )
    with torch.random.fork_rng(devices=[]):
        built = _filled(found.net, translation)
    class_names = _class_names(found, translation, data, classes)
    preprocess = _preprocess(found, translation, data, size, mean, std)
    require_input(found.net, translation.options, (preprocess.channels, *preprocess.size))
    card = Card(
        recipe=recipe,
        net_options=translation.options,
        class_names=class_names,
        preprocess=preprocess,
        source={"name": data, "data_dir": None, "fingerprint": None, "images": {}, "left_out": []},
        placement={},
    )
    results = {
        "net": found.net,
        "params": sum(p.numel() for p in built.parameters()),
        "steps": 0,
        "source": translation.source,
        "weights": str(weights) if is_published(str(weights)) else found.file.name,
        "weights_sha256": _sha256(found.file),
        **{what: len(getattr(translation, what)) for what in ("matched", "renamed", "dropped", "missing")},
    }
    stem = re.sub(r"\W+", "-", str(weights)) if is_published(str(weights)) else Path(weights).stem
    run = Path(out) if out is not None else free_path(Path("runs") / f"{found.net}-{stem}")
    return Converted(run, _write(run, card, built.state_dict(), results), found.file, checkpoint.entry, translation)


def build(name: str, weights: str | Path | None = None, *, download: bool = False, **options: Any) -> nn.Module:
    """A net by name, with fresh weights or with somebody's.

    Args:
        name: Catalog name.
        weights: A file, a run directory or published weights, as for `convert`; None draws fresh ones from torch's
            global generator.
        download: Fetch published weights that the cache lacks.
        options: Keyword arguments of the builder. A `num_classes` other than the weights' gives a fresh last layer.

    Raises:
        ValueError: The name or an option is unknown, or the weights are not that net's or cannot be read safely.

    Example:
        >>> sum(p.numel() for p in build("resnet20", shortcut="B").parameters())
        272474
    """
    if weights is None:
        return build_fresh(name, **options)
    return _filled(name, starting_weights(weights, name, download=download, **options))


def starting_weights(weights: str | Path, net: str, *, download: bool = False, **options: Any) -> Translation:
    """The tensors of a file, a run directory or published weights, under the names of a net of ours.

    Args:
        weights: As for `convert`.
        net: Catalog name.
        download: Fetch published weights that the cache lacks.
        options: Builder options; a number of classes other than the weights' leaves their last layer out.

    Raises:
        ValueError: The weights are not that net's, or cannot be read safely.
    """
    found = find_weights(str(weights), net, download=download)
    return _translate(found, read_checkpoint(found.file).tensors, options)


def find_weights(weights: str, net: str | None = None, *, download: bool = False, progress: bool = False) -> Weights:
    """Where weights lie; a file is not read yet.

    Args:
        weights: As for `convert`.
        net: Catalog name; None where the weights tell it.
        download: Fetch published weights that the cache lacks.
        progress: Show how far a download has come, on standard error.

    Raises:
        ValueError: They are not there, or are of another net.
    """
    if net is not None:
        entry(net)
    path = Path(weights).expanduser()
    if is_published(weights) and not path.exists():
        published = find_published(weights, net, download=download, progress=progress)
        return Weights(published.net, published.file, {}, published.preprocess, published.class_names)
    file = path / "weights.safetensors" if (path / "card.json").is_file() else path
    if not file.exists():
        raise ValueError(f"no such file: {file}; published weights are torchvision:NAME or timm/NET.TAG")
    if file.name == "weights.safetensors" and (file.parent / "card.json").is_file():
        card = read_card(file.parent)
        own = card.recipe.net.name
        if net not in (None, own):
            raise ValueError(f"{file} are weights of {own}, not of {net}")
        return Weights(own, file, card.net_options, card.preprocess, card.class_names)
    if net is None:
        raise ValueError(f"nothing tells which net {file} is of; add --net NAME (`plusx nets` lists them)")
    return Weights(net, file)


def _translate(found: Weights, tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> Translation:
    try:
        translation = translate(found.net, tensors, **{**found.options, **options})
    except ValueError as fault:
        raise ValueError(f"{found.file}: {fault}") from None
    for name, value in translation.tensors.items():
        counter = name.endswith("num_batches_tracked")
        if not counter and not value.is_floating_point():
            raise ValueError(f"{found.file} was not loaded: {name} is {value.dtype}, not of floating point")
        if not counter and not value.isfinite().all():
            raise ValueError(f"{found.file} was not loaded: {name} holds values that are not finite")
    return translation


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _filled(name: str, translation: Translation) -> nn.Module:
    net = build_fresh(name, **translation.options)
    net.load_state_dict(translation.tensors, strict=False)  # what is missing keeps its fresh value
    return net


def _class_names(
    found: Weights, translation: Translation, data: str | None, classes: str | Path | None
) -> tuple[str, ...]:
    count = translation.options.get("num_classes", entry(found.net).num_classes)
    if classes is not None:
        try:
            lines = Path(classes).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise ValueError(f"cannot read class names from {classes}: {fault}") from None
        given, where = tuple(line.strip() for line in lines if line.strip()), str(classes)
    elif data is not None:
        given, where = CLASS_NAMES[data], data
    elif found.class_names is not None:
        given, where = found.class_names, str(found.file)
    elif count == 1000 and translation.source in ("torchvision", "timm"):
        given, where = imagenet_class_names(), "ImageNet"
    else:
        given, where = tuple(f"class {i}" for i in range(count)), ""
    if len(given) != count:
        raise ValueError(f"{where} names {len(given)} classes; the last layer of {found.file} has {count}")
    return given


def _preprocess(
    found: Weights,
    translation: Translation,
    data: str | None,
    size: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Preprocess:
    """What the weights come with, what their layout tells, and what was given, the last before all."""
    net, options = entry(found.net), translation.options
    channels = options.get("in_channels", net.input_shape[0])
    for what, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise ValueError(f"--{what} gives {len(values)} numbers; {found.net} takes {channels} channels here")
    if std is not None and not min(std) > 0:
        raise ValueError(f"--std is {', '.join(map(str, std))}; each must be more than 0")
    known = found.preprocess or preset_for(translation.source, found.net)
    if known is not None and known.channels != channels:
        known = None
    if known is None:
        if mean is None or std is None:
            raise ValueError(
                f"nothing tells how the pictures of {found.file} were normalised; give --mean and --std "
                f"({channels} numbers of pixels / 255 each), such as --mean {','.join(['0.5'] * channels)}"
            )
        side = options.get("image_size", net.input_shape[1])
        blank = torch.zeros(channels, 1, 1)
        known = Preprocess((side, side), blank, blank, "as given")
    if size is not None:
        if mean is None and known.mean_CHW.shape[1:] != (1, 1):
            raise ValueError("the mean is of each pixel and has a size of its own; with --size give --mean too")
        known = replace(known, size=(size, size))
    if data is not None and known.size != (CIFAR_SIDE, CIFAR_SIDE):
        raise ValueError(
            f"{data} has pictures of {CIFAR_SIDE} pixels and keeps them; these weights take {known.size[0]} "
            f"({known.obtained}): add --size {CIFAR_SIDE} if they were trained on that"
        )
    if mean is not None or std is not None:
        which = "as given" if mean and std else f"{'mean' if mean else 'deviation'} as given, the rest {known.obtained}"
        given = channelwise(known.size[0], mean or [0.0] * channels, std or [1.0] * channels, which)
        known = replace(
            known,
            mean_CHW=given.mean_CHW if mean else known.mean_CHW,
            std_C11=given.std_C11 if std else known.std_C11,
            obtained=which,
        )
    return known


def _write(path: Path, card: Card, weights: Mapping[str, Tensor], results: Mapping[str, Any]) -> Card:
    """A finished run directory, written aside and renamed: there is a whole one or none."""
    aside = path.with_name(f".{path.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        run = create_run(aside, card)
        try:
            run.finish(weights, results)
        finally:
            run.close()
        if path.exists():
            path.rmdir()  # it is empty; Windows renames onto nothing that exists
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return run.card

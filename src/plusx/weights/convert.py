"""Somebody's weights, a file or published ones, as a run directory that every verb takes."""

import re
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plusx.data.cifar import CLASS_NAMES
from plusx.data.preprocess import Preprocess
from plusx.nets import entry as catalog_entry
from plusx.nets import require_input
from plusx.recipes import Recipe
from plusx.recipes.net import NetSpec
from plusx.recipes.placement import PlacementSpec
from plusx.runs.card import Card, told_apart
from plusx.runs.files import free_path
from plusx.runs.store import create_run, require_free
from plusx.weights.find import find_weights
from plusx.weights.identify import Identified, identify
from plusx.weights.presets import IMAGENET_MEAN, IMAGENET_STD, TRANSFORMED, channelwise, in_words
from plusx.weights.published import imagenet_class_names, is_published
from plusx.weights.reading import sha256
from plusx.weights.start import filled
from plusx.weights.translate import Translation

CIFAR_SIDE = 32


@dataclass(frozen=True)
class Converted:
    """A run directory that was made from somebody's weights."""

    run: Path
    card: Card
    file: Path
    """Where the weights came from."""
    entry: str | None
    """The entry of the file that held them; None is the whole file."""
    others: tuple[str, ...]
    """Other entries of the file that hold as much."""
    translation: Translation
    """What became of each of their tensors."""

    def __repr__(self) -> str:
        return f"<Converted {self.run} from {self.file}: {self.card.in_words}>"

    @property
    def preprocess_in_words(self) -> str:
        return in_words(self.card.preprocess)


def convert(
    weights: str | Path,
    net: str | None = None,
    *,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    entry: str | None = None,
    prefix: str | None = None,
    data: str | None = None,
    classes: str | Path | None = None,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    download: bool = False,
    progress: bool = True,
) -> Converted:
    """Make a run directory from somebody's weights, with the preprocessing that they were trained with.

    Args:
        weights: A file, a run directory, or published weights: torchvision:IMAGENET1K_V1, timm/resnet50.a1_in1k.
        net: Catalog name; None where a run directory or a name of timm's tells it.
        out: Run directory, new or empty; None takes a free name under runs/.
        options: Builder options; and `padding`, behind or both: where the zeros of option A's shortcuts lie, which no
            tensor shows.
        entry: Entry of the file to take, such as model_ema, where it has several.
        prefix: Take the tensors whose names begin with it, such as `teacher.`, where there are several nets.
        data: cifar10 or cifar100: what they were trained on, which names the classes and is what `evaluate` measures.
        classes: File of the class names, one a line in the order of the last layer; or imagenet, for its 1,000.
        size: Side of the input in pixels; overrides what the weights come with, as mean and std do.
        mean: Mean of pixels / 255, one number a channel.
        std: Standard deviation of pixels / 255, one number a channel.
        download: Fetch published weights that the cache lacks.
        progress: Show how far a download has come, where standard error is a terminal.

    Raises:
        ValueError: The weights are not that net's or cannot be read safely, or nothing tells their preprocessing.

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
    where = find_weights(str(weights), net, download=download, progress=progress and sys.stderr.isatty())
    net = where.net
    options = dict(options or {})
    padding = options.pop("padding", None)
    if options.get("num_classes") == 0:
        raise ValueError(f"a run names classes; for features alone, plusx.build({net!r}, WEIGHTS, num_classes=0)")
    # Their authors measured in fp32; rounding to bf16 would move the error that they state.
    recipe = Recipe("converted", NetSpec(net, options), steps=0, placement=PlacementSpec(precision="fp32"))
    theirs = identify(where, options, entry=entry, prefix=prefix, padding=padding)
    translation = theirs.translation
    if any(not name.endswith("num_batches_tracked") for name in translation.missing):
        count = options.get("num_classes")
        raise ValueError(
            f"{theirs.file} has no last layer{f' of {count} classes; leave num_classes out' if count else ''}, or "
            f"train one: plusx train DATA --set net.name={net} --set net.weights={weights}"
        )
    class_names, unnamed = _class_names(theirs, data, classes)
    preprocess = _preprocess(theirs, data, size, mean, std)
    require_input(net, translation.options, (preprocess.channels, *preprocess.size))
    with torch.random.fork_rng(devices=[]):
        built = filled(net, translation)
    card = Card(
        recipe=recipe,
        net_options=translation.options,
        class_names=class_names,
        preprocess=preprocess,
        source={"name": data, "data_dir": None, "fingerprint": None, "images": {}, "left_out": []},
        placement={},
        notes=(*translation.notes, *unnamed),
    )
    results = {
        "net": net,
        "params": sum(p.numel() for p in built.parameters()),
        "steps": 0,
        "source": translation.source,
        "weights": str(weights) if is_published(str(weights)) else theirs.file.name,
        "weights_sha256": sha256(theirs.file),
        "entry": theirs.entry,
        "prefix": translation.prefix,
        "matched": len(translation.matched),
        "renamed": len(translation.renamed),
        "dropped": len(translation.dropped),
        "missing": len(translation.missing),
    }
    stem = re.sub(r"\W+", "-", str(weights)) if is_published(str(weights)) else Path(weights).stem
    run = Path(out) if out is not None else free_path(Path("runs") / f"{net}-{stem}")
    card = _write(run, card, built.state_dict(), results)
    return Converted(run, card, theirs.file, theirs.entry, theirs.others, translation)


def _class_names(
    theirs: Identified, data: str | None, classes: str | Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One name a class, and a note where nothing names them."""
    count = theirs.translation.options.get("num_classes", catalog_entry(theirs.net).num_classes)
    if classes is not None:
        class_names, where = _named_in(Path(classes)), str(classes)
    elif data is not None:
        class_names, where = CLASS_NAMES[data], data
    elif theirs.class_names is not None:
        class_names, where = told_apart(theirs.class_names), str(theirs.file)
    else:
        imagenet = "; or with --classes imagenet, if they are its 1,000" if count == 1000 else ""
        return tuple(f"class {i}" for i in range(count)), (
            f"nothing names the {count:,} classes of the weights; name them with --classes FILE, one a line in the "
            f"order of the last layer{imagenet}",
        )
    if len(class_names) != count:
        raise ValueError(f"{where} names {len(class_names)} classes; the last layer of {theirs.file} has {count}")
    return class_names, ()


def _named_in(file: Path) -> tuple[str, ...]:
    """The class names of a file."""
    if str(file) == "imagenet" and not file.exists():
        return imagenet_class_names()
    try:
        text = unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"cannot read class names from {file}: {fault}") from None
    class_names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if twice := [name for name, count in Counter(class_names).items() if count > 1]:
        places = " and ".join(str(place) for place, name in enumerate(class_names, start=1) if name == twice[0])
        raise ValueError(f"{file} has one name for several classes: {twice[0]!r} is number {places}")
    return class_names


def _preprocess(
    theirs: Identified,
    data: str | None,
    size: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Preprocess:
    """What the weights come with, or what their layout tells; size, mean and std override it."""
    channels = theirs.channels
    for what, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise ValueError(f"--{what} gives {len(values)} numbers; {theirs.net} takes {channels} channels here")
    if std is not None and not min(std) > 0:
        raise ValueError(f"--std is {', '.join(map(str, std))}; each must be more than 0")
    if not theirs.normalisation_is_known and (mean is None or std is None):
        raise ValueError(_which_normalisation(theirs.file))
    known = theirs.preprocess
    if known is None:
        if mean is None or std is None:
            raise ValueError(
                f"nothing tells how the images of {theirs.file} were normalised; give --mean and --std "
                f"({channels} numbers of pixels / 255 each), such as --mean {','.join(['0.5'] * channels)}"
            )
        side = theirs.translation.options.get("image_size", catalog_entry(theirs.net).input_shape[1])
        blank = torch.zeros(channels, 1, 1)
        known = Preprocess((side, side), blank, blank, "as given")
    if size is not None:
        if mean is None and known.mean_CHW.shape[1:] != (1, 1):
            raise ValueError("the mean is of each pixel and has a size of its own; with --size give --mean too")
        known = replace(known, size=(size, size))
    if data is not None and known.size != (CIFAR_SIDE, CIFAR_SIDE):
        raise ValueError(
            f"{data} has images of {CIFAR_SIDE} pixels and keeps them; these weights take {known.size[0]} "
            f"({known.obtained}): add --size {CIFAR_SIDE} if they were trained on that"
        )
    if mean is not None or std is not None:
        which = "as given" if mean and std else f"{'mean' if mean else 'deviation'} as given, the rest {known.obtained}"
        override = channelwise(known.size[0], mean or [0.0] * channels, std or [1.0] * channels, which)
        known = replace(
            known,
            mean_CHW=override.mean_CHW if mean else known.mean_CHW,
            std_C11=override.std_C11 if std else known.std_C11,
            obtained=which,
        )
    return known


def _which_normalisation(file: Path) -> str:
    """Refuses torchvision's GoogLeNet where nobody says whether it transformed its input."""
    ways = (
        (TRANSFORMED.mean, TRANSFORMED.std, "with published weights"),
        (IMAGENET_MEAN, IMAGENET_STD, "at random"),
    )
    listed = ", or ".join(
        f"--mean {','.join(map(str, mean))} --std {','.join(map(str, std))} if their training began {when}"
        for mean, std, when in ways
    )
    return (
        f"nothing tells whether {file} belongs to a googlenet with transform_input, which torchvision switches on for "
        f"published weights alone; give {listed}"
    )


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

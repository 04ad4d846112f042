"""Other people's weights: a file, or published ones, to a net of ours, and to a run directory that every verb takes."""

import hashlib
import importlib.util
import logging
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from plusx.data.cifar import CLASS_NAMES
from plusx.data.preprocess import Preprocess
from plusx.nets import build as build_fresh
from plusx.nets import entry as catalog_entry
from plusx.nets import names, require_input
from plusx.recipes import Recipe
from plusx.recipes.net import NetSpec
from plusx.recipes.placement import PlacementSpec
from plusx.runs.card import Card, told_apart
from plusx.runs.files import free_path
from plusx.runs.store import create_run, read_card, require_free
from plusx.weights.layouts import Padding, Translation, translate, with_classes
from plusx.weights.presets import IMAGENET_MEAN, IMAGENET_STD, TRANSFORMED, channelwise, in_words, preset_for
from plusx.weights.published import find_published, imagenet_class_names, is_published, recognised
from plusx.weights.reading import Checkpoint, read_checkpoint

CIFAR_SIDE = 32
log = logging.getLogger(__name__)


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
    progress: bool = False,
) -> Converted:
    """Make a run directory of somebody's weights, with the preprocessing that they were trained with.

    Args:
        weights: A file, a run directory, or published weights: torchvision:IMAGENET1K_V1, timm/resnet50.a1_in1k.
        net: Catalog name; a run directory and timm's names tell it.
        out: Run directory, new or empty; a free name under runs/ if not given.
        options: Builder options; and `padding`, behind or both: where the zeros of option A's shortcuts lie, which no
            tensor shows.
        entry: Entry of the file to take, such as model_ema, where it has several.
        prefix: Take the tensors whose names begin with it, such as `teacher.`, where there are several nets.
        data: cifar10 or cifar100: what they were trained on, which names the classes and is what `evaluate` measures.
        classes: File of the class names, one a line in the order of the last layer; or imagenet, for its 1,000.
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
    given = dict(options or {})
    padding = given.pop("padding", None)
    if given.get("num_classes") == 0:
        raise ValueError(f"a run names classes; for features alone, plusx.build({found.net!r}, WEIGHTS, num_classes=0)")
    # Their authors measured in fp32; rounding to bf16 would move the error that they state.
    recipe = Recipe("converted", NetSpec(found.net, given), steps=0, placement=PlacementSpec(precision="fp32"))
    found, checkpoint, translation = _read(found, given, entry, prefix, padding)
    if any(not name.endswith("num_batches_tracked") for name in translation.missing):
        count = given.get("num_classes")
        raise ValueError(
            f"{found.file} has no last layer{f' of {count} classes; leave num_classes out' if count else ''}, or train "
            f"one: plusx train DATA --set net.name={found.net} --set net.weights={weights}"
        )
    class_names, unnamed = _class_names(found, translation, data, classes)
    preprocess = _preprocess(found, translation, data, size, mean, std)
    require_input(found.net, translation.options, (preprocess.channels, *preprocess.size))
    with torch.random.fork_rng(devices=[]):
        built = _filled(found.net, translation)
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
        "net": found.net,
        "params": sum(p.numel() for p in built.parameters()),
        "steps": 0,
        "source": translation.source,
        "weights": str(weights) if is_published(str(weights)) else found.file.name,
        "weights_sha256": _sha256(found.file),
        "entry": checkpoint.entry,
        "prefix": translation.prefix,
        **{what: len(getattr(translation, what)) for what in ("matched", "renamed", "dropped", "missing")},
    }
    stem = re.sub(r"\W+", "-", str(weights)) if is_published(str(weights)) else Path(weights).stem
    run = Path(out) if out is not None else free_path(Path("runs") / f"{found.net}-{stem}")
    card = _write(run, card, built.state_dict(), results)
    return Converted(run, card, found.file, checkpoint.entry, checkpoint.others, translation)


def build(name: str, weights: str | Path | None = None, *, download: bool = False, **options: Any) -> nn.Module:
    """A net by name, with fresh weights or with somebody's.

    Args:
        name: Catalog name.
        weights: A file, a run directory or published weights, as for `convert`; None draws fresh ones from torch's
            global generator.
        download: Fetch published weights that the cache lacks.
        options: Keyword arguments of the builder, and `entry`, `prefix` and `padding` as for `convert`. A
            `num_classes` other than the weights' gives a fresh last layer, 0 gives none.

    Raises:
        ValueError: The name or an option is unknown, or the weights are not that net's or cannot be read safely.

    Example:
        >>> sum(p.numel() for p in build("resnet20", shortcut="B").parameters())
        272474
    """
    if weights is None:
        return build_fresh(name, **options)
    return _filled(name, starting_weights(weights, name, download=download, **options))


def starting_weights(
    weights: str | Path,
    net: str,
    *,
    class_names: Sequence[str] | None = None,
    download: bool = False,
    entry: str | None = None,
    prefix: str | None = None,
    padding: Padding | None = None,
    **options: Any,
) -> Translation:
    """The tensors of a file, a run directory or published weights, under the names of a net of ours.

    Rows of the last layer go to classes by their names. Where the weights name other classes, or none, the last layer
    is left out and a new one begins; what was assumed or left out is logged, and is in the notes of the translation.

    Args:
        weights: As for `convert`.
        net: Catalog name.
        class_names: Of the classes that the net will tell apart; None keeps the last layer as it is.
        download: Fetch published weights that the cache lacks.
        entry: As for `convert`.
        prefix: As for `convert`.
        padding: As for `convert`.
        options: Builder options; a number of classes other than the weights' leaves their last layer out.

    Raises:
        ValueError: The weights are not that net's, or cannot be read safely.
    """
    found = find_weights(str(weights), net, download=download)
    found, _, translation = _read(found, options, entry, prefix, padding)
    if class_names is not None:
        translation = _by_name(translation, found.class_names, class_names)
    elif "num_classes" not in options and set(translation.last_layers) - set(translation.tensors):
        translation = _noted(translation, "there is no last layer, so a new one begins")
    for note in translation.notes:
        log.warning("%s: %s", weights, note)
    return translation


def _by_name(translation: Translation, theirs: Sequence[str] | None, ours: Sequence[str]) -> Translation:
    """A translation whose last layer has our classes in our order, or none where the weights do not name them."""
    if set(translation.last_layers) - set(translation.tensors):
        return translation  # it has another number of classes, or there is none: a new one begins
    wanted = told_apart(ours)
    if theirs is None:
        keep = "to keep theirs, convert the file with --classes FILE and start from that run"
        note = f"nothing names its {len(wanted)} classes, so a new last layer begins; {keep}"
        return _noted(with_classes(translation, None), note)
    rows = {name: row for row, name in enumerate(told_apart(theirs))}
    if rows.keys() == set(wanted):
        return with_classes(translation, [rows[name] for name in wanted])
    others = next(name for name in wanted if name not in rows)
    note = f"its {len(wanted)} classes are others ({others!r} is none of them), so a new last layer begins"
    return _noted(with_classes(translation, None), note)


def _noted(translation: Translation, note: str) -> Translation:
    return replace(translation, notes=(*translation.notes, note))


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
        catalog_entry(net)
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


def _read(
    found: Weights, options: Mapping[str, Any], entry: str | None, prefix: str | None, padding: Padding | None
) -> tuple[Weights, Checkpoint, Translation]:
    """A file's tensors under our names; and of the file, what its publisher or it itself says."""
    checkpoint = read_checkpoint(found.file, entry)
    _require_net(found, checkpoint)
    given = {**found.options, **options}
    try:
        translation = translate(found.net, checkpoint.tensors, prefix=prefix, padding=padding, **given)
    except ValueError as fault:
        also = f"; these are of its entry {checkpoint.entry!r}, and it also has {', '.join(checkpoint.others)}: choose"
        raise ValueError(f"{found.file}: {fault}{f'{also} with --entry' if checkpoint.others else ''}") from None
    theirs = {ours: name for name, ours in translation.renamed.items()}
    for name, value in translation.tensors.items():
        counter, called = name.endswith("num_batches_tracked"), theirs.get(name, name)
        if not counter and not value.is_floating_point():
            raise ValueError(f"{found.file} was not loaded: {called} is {value.dtype}, not of floating point")
        if not counter and not value.isfinite().all():
            raise ValueError(f"{found.file} was not loaded: {called} holds values that are not finite")
    if found.preprocess is None:  # a file alone
        if published := recognised(found.file, found.net, _sha256(found.file)):
            found = found._replace(preprocess=published.preprocess, class_names=published.class_names)
        else:
            found = found._replace(class_names=checkpoint.class_names)
    return found, checkpoint, translation


def _require_net(found: Weights, checkpoint: Checkpoint) -> None:
    """Raises ValueError where the file says that it is of another net; names that nobody knows say nothing."""
    for said in checkpoint.nets:
        # timm/resnet50.a1_in1k and hf_hub:timm/tv_resnet50 are resnet50; authors call resnet18_cifar resnet18 too.
        plain = re.split("[/:]", said)[-1].partition(".")[0].lower()
        plain = re.sub(r"^(tv|gluon|ssl|swsl|ig)_|_v1b$", "", plain)
        if plain not in (found.net, found.net.removesuffix("_cifar")) and _is_known(plain):
            absent = "" if plain in names() else ", and which plusx does not have"
            raise ValueError(f"{found.file} says that it is of {said}, which is another net than {found.net}{absent}")


def _is_known(net: str) -> bool:
    """Whether some library has a net of that name."""
    from torchvision import models

    if net in names() or net in models.list_models():
        return True
    if importlib.util.find_spec("timm") is None:
        families = "resnet|resnext|resnetaa|resnetblur|resnetrs|resnest|res2net|densenet|densenetblur|vgg|dpn"
        return re.fullmatch(rf"(se|legacy_se|sk|ecas?e?)?({families})\d+[a-z]*", net) is not None
    import timm

    return bool(timm.is_model(net))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _filled(name: str, translation: Translation) -> nn.Module:
    net = build_fresh(name, **translation.options)
    net.load_state_dict(translation.tensors, strict=False)  # what is missing keeps its fresh value
    return net


def _class_names(
    found: Weights, translation: Translation, data: str | None, classes: str | Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One name a class, and a note where nothing names them."""
    count = translation.options.get("num_classes", catalog_entry(found.net).num_classes)
    if classes is not None:
        given, where = _named_in(Path(classes)), str(classes)
    elif data is not None:
        given, where = CLASS_NAMES[data], data
    elif found.class_names is not None:
        given, where = told_apart(found.class_names), str(found.file)
    else:
        imagenet = "; or with --classes imagenet, if they are its 1,000" if count == 1000 else ""
        return tuple(f"class {i}" for i in range(count)), (
            f"nothing names the {count:,} classes of the weights; name them with --classes FILE, one a line in the "
            f"order of the last layer{imagenet}",
        )
    if len(given) != count:
        raise ValueError(f"{where} names {len(given)} classes; the last layer of {found.file} has {count}")
    return given, ()


def _named_in(file: Path) -> tuple[str, ...]:
    """The class names of a file."""
    if str(file) == "imagenet" and not file.exists():
        return imagenet_class_names()
    try:
        text = unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"cannot read class names from {file}: {fault}") from None
    given = tuple(line.strip() for line in text.splitlines() if line.strip())
    if twice := [name for name, count in Counter(given).items() if count > 1]:
        places = " and ".join(str(place) for place, name in enumerate(given, start=1) if name == twice[0])
        raise ValueError(f"{file} has one name for several classes: {twice[0]!r} is number {places}")
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
    net, options = catalog_entry(found.net), translation.options
    channels = options.get("in_channels", net.input_shape[0])
    for what, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise ValueError(f"--{what} gives {len(values)} numbers; {found.net} takes {channels} channels here")
    if std is not None and not min(std) > 0:
        raise ValueError(f"--std is {', '.join(map(str, std))}; each must be more than 0")
    known = found.preprocess or preset_for(translation.source, found.net)
    if found.preprocess is None and translation.source == "torchvision" and net.family == "googlenet":
        _require_told(found.file, mean, std)
    if known is not None and known.channels != channels:
        known = None
    if known is None:
        if mean is None or std is None:
            raise ValueError(
                f"nothing tells how the images of {found.file} were normalised; give --mean and --std "
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


def _require_told(file: Path, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Raises ValueError where nobody says whether torchvision's GoogLeNet transformed its input."""
    if mean is None or std is None:
        ways = (
            (TRANSFORMED.mean, TRANSFORMED.std, "with published weights"),
            (IMAGENET_MEAN, IMAGENET_STD, "at random"),
        )
        listed = ", or ".join(
            f"--mean {','.join(map(str, m))} --std {','.join(map(str, s))} if their training began {when}"
            for m, s, when in ways
        )
        raise ValueError(
            f"nothing tells whether {file} is of a googlenet with transform_input, which torchvision switches on for "
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

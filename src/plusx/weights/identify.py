"""What a file of weights is: a net of ours, its preprocessing and its classes.

The file itself, its publisher and its author's layout tell, in that order.
"""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plusx.data.preprocess import Preprocess
from plusx.nets import entry as catalog_entry
from plusx.nets import names
from plusx.weights.find import Weights
from plusx.weights.layouts import Padding
from plusx.weights.presets import preset_for
from plusx.weights.published import recognised
from plusx.weights.reading import Checkpoint, read_checkpoint, sha256
from plusx.weights.translate import Translation, translate


@dataclass(frozen=True)
class Identified:
    """A file of weights as a net of ours."""

    net: str
    """Catalog name."""
    file: Path
    entry: str | None
    """The entry of the file that held the tensors; None is the whole file."""
    others: tuple[str, ...]
    """Other entries of the file that hold as much."""
    translation: Translation
    preprocess: Preprocess | None
    """What their images went through; None where nothing tells, or where these have another number of channels."""
    normalisation_is_known: bool
    """Whether mean and standard deviation are sure; the crop of a preset may be when they are not."""
    class_names: tuple[str, ...] | None
    """In the order of the last layer; None where nothing names them."""

    @property
    def channels(self) -> int:
        """Channels of an image."""
        channels: int = self.translation.options.get("in_channels", catalog_entry(self.net).input_shape[0])
        return channels


def identify(
    weights: Weights,
    options: Mapping[str, Any],
    *,
    entry: str | None = None,
    prefix: str | None = None,
    padding: Padding | None = None,
) -> Identified:
    """Read a file of weights under the names of a net of ours.

    Args:
        weights: Of `find_weights`.
        options: Builder options; they override the card's.
        entry: Entry of the file to take, where it has several.
        prefix: Take the tensors whose names begin with it, where there are several nets.
        padding: Where the zeros of option A's shortcuts lie, which no tensor shows.

    Raises:
        ValueError: The weights are not that net's, cannot be read safely, or hold values that are not finite.
    """
    checkpoint = read_checkpoint(weights.file, entry)
    _require_net(weights, checkpoint)
    try:
        translation = translate(
            weights.net, checkpoint.tensors, prefix=prefix, padding=padding, **{**weights.options, **options}
        )
    except ValueError as fault:
        also = f"; these are of its entry {checkpoint.entry!r}, and it also has {', '.join(checkpoint.others)}: choose"
        raise ValueError(f"{weights.file}: {fault}{f'{also} with --entry' if checkpoint.others else ''}") from None
    _require_finite(weights.file, translation)
    preprocess, class_names = weights.preprocess, weights.class_names
    if preprocess is None:  # a file alone
        if published := recognised(weights.file, weights.net, sha256(weights.file)):
            preprocess, class_names = published.preprocess, published.class_names
        else:
            class_names = checkpoint.class_names
    identified = Identified(
        net=weights.net,
        file=weights.file,
        entry=checkpoint.entry,
        others=checkpoint.others,
        translation=translation,
        preprocess=preprocess or preset_for(translation.source, weights.net),
        # torchvision transforms the input of its GoogLeNet where training began with published weights, and only there.
        normalisation_is_known=preprocess is not None
        or (translation.source, catalog_entry(weights.net).family) != ("torchvision", "googlenet"),
        class_names=class_names,
    )
    if identified.preprocess is not None and identified.preprocess.channels != identified.channels:
        return replace(identified, preprocess=None)
    return identified


def _require_finite(file: Path, translation: Translation) -> None:
    theirs = {ours: name for name, ours in translation.renamed.items()}
    for name, value in translation.tensors.items():
        counter, called = name.endswith("num_batches_tracked"), theirs.get(name, name)
        if not counter and not value.is_floating_point():
            raise ValueError(f"{file} was not loaded: {called} is {value.dtype}, not of floating point")
        if not counter and not value.isfinite().all():
            raise ValueError(f"{file} was not loaded: {called} holds values that are not finite")


def _require_net(weights: Weights, checkpoint: Checkpoint) -> None:
    """Raises ValueError where the file says that it is of another net; names that nobody knows say nothing."""
    for said in checkpoint.nets:
        # timm/resnet50.a1_in1k and hf_hub:timm/tv_resnet50 are resnet50; authors call resnet18_cifar resnet18 too.
        plain = re.split("[/:]", said)[-1].partition(".")[0].lower()
        plain = re.sub(r"^(tv|gluon|ssl|swsl|ig)_|_v1b$", "", plain)
        if plain not in (weights.net, weights.net.removesuffix("_cifar")) and _is_known(plain):
            absent = "" if plain in names() else ", and which plusx does not have"
            raise ValueError(
                f"{weights.file} says that it is of {said}, which is another net than {weights.net}{absent}"
            )


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

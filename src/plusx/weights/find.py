"""Where weights lie, and what is known of them before they are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plusx.data.preprocess import Preprocess
from plusx.nets import entry
from plusx.runs.store import read_card
from plusx.weights.published import TIMM, find_published, is_published


@dataclass(frozen=True)
class Weights:
    """A file of weights, and what is known of them before it is read."""

    net: str
    """Catalog name."""
    file: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    """Builder options that a run's card states."""
    preprocess: Preprocess | None = None
    """What their publisher or their run's card states; None for a file alone."""
    class_names: tuple[str, ...] | None = None


def find_weights(weights: str, net: str | None = None, *, download: bool = False, progress: bool = False) -> Weights:
    """Where weights lie; no file of weights is read yet.

    Args:
        weights: A file, a run directory, or published weights: torchvision:IMAGENET1K_V1, timm/resnet50.a1_in1k.
        net: Catalog name; None where the weights tell it.
        download: Fetch published weights that the cache lacks.
        progress: Show how far a download has come, on standard error.

    Raises:
        ValueError: They are not there, or belong to another net.
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


def net_of(weights: str) -> str | None:
    """The net that weights are of, by catalog name, where their name or their run's card tells; else None.

    Args:
        weights: As for `find_weights`.

    Example:
        >>> net_of("timm/resnet50.a1_in1k"), net_of("torchvision:IMAGENET1K_V1")
        ('resnet50', None)
    """
    path = Path(weights).expanduser()
    folder = path if path.is_dir() else path.parent
    if (path.is_dir() or path.name == "weights.safetensors") and (folder / "card.json").is_file():
        return read_card(folder).recipe.net.name
    if weights.startswith(TIMM) and not path.exists():
        return weights.removeprefix(TIMM).partition(".")[0]
    return None

"""Weights that torchvision and timm publish, by name: from their own caches, fetched by their own loaders when asked.

Every file is held to its hash each time that it is used: torchvision writes the start of it into the file's name, and
the Hugging Face cache calls each file by it.
"""

import importlib.util
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch

from plusx.data.preprocess import Preprocess
from plusx.nets import entry
from plusx.runs.card import told_apart
from plusx.weights.presets import TRANSFORMED, channelwise
from plusx.weights.reading import sha256

log = logging.getLogger(__name__)

TORCHVISION, TIMM = "torchvision:", "timm/"


class Published(NamedTuple):
    """A file of published weights, and what its publisher says of it."""

    net: str
    """Catalog name."""
    file: Path
    preprocess: Preprocess
    class_names: tuple[str, ...] | None


def is_published(weights: str) -> bool:
    """Whether it is written as a name, torchvision:IMAGENET1K_V1 or timm/resnet50.a1_in1k."""
    return weights.startswith((TORCHVISION, TIMM))


def find_published(weights: str, net: str | None, *, download: bool = False, progress: bool = False) -> Published:
    """A file of published weights. Opens no connection unless `download` is set and the cache lacks it.

    Args:
        weights: torchvision:NAME or timm/NET.TAG.
        net: Catalog name; timm's names hold it.
        download: Fetch what the cache lacks.
        progress: Let the loader show how far a download has come, on standard error.

    Raises:
        ValueError: There are no such weights, they are not here, or the file is not what was published.
    """
    find = _find_torchvision if weights.startswith(TORCHVISION) else _find_timm
    return find(weights, net, download, progress)


def published_name(net: str) -> str:
    """What `--pretrained` means for a net: the first weights that torchvision publishes of it, or else timm.

    Args:
        net: Catalog name.

    Raises:
        ValueError: Neither publishes any.

    Example:
        >>> published_name("resnet50")
        'torchvision:IMAGENET1K_V1'
    """
    from torchvision import models

    entry(net)
    if net in models.list_models():
        members = models.get_model_weights(net).__members__
        return TORCHVISION + next(name for name, weights in members.items() if weights.meta["categories"])
    if importlib.util.find_spec("timm") is not None:
        import timm

        if known := timm.list_pretrained(f"{net}.*"):
            return TIMM + str(known[0])
    raise ValueError(f"no published weights of {net} are known; name a file or a run of your own with --from")


def imagenet_class_names() -> tuple[str, ...]:
    """Of the 1,000 classes of ILSVRC 2012, in the order that all published nets share; its two cranes have numbers."""
    from torchvision.models import ResNet18_Weights

    return told_apart(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def recognised(file: Path, net: str, sha256: str) -> Published | None:
    """What torchvision says of a file that has the hash of one it publishes, wherever it lies; None of any other.

    Args:
        file: Of weights.
        net: Catalog name.
        sha256: Of the file, in hexadecimal digits.
    """
    from torchvision import models

    if net not in models.list_models():
        return None
    for weights in models.get_model_weights(net):
        claimed = _claimed(weights.url)
        if weights.meta["categories"] and sha256.startswith(claimed):
            return _as_published(net, file, weights)
    return None


def _find_torchvision(weights: str, net: str | None, download: bool, progress: bool) -> Published:
    from torchvision import models

    if net is None:
        raise ValueError(f"{weights} exist of many nets; name one, such as --net resnet50")
    if net not in models.list_models():
        raise ValueError(f"torchvision publishes no weights of {net}")
    members = models.get_model_weights(net).__members__
    known = {name: w for name, w in members.items() if w.meta["categories"]}  # others lack the last layers
    name = weights.removeprefix(TORCHVISION)
    if name not in known:
        raise ValueError(f"torchvision has no weights {name!r} of {net}; it has {', '.join(known)}")
    chosen: Any = known[name]
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(chosen.url).path).name)
    claimed = _claimed(chosen.url)
    if not file.is_file():
        if not download:
            raise ValueError(f"{weights} of {net} are not in the cache ({file}); add --download to fetch them")
        log.warning("fetching %.0f MB from %s to %s", chosen.meta["_file_size"], chosen.url, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(chosen.url, str(file), hash_prefix=claimed, progress=progress)
        except (OSError, RuntimeError) as fault:  # RuntimeError: the hash; nothing is kept then
            raise ValueError(f"cannot download {chosen.url}: {fault}") from None
    _require_hash(file, claimed)
    return _as_published(net, file, chosen)


def _claimed(url: str) -> str:
    """The first digits of a file's hash, which torchvision writes into its name."""
    match = re.search(r"-([0-9a-f]{8,})\.", url)
    assert match is not None
    return match[1]


def _as_published(net: str, file: Path, chosen: Any) -> Published:
    theirs = chosen.transforms()
    own = TRANSFORMED if entry(net).family == "googlenet" else None
    preprocess = channelwise(
        theirs.crop_size[0],
        own.mean if own else theirs.mean,
        own.std if own else theirs.std,
        own.obtained if own else f"torchvision's, with {chosen}",
        theirs.crop_size[0] / theirs.resize_size[0],
        theirs.interpolation.value,
    )
    return Published(net, file, preprocess, told_apart(chosen.meta["categories"]))


def _find_timm(weights: str, net: str | None, download: bool, progress: bool) -> Published:
    try:
        import timm
        from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    except ImportError:
        raise ValueError(f"{weights} need timm: pip install 'plusx[timm]'") from None
    name = weights.removeprefix(TIMM)
    own = entry(name.partition(".")[0]).name
    if net not in (None, own):
        raise ValueError(f"{weights} are weights of {own}, not of {net}")
    known = timm.list_pretrained(f"{own}.*")
    if name not in known:
        has = f"it has {', '.join(known)}" if known else f"it has none of {own}"
        raise ValueError(f"timm has no weights {name!r}; {has}")
    theirs: Any = timm.models.get_pretrained_cfg(name)
    repository, file_name = theirs.hf_hub_id, theirs.hf_hub_filename or "model.safetensors"
    cached = try_to_load_from_cache(repository, file_name)
    if not isinstance(cached, str):
        if not download:
            raise ValueError(f"{weights} are not in the cache ({constants.HF_HUB_CACHE}); add --download to fetch them")
        log.warning("fetching %s from %s to %s", weights, constants.ENDPOINT, constants.HF_HUB_CACHE)
        mute = not progress and not are_progress_bars_disabled()
        if mute:
            disable_progress_bars()
        try:
            cached = hf_hub_download(repository, file_name)
        except Exception as fault:  # of its own, of its client, of the system
            raise ValueError(f"cannot download {weights} from {constants.ENDPOINT}: {fault}") from None
        finally:
            if mute:
                enable_progress_bars()
    link = Path(cached)
    claimed = link.readlink().name if link.is_symlink() else ""
    if not re.fullmatch("[0-9a-f]{64}", claimed):
        raise ValueError(f"{link} cannot be checked: the cache holds no hash of it; if you trust it, convert that file")
    _require_hash(link.resolve(), claimed)
    preprocess = channelwise(
        theirs.input_size[1], theirs.mean, theirs.std, f"timm's, with {name}", theirs.crop_pct, theirs.interpolation
    )
    return Published(own, link, preprocess, imagenet_class_names() if theirs.num_classes == 1000 else None)


def _require_hash(file: Path, claimed: str) -> None:
    digest = sha256(file)
    if not digest.startswith(claimed):
        raise ValueError(
            f"{file} is not what was published: its SHA-256 begins with {digest[:8]}, not {claimed[:8]}; delete it and "
            "fetch it anew with --download"
        )

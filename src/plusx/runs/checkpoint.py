"""A file of weights, read without running anything in it: safetensors, or a torch file that holds only tensors."""

import argparse
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
"""Under which training scripts keep weights beside epochs and optimizers; where there is an average of the weights, it
is the one that was measured."""


class Checkpoint(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    entry: str | None
    """The entry that held them; None is the whole file."""


def read_checkpoint(file: Path) -> Checkpoint:
    """The tensors of a file, by name.

    Args:
        file: In safetensors' format, or torch's new or old one.

    Raises:
        ValueError: The file is missing, damaged, of another kind, or holds more than tensors, which could run code.
    """
    if not file.is_file():
        raise ValueError(f"{file} is a folder, not a file of weights" if file.is_dir() else f"no such file: {file}")
    try:
        with file.open("rb") as opened:
            head = opened.read(9)
    except OSError as fault:
        raise ValueError(f"cannot read {file}: {fault.strerror}") from None
    if not head:
        raise ValueError(f"{file} is empty")
    if file.suffix == ".safetensors" or head[8:] == b"{":
        try:
            return _plain(file, load_file(file), None)
        except SafetensorError as fault:
            raise ValueError(f"{file} is not a safetensors file, or is damaged: {fault}") from None
    if head.startswith(b"PK"):
        _require_torch_zip(file)
    elif not head.startswith(b"\x80"):  # a pickle, as torch wrote until 2020
        raise ValueError(f"{file} is neither a safetensors file nor one of torch")
    try:
        # torchvision's and timm's scripts keep their options beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as fault:  # weights_only raises many kinds; its messages advise switching the protection off
        asked = re.search(r"GLOBAL (\S+)", str(fault))
        if asked is None:
            raise ValueError(f"{file} was not loaded: it is damaged, or no file of weights") from None
        raise ValueError(
            _refusal(file, f"it asks for {asked[1]}", "torch.load({}, 'cpu', weights_only=False)")
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no dictionary of tensors")
    entry = next((name for name in ENTRIES if isinstance(content.get(name), dict)), None)
    return _plain(file, content if entry is None else content[entry], entry)


def _plain(file: Path, content: Mapping[str, object], entry: str | None) -> Checkpoint:
    """The tensors among what a dictionary holds; counts of epochs and the like are left out."""
    tensors = {name: value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{file} holds no dictionary of tensors")
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise ValueError(f"{file} was not loaded: {name} is sparse, quantised or without values")
    return Checkpoint(tensors, entry)


def _require_torch_zip(file: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {Path(name).name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        raise ValueError(f"{file} was not loaded: it is damaged; its end is missing") from None
    if "constants.pkl" in members:
        raise ValueError(_refusal(file, "it is a TorchScript archive", "torch.jit.load({}, 'cpu')"))
    if "data.pkl" not in members:
        raise ValueError(f"{file} is neither a safetensors file nor one of torch")


def _refusal(file: Path, why: str, load: str) -> str:
    code = (
        f"import torch; c = {load.format(repr(str(file)))}; "
        "torch.save(c.state_dict() if hasattr(c, 'state_dict') else c['state_dict'], 'weights.pt')"
    )
    return (
        f"{file} was not loaded: it holds more than tensors ({why}), and loading that could run code; ask its author "
        f'for torch.save(model.state_dict(), ...), or, if you trust it, write one in a container: python -c "{code}"'
    )

"""A file of weights, read without running anything in it: safetensors, or a torch file that holds only tensors."""

import argparse
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

ENTRIES = (
    *("state_dict_ema", "model_ema", "model_ema_state_dict", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model", "net"),
)
"""Under which training scripts keep weights beside epochs and optimizers; where there is an average of the weights, it
is the one that was measured."""

SETTINGS = ("args", "hyper_parameters", "hparams", "config", "cfg", "opt", "meta")
"""Under which they keep what was asked for; the net is then one of NETS."""
NETS = ("arch", "architecture", "model_name", "model", "net", "network")
CLASSES = ("class_names", "classes", "CLASSES", "class_to_idx", "label_names", "categories", "id2label")

# What a number of numpy is made of, under numpy's names of today and before its version 2; there is no code in it.
NUMPY_SCALARS: list[Any] = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"},  # objects could be anything
]


class Checkpoint(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    entry: str | None
    """The entry that held them; None is the whole file."""
    others: tuple[str, ...] = ()
    """Other entries that hold tensors by name."""
    nets: tuple[str, ...] = ()
    """What the file says that its net is, in its author's words."""
    class_names: tuple[str, ...] | None = None
    """What it calls its classes, in the order of the last layer."""


def read_checkpoint(file: Path, entry: str | None = None) -> Checkpoint:
    """The tensors of a file, by name.

    Args:
        file: In safetensors' format, or torch's new or old one.
        entry: Where the tensors lie in it; None takes the first of `ENTRIES` that it has.

    Raises:
        ValueError: The file is missing, damaged, of another kind, or holds more than tensors, which could run code; or
            several of its entries may be meant, or none.

    Example:
        >>> torch.save({"epoch": 3, "model": {"weight": torch.ones(2)}}, "theirs.pth")
        >>> read_checkpoint(Path("theirs.pth")).entry
        'model'
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
            with safe_open(file, "pt") as opened:
                tensors, said = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
        except SafetensorError as fault:
            raise ValueError(f"{file} is not a safetensors file, or is damaged: {fault}") from None
        return _checkpoint(file, tensors, said or {}, entry)
    if head.startswith(b"PK"):
        _require_torch_zip(file)
    elif not head.startswith(b"\x80"):  # a pickle, as torch wrote until 2020
        raise ValueError(f"{file} is neither a safetensors file nor one of torch")
    try:
        # torchvision's and timm's scripts keep their options beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace, *NUMPY_SCALARS]):
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
    return _checkpoint(file, content, content, entry)


def sha256(file: Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _checkpoint(file: Path, content: Mapping[str, Any], said: Mapping[str, Any], entry: str | None) -> Checkpoint:
    """The tensors of one entry; counts of epochs and the like are left out."""
    entries = dict(_entries(content))
    if not entries:
        raise ValueError(f"{file} holds no dictionary of tensors")
    if entry is not None and entry not in entries:
        has = (
            f"its entries are {', '.join(filter(None, entries))}" if any(entries) else "it is one dictionary of tensors"
        )
        raise ValueError(f"{file} has no entry {entry!r} of tensors; {has}")
    if entry is None and "" in entries and any(len(each) > len(entries[""]) for each in entries.values()):
        del entries[""]  # a measured number beside the weights
    known = [name for name in ENTRIES if name in entries]
    if entry is None and not known and "" not in entries and len(entries) > 1:
        raise ValueError(f"{file} holds tensors in several entries, {', '.join(entries)}: choose with --entry")
    chosen = entry if entry is not None else known[0] if known else next(iter(entries))
    tensors = {name: value.detach() for name, value in entries[chosen].items()}
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise ValueError(f"{file} was not loaded: {name} is sparse, quantised or without values")
    settings = [said, *(_fields(said.get(key)) for key in SETTINGS), _hub_config(file)]
    nets = dict.fromkeys(each[key] for each in settings for key in NETS if isinstance(each.get(key), str))
    named = (_names(each.get(key)) for each in settings for key in CLASSES)
    others = tuple(n for n, each in entries.items() if n not in ("", chosen) and 2 * len(each) > len(entries[chosen]))
    return Checkpoint(tensors, chosen or None, others, tuple(nets), next(filter(None, named), None))


def _entries(content: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(path, tensors) of every dictionary that holds tensors by name; "" is the whole. Optimizers' are left out."""
    if tensors := {name: value for name, value in content.items() if isinstance(value, Tensor)}:
        yield path, tensors
    for key, value in content.items():
        if not isinstance(value, dict) or "optim" in str(key) or depth == 2:
            continue
        if all(isinstance(name, str) for name in (key, *value)):
            yield from _entries(value, f"{path}.{key}" if path else key, depth + 1)


def _fields(settings: object) -> Mapping[str, Any]:
    if isinstance(settings, argparse.Namespace):
        return vars(settings)
    return settings if isinstance(settings, dict) else {}


def _names(classes: object) -> tuple[str, ...] | None:
    """Class names from a list of them, or from a dictionary from or to their indices."""
    if isinstance(classes, dict):
        for each in (classes, {name: index for index, name in classes.items() if isinstance(name, str)}):
            if sorted(map(str, each.values())) == sorted(map(str, range(len(classes)))):
                return _names(sorted(each, key=lambda name: int(each[name])))
    if isinstance(classes, list | tuple) and classes and all(isinstance(name, str) for name in classes):
        return tuple(classes)
    return None


def _hub_config(file: Path) -> Mapping[str, Any]:
    """What the Hugging Face hub keeps beside a file of weights."""
    config = file.with_name("config.json")
    if file.name not in ("model.safetensors", "pytorch_model.bin") or not config.is_file():
        return {}
    try:
        return _fields(json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


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
    # Of a module, and of a dictionary, the tensors are kept, alone or as the entries of a dictionary.
    code = (
        "import torch; t = lambda v: {n: x for n, x in (v.state_dict() if hasattr(v, 'state_dict') else v if "
        f"isinstance(v, dict) else {{}}).items() if torch.is_tensor(x)}}; c = {load.format(repr(str(file)))}; "
        "torch.save((isinstance(c, dict) and {n: t(v) for n, v in c.items() if t(v)}) or t(c), 'weights.pt')"
    )
    return (
        f"{file} was not loaded: it holds more than tensors ({why}), and loading that could run code; ask its author "
        f'for torch.save(model.state_dict(), ...), or, if you trust it, write one in a container: python -c "{code}"'
    )

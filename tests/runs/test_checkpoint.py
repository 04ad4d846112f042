"""Files of weights that cannot be trusted to be that: none of them may run anything, each gets one sentence."""

import argparse
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from plusx.runs.checkpoint import ENTRIES, read_checkpoint

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Bomb:
    """Leaves a folder behind if it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.witness),)


def same(tensors: dict[str, torch.Tensor]) -> bool:
    return tensors.keys() == TENSORS.keys() and all(torch.equal(tensors[name], t) for name, t in TENSORS.items())


def test_every_harmless_format_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    save_file(TENSORS, tmp_path / "a.bin")  # told by its content
    torch.save(TENSORS, tmp_path / "a.pt")
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)  # as torch wrote until 2020
    for file in tmp_path.iterdir():
        checkpoint = read_checkpoint(file)
        assert same(checkpoint.tensors) and checkpoint.entry is None, file


@pytest.mark.parametrize("entry", ENTRIES)
def test_weights_are_found_among_what_training_scripts_keep(entry: str, tmp_path: Path) -> None:
    others = {"epoch": 3, "best_prec1": 91.7, "arch": "resnet20", "args": argparse.Namespace(lr=0.1), "optimizer": {}}
    torch.save({**others, entry: TENSORS}, tmp_path / "a.pt")
    checkpoint = read_checkpoint(tmp_path / "a.pt")
    assert same(checkpoint.tensors) and checkpoint.entry == entry


def test_the_average_of_the_weights_goes_before_the_weights(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": TENSORS}, tmp_path / "a.pt")
    assert same(read_checkpoint(tmp_path / "a.pt").tensors)


def test_counts_beside_the_tensors_are_left_out(tmp_path: Path) -> None:
    torch.save({**TENSORS, "epoch": 3}, tmp_path / "a.pt")
    assert same(read_checkpoint(tmp_path / "a.pt").tensors)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("entry", [None, "state_dict", "args"])
def test_a_bomb_does_not_go_off(zipped: bool, entry: str | None, tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "ran")
    content = bomb if entry is None else {"state_dict": TENSORS, entry: bomb}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match=r"holds more than tensors \(it asks for \w+.mkdir\).* could run code"
    ) as fault:
        read_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists() and "\n" not in str(fault.value)
    assert isinstance(fault.value.__cause__, type(None)) and fault.value.__suppress_context__


@pytest.mark.parametrize("kind", ["module", "dictionary", "torchscript"])
def test_the_safe_way_that_is_named_works(kind: str, tmp_path: Path) -> None:
    net, file = nn.Sequential(nn.Linear(3, 2)), tmp_path / "theirs.pt"
    if kind == "module":
        torch.save(net, file)
    elif kind == "dictionary":
        torch.save({"state_dict": net.state_dict(), "best": np.float64(0.9)}, file)
    else:
        torch.jit.script(net).save(file)
    with pytest.raises(ValueError, match="ask its author for torch.save.model.state_dict..") as fault:
        read_checkpoint(file)
    (code,) = re.findall(r'python -c "(.*)"$', str(fault.value))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)
    tensors = read_checkpoint(tmp_path / "weights.pt").tensors
    assert torch.equal(tensors["0.weight"], net[0].weight)


def test_what_is_no_file_of_weights_is_one_sentence(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "whole.pt")
    torch.save(TENSORS, tmp_path / "whole.old.pt", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "whole.safetensors")
    for whole in list(tmp_path.iterdir()):
        raw = whole.read_bytes()
        for share in (0.2, 0.5, 0.99):
            (tmp_path / f"cut{share}{whole.suffix}").write_bytes(raw[: int(len(raw) * share)])
            with pytest.raises(ValueError, match="damaged|not a safetensors file") as fault:
                read_checkpoint(tmp_path / f"cut{share}{whole.suffix}")
            assert "\n" not in str(fault.value)
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("404: Not Found")
    (tmp_path / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "bad.bin").write_bytes(b"\x80\x02}q\x00" + bytes(20))
    np.savez(tmp_path / "flax.npz", a=np.ones(3))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.jpg", "x")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    torch.save({"a": torch.ones(3).to_sparse()}, tmp_path / "sparse.pt")
    torch.save({"a": torch.empty(3, device="meta")}, tmp_path / "meta.pt")
    cases = {
        "absent.pt": "no such file",
        "": "is a folder",
        "empty.pt": "is empty",
        "bad.bin": "damaged",
        **dict.fromkeys(
            ("text.pt", "keras.h5", "flax.npz", "photos.zip"), "neither a safetensors file nor one of torch"
        ),
        **dict.fromkeys(("list.pt", "numbers.pt"), "holds no dictionary of tensors"),
        **dict.fromkeys(("sparse.pt", "meta.pt"), "a is sparse, quantised or without values"),
    }
    for name, reason in cases.items():
        with pytest.raises(ValueError, match=reason):
            read_checkpoint(tmp_path / name)

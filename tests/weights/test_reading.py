"""Files of weights that cannot be trusted to be that: none of them may run anything, each gets one sentence."""

import argparse
import datetime
import json
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

from plusx.weights.reading import ENTRIES, read_checkpoint

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
    save_file(TENSORS, tmp_path / "a.bin")  # known by its content
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


def test_the_entry_that_was_taken_is_said_and_another_can_be_chosen(tmp_path: Path) -> None:
    others = {
        "ema": {name: 2 * t for name, t in TENSORS.items()},
        "model": TENSORS,
        "optimizer": {"state": {0: TENSORS}},
    }
    torch.save({**others, "inner": {"net": TENSORS}, "few": {"a": torch.ones(1)}}, tmp_path / "a.pt")
    taken = read_checkpoint(tmp_path / "a.pt")
    assert taken.entry == "ema" and taken.others == ("model", "inner.net") and not same(taken.tensors)
    for entry in ("model", "inner.net"):
        chosen = read_checkpoint(tmp_path / "a.pt", entry)
        assert chosen.entry == entry and same(chosen.tensors)
    with pytest.raises(ValueError, match="has no entry 'mdel' of tensors; its entries are ema, model, inner.net, few"):
        read_checkpoint(tmp_path / "a.pt", "mdel")
    torch.save({"first": TENSORS, "second": TENSORS}, tmp_path / "two.pt")
    with pytest.raises(ValueError, match="holds tensors in several entries, first, second: choose with --entry"):
        read_checkpoint(tmp_path / "two.pt")
    torch.save({"weights": TENSORS, "best": torch.tensor(0.9)}, tmp_path / "one.pt")
    assert read_checkpoint(tmp_path / "one.pt").entry == "weights"
    torch.save(TENSORS, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="has no entry 'model' of tensors; it is one dictionary of tensors"):
        read_checkpoint(tmp_path / "plain.pt", "model")


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    numbers = [np.float64(0.9), np.float32(0.9), np.int64(3), np.uint8(3), np.bool_(True), np.str_("x")]
    for number in numbers:
        for zipped in (True, False):
            torch.save({"net": TENSORS, "acc": number}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
            assert read_checkpoint(tmp_path / "a.pt").entry == "net"
    # As written with numpy before its version 2, where the same function was in a module of another name.
    raw = (tmp_path / "a.pt").read_bytes()
    assert b"numpy._core.multiarray\n" in raw
    (tmp_path / "old.pt").write_bytes(raw.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"))
    assert same(read_checkpoint(tmp_path / "old.pt").tensors)


def test_an_object_in_the_dress_of_a_numpy_number_is_refused(tmp_path: Path) -> None:
    torch.save({"net": TENSORS, "acc": np.array([Bomb(tmp_path / "ran")], dtype=object)[:1]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "beside",
    [
        {"arch": "resnet50d"},
        {"args": argparse.Namespace(model="resnet50d", lr=0.1)},
        {"args": {"arch": "resnet50d"}},
        {"hyper_parameters": {"model_name": "resnet50d"}, "epoch": 3},
    ],
)
def test_what_a_file_says_of_its_net_is_read(beside: dict[str, object], tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS, **beside}, tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.pt").nets == ("resnet50d",)


def test_what_the_hub_says_beside_a_file_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors", {"format": "pt", "arch": "resnet50d"})
    config = {"architecture": "resnetblur50", "num_classes": 2, "label_names": ["ant", "bee"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    actual = read_checkpoint(tmp_path / "model.safetensors")
    assert actual.nets == ("resnet50d", "resnetblur50") and actual.class_names == ("ant", "bee")


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        ({"classes": ["bee", "ant"]}, ("bee", "ant")),
        ({"class_to_idx": {"ant": 1, "bee": 0}}, ("bee", "ant")),
        ({"meta": {"CLASSES": ("bee", "ant")}}, ("bee", "ant")),
        ({"id2label": {"1": "ant", "0": "bee"}}, ("bee", "ant")),
        ({"id2label": {1: "ant", 0: "bee"}}, ("bee", "ant")),
        ({"classes": 2}, None),
        ({"classes": [0, 1]}, None),
        ({"class_to_idx": {"ant": 1, "bee": 7}}, None),
        ({"id2label": {"0": "crane", "1": "crane"}}, None),
    ],
)
def test_the_class_names_that_a_file_has_are_read(
    beside: dict[str, object], names: tuple[str, ...] | None, tmp_path: Path
) -> None:
    torch.save({"state_dict": TENSORS, **beside}, tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.pt").class_names == names


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


@pytest.mark.more
@pytest.mark.parametrize("kind", ["module", "dictionary", "module in a dictionary", "torchscript"])
def test_the_safe_way_that_is_named_works(kind: str, tmp_path: Path) -> None:
    net, file = nn.Sequential(nn.Linear(3, 2)), tmp_path / "theirs.pt"
    if kind == "module":
        torch.save(net, file)
    elif kind == "dictionary":
        torch.save({"state_dict": net.state_dict(), "epoch": 3, "when": datetime.date(2020, 1, 1)}, file)
    elif kind == "module in a dictionary":
        best = {"model": net, "best": torch.tensor(0.9), "optimizer": torch.optim.SGD(net.parameters(), momentum=0.9)}
        torch.save(best, file)
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

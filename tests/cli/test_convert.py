"""`plusx convert`."""

from pathlib import Path

import pytest

from tests.cli.commands import plusx, refused, result
from tests.conftest import save_image


@pytest.mark.more
def test_convert_makes_a_run_of_a_checkpoint(tmp_path: Path) -> None:
    import torch
    import torchvision

    theirs = torchvision.models.resnet18(num_classes=2).state_dict()
    torch.save({"state_dict": {f"module.{name}": t for name, t in theirs.items()}}, tmp_path / "a.pth.tar")
    made = result("convert", "a.pth.tar", "--net", "resnet18", "--out", "run", "--size", "64", cwd=tmp_path)
    assert made["net"] == "resnet18" and made["run"] == "run" and made["params"] == 11_177_538
    assert len(made["renamed"]) == 122 and made["matched"] == made["dropped"] == made["missing"] == []  # type: ignore[arg-type]
    image = save_image(tmp_path / "a.png")
    assert result("predict", "run", image, cwd=tmp_path)["files"][0]["classes"]  # type: ignore[index]
    assert result("summary", "run", cwd=tmp_path)["params"] == made["params"]
    shown = plusx("convert", "a.pth.tar", "--net", "resnet18", cwd=tmp_path).stdout
    assert "renamed 122" in shown and "conv1.weight -> stem.conv.conv.weight" in shown and "87.5 % of the" in shown
    assert "next: plusx predict runs/resnet18-a.pth IMAGE" in shown


def test_convert_says_what_it_took_and_what_it_assumed(tmp_path: Path) -> None:
    import torch

    from plusx.nets import build

    ours = {f"model.{name}": t for name, t in build("resnet20", in_channels=1).state_dict().items()}
    file = {"model": ours, "ema": {**ours, "model.total_ops": torch.zeros(1)}}
    torch.save(file, tmp_path / "a.pt")
    command = ["convert", "a.pt", "--net", "resnet20", "--mean", "0.5", "--std", "0.5"]
    shown = plusx(*command, cwd=tmp_path).stdout
    assert "plusx, entry ema of the file (--entry chooses another: model), without the prefix model." in shown
    assert "dropped 1    model.total_ops" in shown and "note: nothing names the 10 classes of the weights" in shown
    help_text = " ".join(plusx("convert", "--help", cwd=tmp_path).stdout.split())
    for unseen in ("stride", "dilation", "epsilon", "activation"):
        assert unseen in help_text


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    for verb in (["convert", "whole.pt", "--net", "resnet20"], ["train", "digits", "--set", "net.weights=whole.pt"]):
        sentence = refused(*verb, cwd=tmp_path)
        assert "it holds more than tensors" in sentence and "torch.save(model.state_dict(), ...)" in sentence

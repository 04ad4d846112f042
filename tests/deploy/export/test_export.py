"""What is exported computes what the net does, from pixels; whatever goes wrong leaves nothing behind."""

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import plusx
from plusx.deploy.export import export as module
from plusx.deploy.export.export import TARGETS, export
from plusx.deploy.export.forms import COMPILED, FORMS
from plusx.deploy.export.metadata import INPUT, read_metadata
from plusx.runs.store import load_run, read_card
from tests.cli.commands import plusx as command
from tests.cli.commands import refused, result
from tests.deploy.export.conftest import GRAPHS, need

TORCH_FIRST = ["torch", *(pytest.param(to, marks=pytest.mark.more) for to in GRAPHS if to != "torch")]
"""The quickest in `make test`."""


def logits_of(to: str, file: Path, images: np.ndarray) -> np.ndarray:
    run = next(iter(FORMS[to].runtimes.values()))(file, 1)
    return run(images)


@pytest.mark.parametrize("to", GRAPHS)
@pytest.mark.parametrize("pixels", ["uint8", pytest.param("float", marks=pytest.mark.more)])
def test_a_graph_takes_pixels_and_gives_the_logits_of_the_net(
    to: str, pixels: Any, two_classes: Path, tmp_path: Path
) -> None:
    need(to)
    net, card = load_run(two_classes)
    made = export(two_classes, to, out=tmp_path / f"x{FORMS[to].suffix}", input=pixels, progress=False)
    for count in (1, 3, 8):
        pixels_BCHW = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
        with torch.no_grad():
            expected = net(card.preprocess.normalise(pixels_BCHW)).numpy()
        given = pixels_BCHW.numpy()
        given = given.transpose(0, 2, 3, 1).copy() if pixels == "uint8" else (given / np.float32(255))
        found = logits_of(to, made.file, given)
        assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    assert made.verified.source == "val" and made.verified.images == 16
    assert made.verified.accuracy == made.verified.exported_accuracy
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in made.files}


@pytest.mark.parametrize("to", TORCH_FIRST)
def test_a_fixed_batch_is_kept_and_compared(to: str, two_classes: Path, tmp_path: Path) -> None:
    need(to)
    made = export(two_classes, to, out=tmp_path / f"x{FORMS[to].suffix}", batch=5, progress=False)
    assert made.metadata.batch == 5 and made.verified.images == 16
    assert logits_of(to, made.file, np.zeros((5, 32, 32, 3), np.uint8)).shape == (5, 2)
    with pytest.raises(Exception, match=r"."):
        logits_of(to, made.file, np.zeros((4, 32, 32, 3), np.uint8))


def test_onnx_names_its_input_output_and_batch(two_classes: Path, tmp_path: Path) -> None:
    need("onnx")
    import onnxruntime

    made = export(two_classes, "onnx", out=tmp_path / "x.onnx", progress=False)
    session = onnxruntime.InferenceSession(str(made.file), providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == (INPUT, "tensor(uint8)", ["batch", 32, 32, 3])
    assert (given.name, given.shape) == ("logits", ["batch", 2])
    assert session.get_modelmeta().custom_metadata_map["class_names"]


def test_one_channel_and_a_mean_of_each_pixel(digits_run: Path, mean_per_pixel: Path, tmp_path: Path) -> None:
    grey = export(digits_run, "torch", out=tmp_path / "grey.pt2", progress=False)
    assert logits_of("torch", grey.file, np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 10)
    net, card = load_run(mean_per_pixel)
    made = export(mean_per_pixel, "torch", out=tmp_path / "mean.pt2", progress=False)
    pixels_BCHW = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = net(card.preprocess.normalise(pixels_BCHW)).numpy()
    found = logits_of("torch", made.file, pixels_BCHW.permute(0, 2, 3, 1).numpy().copy())
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_auxiliary_heads_go(two_classes: Path, tmp_path: Path) -> None:
    from plusx.deploy.export.program import capture

    net = plusx.build("googlenet", num_classes=2).eval()
    program = capture(net, read_card(two_classes).preprocess, pixels="uint8", batch=None)
    assert not [name for name in program.state_dict if ".aux." in name]
    assert len(net.aux) == 2, "the net itself keeps them"


def test_a_run_that_is_not_finished_is_exported_with_a_note(tmp_path: Path) -> None:
    calls = iter(range(99))
    with pytest.raises(plusx.StoppedError):
        plusx.train(
            "digits",
            overrides={"steps": 4, "data.limit": 64},
            out=tmp_path / "run",
            progress=False,
            should_stop=lambda: next(calls) > 1,
        )
    made = export(tmp_path / "run", "torch", out=tmp_path / "x.pt2", progress=False)
    assert any("is not finished" in note for note in made.notes)


def test_without_images_at_hand_drawn_ones_are_compared_and_it_is_said(
    twin: Callable[..., Path], tmp_path: Path
) -> None:
    source = {"name": None, "data_dir": None, "fingerprint": None, "images": {}, "left_out": []}
    run = twin(source=source)
    made = export(run, "torch", out=tmp_path / "x.pt2", progress=False)
    assert made.verified.source == "drawn images" and made.verified.accuracy is None
    assert any("drawn images" in note and "converted" in note for note in made.notes)
    with pytest.raises(ValueError, match="int8 needs validation images to measure its accuracy on: .* converted"):
        export(run, "openvino", out=tmp_path / "y.xml", int8=True, progress=False)


# ---- refused, and nothing left ---------------------------------------------------------------------------------------


def tampered(monkeypatch: pytest.MonkeyPatch, to: str, change: Callable[[nn.Module], None]) -> None:
    """Have the graph be made of a net that was changed."""
    capture = module.capture

    def other(net: nn.Module, *arguments: Any, **options: Any) -> Any:
        import copy

        net = copy.deepcopy(net)
        with torch.no_grad():
            change(net)
        return capture(net, *arguments, **options)

    monkeypatch.setattr(module, "capture", other)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "one weight": lambda net: net.stem.conv.conv.weight[0].add_(0.05),
    "one bias": lambda net: net.head.linear.bias[1].add_(0.01),
    "a weight that is not finite": lambda net: net.head.linear.weight[0].fill_(float("nan")),
    "channels in another order": lambda net: net.stem.conv.conv.weight.copy_(net.stem.conv.conv.weight.flip(1)),
}


@pytest.mark.parametrize("to", ["torch", pytest.param("onnx", marks=pytest.mark.more)])
@pytest.mark.parametrize("what", CHANGES)
def test_a_graph_that_computes_something_else_is_refused(
    what: str, to: str, two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(to)
    tampered(monkeypatch, to, CHANGES[what])
    with pytest.raises(plusx.ExportRefusedError, match=r"logits differ by [\d.e-]+ from|not finite"):
        export(two_classes, to, out=tmp_path / f"x{FORMS[to].suffix}", progress=False)
    assert not list(tmp_path.iterdir())


def test_another_normalisation_is_found(two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = module.capture

    def other(net: nn.Module, preprocess: Any, **options: Any) -> Any:
        return capture(net, dataclasses.replace(preprocess, std_C11=preprocess.std_C11 * 1.1), **options)

    monkeypatch.setattr(module, "capture", other)
    with pytest.raises(plusx.ExportRefusedError, match="logits differ by"):
        export(two_classes, "torch", out=tmp_path / "x.pt2", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_damaged_after_writing_is_refused(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compared is the file, not what was to be in it."""
    need("openvino")
    form = FORMS["openvino"]

    def save(model: Any, file: Path, texts: Any) -> None:
        form.save(model, file, texts)
        weights = bytearray(file.with_suffix(".bin").read_bytes())
        at = len(weights) // 2 // 4 * 4
        weights[at : at + 400] = np.full(100, 3.0, np.float32).tobytes()
        file.with_suffix(".bin").write_bytes(weights)

    monkeypatch.setattr(module, "FORMS", {**FORMS, "openvino": dataclasses.replace(form, save=save)})
    with pytest.raises(plusx.ExportRefusedError, match="logits differ by"):
        export(two_classes, "openvino", out=tmp_path / "x.xml", progress=False)
    assert not list(tmp_path.iterdir())


def test_the_command_refuses_with_exit_code_1_and_the_number(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tampered(monkeypatch, "torch", CHANGES["one bias"])
    done = command("export", two_classes, "--to", "torch", "--out", tmp_path / "x.pt2")
    assert done.returncode == 1 and not done.stdout and "Traceback" not in done.stderr
    assert "plusx: nothing is written: by torch, logits differ by 0.01 from PyTorch's" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", TORCH_FIRST)
def test_a_full_disk_leaves_nothing(
    to: str, two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(to)

    def full(path: Path, content: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes" if to != "openvino" else "write_text", full)
    with pytest.raises(OSError, match=r"cannot write .*x.*: No space left on device; choose another --out"):
        export(two_classes, to, out=tmp_path / f"x{FORMS[to].suffix}", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_leaves_nothing(two_classes: Path, tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        assert [file.name for file in tmp_path.iterdir()] == [".x.pt2.partial"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(two_classes, "torch", out=tmp_path / "x.pt2", progress=interrupted)
    assert not list(tmp_path.iterdir())


def test_a_file_that_appears_meanwhile_is_not_overwritten(two_classes: Path, tmp_path: Path) -> None:
    script = tmp_path / "x-torch.py"
    with pytest.raises(ValueError, match="x-torch.py exists"):
        export(two_classes, "torch", out=tmp_path / "x.pt2", progress=lambda done, total: script.touch())
    assert list(tmp_path.iterdir()) == [script] and not script.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--to", "onxx"], "unknown form 'onxx'; did you mean 'onnx'?"),
        (["--to", "pickle"], "unknown form 'pickle'; choose one of onnx, openvino, torch, torchvision, timm"),
        (["--to", "torch", "--batch", "0"], "batch is 0; it must be 1 or more, or dynamic"),
        (["--to", "torch", "--batch", "some"], "--batch is 'some'; write a number of images, or dynamic"),
        (["--to", "torch", "--input", "int8"], "input is 'int8'; choose uint8 or float"),
        (["--to", "torch", "--int8"], "int8 is for onnx and openvino, not for torch"),
        (["--to", "onnx", "--int8", "--max-drop", "nan"], "max_drop is nan; it is a number of percentage points"),
        (["--to", "onnx", "--compile"], "--compile goes with --to torch, not with onnx"),
        (["--to", "timm", "--batch", "3"], "timm takes the weights alone"),
        (["--to", "torch", "--out", "x.onnx"], "what is exported to torch ends in .pt2: x.pt2"),
        (["--to", "torch", "--out", "no/x.pt2"], "no such folder: no"),
        (["--to", "torchvision"], "torchvision has no net resnet20; of plusx's nets it has alexnet, vgg11"),
        (["--to", "torch", "--data-dir", "gone"], "gone"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str, two_classes: Path, tmp_path: Path) -> None:
    assert sentence in refused("export", two_classes, *arguments, cwd=tmp_path)


def test_no_run_and_a_file_that_is_there(two_classes: Path, tmp_path: Path) -> None:
    assert "no such run directory: x" in refused("export", "x", "--to", "torch", cwd=tmp_path)
    (tmp_path / "x.pt2").touch()
    said = refused("export", two_classes, "--to", "torch", "--out", "x.pt2", cwd=tmp_path)
    assert said == "x.pt2 exists; choose another --out"


def test_a_missing_package_is_one_sentence(two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plusx.deploy.export.forms.is_installed", lambda *names: False)
    said = refused("export", two_classes, "--to", "onnx", cwd=tmp_path)
    assert said == ("this export needs onnx, onnxscript and onnxruntime; install them: pip install 'plusx[export]'")


def test_a_net_of_ones_own_needs_trust(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n\n\ndef tiny(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))\n"
    )
    overrides: dict[str, Any] = {"steps": 2, "data.limit": 64, "net.name": f"{tmp_path / 'mynet.py'}:tiny"}
    run = plusx.train("digits", overrides=overrides, out=tmp_path / "run", progress=False).run
    with pytest.raises(ValueError, match="--trust-code"):
        export(run, "torch", out=tmp_path / "x.pt2", progress=False)
    made = export(run, "torch", out=tmp_path / "x.pt2", trust_code=True, progress=False)
    assert made.verified.largest_difference < 1e-5
    assert str(tmp_path) not in "".join(made.metadata.texts().values())
    with pytest.raises(ValueError, match="torchvision has no net of your own"):
        export(run, "torchvision", out=tmp_path / "x.safetensors", trust_code=True, progress=False)
    kept = export(run, "safetensors", out=tmp_path / "x.safetensors", trust_code=True, progress=False)
    assert kept.script is None


class BranchesOnValues(nn.Module):
    """A net of which no graph can be made."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.linear(x if x.sum() > 0 else -x)


def test_a_net_that_has_no_graph_is_one_sentence(tmp_path: Path) -> None:
    run = plusx.train(
        "digits", net=BranchesOnValues(), overrides={"steps": 1, "data.limit": 32}, out=tmp_path / "run", progress=False
    ).run
    with pytest.raises(ValueError, match="PyTorch cannot make a graph of this net: "):
        export(run, "torch", out=tmp_path / "x.pt2", net=BranchesOnValues(), progress=False)
    assert {file.name for file in tmp_path.iterdir()} == {"run"}


# ---- what is printed -------------------------------------------------------------------------------------------------


def test_json_says_what_was_written_and_compared(two_classes: Path, tmp_path: Path) -> None:
    found = result("export", two_classes, "--to", "torch", cwd=tmp_path)
    assert found["file"] == "run.pt2" and found["script"] == "run-torch.py" and found["data"] == "val"
    assert found["largest_difference"] < 1e-4 and found["accuracy"] == found["exported_accuracy"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run-torch.py", "run.pt2"]
    assert found["size_bytes"] == (tmp_path / "run.pt2").stat().st_size


def test_every_target_is_in_the_help() -> None:
    shown = command("export", "--help").stdout
    assert all(to in shown for to in TARGETS)


@pytest.mark.more
def test_compiled_code_computes_the_same(two_classes: Path, tmp_path: Path) -> None:
    import shutil

    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("AOTInductor needs a C++ compiler")
    made = export(two_classes, "torch", out=tmp_path / "x.pt2", compile=True, progress=False)
    assert made.verified.largest_difference < 1e-3 and read_metadata(made.file).class_names[0] == 'a "b" <c>&é'


def test_without_a_compiler_compile_is_refused(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plusx.deploy.export.forms.shutil.which", lambda name: None)
    assert COMPILED.suffix == ".pt2"
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        export(two_classes, "torch", out=tmp_path / "x.pt2", compile=True, progress=False)
    assert not list(tmp_path.iterdir())

"""OpenVINO computes what the net does; int8 is calibrated on the run's own images, or refused in one sentence."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plusx.data.sources import load_digits
from plusx.deploy.predictor import Predictor, predict
from plusx.placement.inference import openvino as openvino_net
from plusx.placement.inference.openvino import OpenVino, is_installed
from plusx.runs.store import load_run, read_card, write_card


@pytest.fixture
def extra() -> None:
    if not is_installed("openvino", "nncf"):
        pytest.skip("OpenVINO and NNCF, an extra, are not installed")


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.03)])
def test_it_computes_what_the_net_does(digits_run: Path, precision: openvino_net.Precision, tolerance: float) -> None:
    net, card = load_run(digits_run)
    x = torch.randn(5, card.preprocess.channels, *card.preprocess.size)
    with torch.inference_mode():
        expected = net(x)
    forward = OpenVino(net, tuple(x.shape[1:]), precision=precision, threads=2, batch=len(x))
    for batch in (x, x[:2]):
        assert (forward(batch) - expected[: len(batch)]).abs().max() < tolerance * expected.abs().max()


@pytest.mark.usefixtures("extra")
def test_no_use_is_reported() -> None:
    script = """
import sys, torch
from plusx.placement.inference.openvino import OpenVino
from plusx.nets import build
OpenVino(build("lenet5"), (1, 32, 32), precision="int8", threads=1, batch=1, calibration=[torch.zeros(1, 1, 32, 32)])
assert sys.modules["openvino_telemetry"] is None
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("extra")
def test_a_signal_is_handled_whichever_net_goes_first_and_whichever_thread_frees_it() -> None:
    script = """
import os, signal, threading, torch
from plusx.placement.inference.openvino import OpenVino
from plusx.nets import build

def compiled(precision):
    x = torch.zeros(1, 1, 32, 32)
    net = OpenVino(build("lenet5"), (1, 32, 32), precision=precision, threads=1, batch=1, calibration=[x])
    net(x)
    return net

signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = compiled("fp32"), compiled("int8")
del first, second
os.kill(os.getpid(), signal.SIGUSR1)
mine = [compiled("fp32")]
thread = threading.Thread(target=mine.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\nhandled\n"), done.stderr


@pytest.mark.usefixtures("extra")
def test_int8_names_nearly_every_digit_as_fp32_does(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = load_digits()["test"]
    assert test.pixels_NCHW is not None
    files = [tmp_path / f"{i}.png" for i in range(100)]
    for file, pixels_1HW in zip(files, test.pixels_NCHW, strict=False):
        Image.fromarray(np.asarray(pixels_1HW[0])).save(file)
    exact, int8 = (predict(digits_run, files, precision=p) for p in ("fp32", "int8"))
    assert sum(a.classes[0] == b.classes[0] for a, b in zip(exact, int8, strict=True)) >= 97
    assert capsys.readouterr().out == ""


def test_without_the_extra_int8_is_refused_with_the_command(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_net, "is_installed", lambda *names: False)
    with pytest.raises(ValueError, match=r"int8 by OpenVINO needs openvino and nncf; .* pip install 'plusx\[export\]'"):
        Predictor(digits_run, precision="int8")


@pytest.mark.usefixtures("extra")
def test_a_run_without_images_of_its_own_cannot_be_calibrated(digits_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "weights.safetensors").write_bytes((digits_run / "weights.safetensors").read_bytes())
    card = read_card(digits_run)
    write_card(run, dataclasses.replace(card, source={**card.source, "name": None}))
    with pytest.raises(
        ValueError, match="was converted from weights and has no training images, which int8 calibration needs"
    ):
        Predictor(run, precision="int8")

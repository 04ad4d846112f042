"""The script beside an export answers as `plusx predict` does, in a process that cannot import plusx."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import plusx
from plusx.deploy.export.export import export
from plusx.deploy.export.forms import FORMS
from plusx.recipes import folder
from plusx.runs.store import read_card
from tests.conftest import save_image
from tests.deploy.export.conftest import GRAPHS, need

BLOCKED = """
import json, runpy, sys
sys.modules["plusx"] = None  # so that importing it fails
predict = runpy.run_path(sys.argv[1])["predict"]
print(json.dumps([predict(file) for file in sys.argv[2:]]))
"""


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A photograph that scikit-learn brings along, as it is, upright, turned, in grey, and transparent."""
    from sklearn.datasets import load_sample_image

    root = tmp_path_factory.mktemp("images")
    photo = Image.fromarray(load_sample_image("china.jpg"))
    photo.save(root / "china.jpg", quality=95)
    photo.rotate(90, expand=True).save(root / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(root / "turned.jpg", exif=exif, quality=95)
    photo.convert("L").save(root / "grey.png")
    photo.resize((50, 40)).save(root / "small.png")
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    clear.save(root / "clear.png")
    return sorted(root.iterdir())


def answers(script: Path, images: list[Path]) -> list[dict[str, float]]:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", BLOCKED, str(script), *map(str, images)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [dict(each) for each in json.loads(done.stdout.splitlines()[-1])]


def require_equal(run: Path, script: Path, images: list[Path], tolerance: float = 2e-5) -> None:
    predictions = plusx.predict(run, images, precision="fp32")
    assert any(0.05 < each.probabilities[0] < 0.95 for each in predictions), "a net that is sure shows no difference"
    for said, expected in zip(answers(script, images), predictions, strict=True):
        for name, probability in zip(expected.classes, expected.probabilities, strict=True):
            assert said[name] == pytest.approx(probability, abs=tolerance), expected.file


@pytest.mark.parametrize("to", ["onnx", *(pytest.param(to, marks=pytest.mark.more) for to in GRAPHS[1:])])
def test_it_answers_as_plusx_predict(to: str, two_classes: Path, images: list[Path], tmp_path: Path) -> None:
    need(to)
    made = export(two_classes, to, out=tmp_path / f'사진 1\'s "a"{FORMS[to].suffix}', progress=False)
    assert made.script is not None
    require_equal(two_classes, made.script, images)


@pytest.mark.more
@pytest.mark.parametrize("options", [{"input": "float"}, {"batch": 3}, {"input": "float", "batch": 1}], ids=str)
def test_whatever_the_graph_takes(options: Any, two_classes: Path, images: list[Path], tmp_path: Path) -> None:
    made = export(two_classes, "torch", out=tmp_path / "x.pt2", progress=False, **options)
    assert made.script is not None
    require_equal(two_classes, made.script, images)


@pytest.mark.more
@pytest.mark.parametrize(
    "changes",
    [
        {"fit": "pad"},
        {"fit": "squash", "interpolation": "bicubic"},
        {"interpolation": "bicubic", "crop_fraction": 1.0},
    ],
    ids=str,
)
def test_however_an_image_is_fitted(
    changes: Any, two_classes: Path, twin: Callable[..., Path], images: list[Path], tmp_path: Path
) -> None:
    run = twin(preprocess=dataclasses.replace(read_card(two_classes).preprocess, **changes))
    made = export(run, "torch", out=tmp_path / "x.pt2", progress=False)
    assert made.script is not None
    require_equal(run, made.script, images)


@pytest.mark.more
def test_grey_images_and_a_mean_of_each_pixel(
    digits_run: Path, mean_per_pixel: Path, images: list[Path], tmp_path: Path
) -> None:
    for name, run in (("digits", digits_run), ("mean", mean_per_pixel)):
        made = export(run, "torch", out=tmp_path / f"{name}.pt2", progress=False)
        assert made.script is not None
        require_equal(run, made.script, images)


@pytest.mark.more
def test_what_it_prints_is_what_the_command_prints(two_classes: Path, images: list[Path], tmp_path: Path) -> None:
    """With `unknown`, as the run has a threshold."""
    made = export(two_classes, "torch", out=tmp_path / "x.pt2", progress=False)
    done = subprocess.run([sys.executable, str(made.script), *map(str, images)], capture_output=True, text=True)
    from tests.cli.commands import plusx as command

    expected = command("predict", two_classes, *images, "--precision", "fp32")
    assert done.stdout == expected.stdout and done.stdout.count("unknown, perhaps") > 0


@pytest.mark.more
@pytest.mark.parametrize("to", ["torchvision", "timm"])
def test_another_librarys_net_answers_the_same(to: str, images: list[Path], tmp_path: Path) -> None:
    need(to)
    for i in range(8):
        save_image(tmp_path / "photos" / "train" / ("ant", "bee")[i % 2] / f"{i}.png", seed=i, hue=i % 2)
        save_image(tmp_path / "photos" / "val" / ("ant", "bee")[i % 2] / f"{i}.png", seed=50 + i, hue=i % 2)
    recipe = dataclasses.replace(folder(), steps=20, epochs=None, batch_size=4)
    overrides = {"net.name": "resnet18", "preprocess.size": "32", "optim.lr": "0.001"}
    run = plusx.train(tmp_path / "photos", recipe=recipe, overrides=overrides, out=tmp_path / "r", progress=False).run
    made = export(run, to, out=tmp_path / "x.safetensors", progress=False)
    assert made.script is not None and made.verified.largest_difference < 1e-5
    require_equal(run, made.script, images)


@pytest.mark.more
def test_compiled_code_needs_no_plusx(two_classes: Path, images: list[Path], tmp_path: Path) -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("AOTInductor needs a C++ compiler")
    made = export(two_classes, "torch", out=tmp_path / "x.pt2", compile=True, progress=False)
    assert made.script is not None
    require_equal(two_classes, made.script, images)

"""`plusx.explain` and `plusx analyse RUN explain`: what is said of an image, and what is written."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import plusx
from plusx.analysis.attention import METHODS, explain_pixels
from plusx.analysis.explain import ASKS, MOST
from plusx.runs.calibration import Calibration, Rejection
from plusx.runs.store import read_card, write_card
from tests.cli.commands import plusx as command
from tests.cli.commands import refused, result
from tests.conftest import save_image


@pytest.mark.parametrize("method", ASKS)
def test_what_is_said_is_what_predict_says(photos_run: Path, digits_run: Path, tmp_path: Path, method: str) -> None:
    for run, file in (
        (photos_run, save_image(tmp_path / "ant.png", seed=3)),
        (digits_run, save_image(tmp_path / "b.png", seed=4, size=(8, 8))),
    ):
        found = plusx.explain(run, file, method=method)
        (known,) = plusx.predict(run, file, precision="fp32", progress=False)
        assert found.file == known.file and found.target == found.predicted == known.classes[0]
        assert found.probability == found.predicted_probability == pytest.approx(known.probabilities[0], abs=1e-5)
        assert not found.unknown and found.method == method and f"{100 * found.probability:.1f} %" in found.answer
        net, card = plusx.load(run)
        assert found.pixels_CHW.shape == (card.preprocess.channels, *card.preprocess.size)
        assert torch.equal(found.pixels_CHW, card.preprocess.pixels(file))
        if method != "blocks":
            x_1CHW = card.preprocess.normalise(found.pixels_CHW[None])
            known_map = explain_pixels(net, x_1CHW, card.class_names.index(found.target), method)
            assert found.map is not None and torch.equal(found.map.values_HW, known_map.values_HW)
            assert not found.blocks
        else:
            assert found.map is None and [each.name for each in found.blocks][:2] == ["stages.0.0", "stages.0.1"]


def test_a_class_is_chosen_by_its_name(photos_run: Path, digits_run: Path) -> None:
    image = Image.effect_noise((40, 40), 60).convert("RGB")
    both = {name: plusx.explain(photos_run, image, target=name) for name in ("ant", "bee")}
    assert [each.target for each in both.values()] == ["ant", "bee"]
    assert sum(each.probability for each in both.values()) == pytest.approx(1)
    assert not torch.equal(*(each.map.values_HW for each in both.values() if each.map))
    other = min(both.values(), key=lambda each: each.probability)
    assert other.answer == f"{other.predicted} {100 * other.predicted_probability:.1f} %; " + (
        f"{other.target} {100 * other.probability:.1f} %"
    )
    for wrong, complaint in (("bea", "no class 'bea'; did you mean 'bee'"), ("x", "no class 'x'; it knows ant, bee")):
        with pytest.raises(ValueError, match=complaint):
            plusx.explain(photos_run, image, target=wrong)
    with pytest.raises(ValueError, match="a class is named by text; target is 3"):
        plusx.explain(digits_run, image, target=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method is 'gradcam'; choose one of cam, blocks, occlusion, gradients"):
        plusx.explain(digits_run, image, method="gradcam")
    with pytest.raises(ValueError, match="is of type int"):
        plusx.explain(digits_run, 3)  # type: ignore[arg-type]


def test_probabilities_are_the_calibrated_ones_and_unknown_is_said(photos_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for file in ("card.json", "weights.safetensors"):
        (run / file).write_bytes((photos_run / file).read_bytes())
    warm = Calibration(50.0, 100, "val", rejection=Rejection(0.5, 0.999, 50))
    write_card(run, dataclasses.replace(read_card(run), calibration=warm))
    file = save_image(tmp_path / "a.png", seed=8)
    plain, warmer = plusx.explain(photos_run, file), plusx.explain(run, file)
    (known,) = plusx.predict(run, file, precision="fp32", progress=False)
    assert warmer.probability == pytest.approx(known.probabilities[0], abs=1e-5)
    assert warmer.probability < plain.probability and warmer.unknown and known.unknown and not plain.unknown
    assert warmer.answer.startswith("unknown, perhaps ")
    assert warmer.map and plain.map and torch.equal(warmer.map.values_HW, plain.map.values_HW)


def test_any_form_of_an_image_is_explained_alike(digits_run: Path, tmp_path: Path) -> None:
    file = save_image(tmp_path / "a.png", size=(8, 8))
    pixels = np.array(Image.open(file).convert("L"))
    Image.fromarray(pixels).save(file)
    maps = [plusx.explain(digits_run, each).map for each in (file, str(file), file.read_bytes(), pixels)]
    maps.append(plusx.explain(digits_run, Image.open(file)).map)
    assert all(each and maps[0] and torch.equal(each.values_HW, maps[0].values_HW) for each in maps)
    assert maps[0] and maps[0].values_HW.shape == (2, 2)  # of 8 x 8


def test_many_are_explained_as_each_alone(photos_run: Path, tmp_path: Path) -> None:
    files = [save_image(tmp_path / f"{seed}.png", seed=seed) for seed in range(3)]
    for method in METHODS:
        heard: list[tuple[int, int]] = []
        many = plusx.explain_files(
            photos_run,
            files,
            method=method,
            target="bee",
            out=tmp_path / method,
            progress=lambda *done, heard=heard: heard.append(done),
        )
        assert heard == [(1, 3), (2, 3), (3, 3)] and many.explanations[0].target == "bee"
        for each, file, figure in zip(many.explanations, files, many.figures, strict=True):
            alone = plusx.explain(photos_run, file, method=method, target="bee")
            assert each.map and alone.map and torch.equal(each.map.values_HW, alone.map.values_HW)
            assert figure.read_text() == alone.figure()
            assert np.array_equal(np.load(figure.with_suffix(".npy")), alone.map.values_HW.numpy())


@pytest.mark.parametrize("method", ASKS)
def test_a_folder_has_a_page_numbers_figures_and_arrays(photos_run: Path, tmp_path: Path, method: str) -> None:
    for folder in ("a", "b"):
        save_image(tmp_path / folder / "x<y>.png", seed=len(folder))
    (tmp_path / "a" / "bad.png").write_bytes(b"no image")
    found = plusx.explain_files(photos_run, [tmp_path / "a", tmp_path / "b"], method=method, out=tmp_path / "why")
    arrays = [] if method == "blocks" else ["x_y_-2.npy", "x_y_.npy"]
    assert sorted(file.name for file in found.out.iterdir()) == sorted(
        [*arrays, "explain.html", "explain.json", "x_y_-2.svg", "x_y_.svg"]
    )
    told = json.loads((found.out / "explain.json").read_text())
    assert told == json.loads(json.dumps(found.to_dict())) and len(told["files"]) == 3
    assert [each.get("error") is not None for each in told["files"]] == [False, False, True]
    page = (found.out / "explain.html").read_text()
    assert "x&lt;y&gt;.png" in page and "x<y>" not in page and "bad.png cannot be read" in page
    assert "http" not in page.replace("http://www.w3.org/", "")
    for figure in found.figures:
        drawn = figure.read_text()
        assert drawn.startswith("<svg") and "prefers-color-scheme" in drawn and "data:image/" in drawn
        assert found.explanations[0].target in drawn
    for each in found.explanations:
        assert each.in_words.startswith(each.answer) and len(each.numbers[1]) == len(each.blocks)


def test_the_page_of_many_photographs_is_of_sensible_size(tmp_path: Path, photos_run: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "weights.safetensors").write_bytes((photos_run / "weights.safetensors").read_bytes())
    card = read_card(photos_run)
    write_card(run, dataclasses.replace(card, preprocess=dataclasses.replace(card.preprocess, size=(224, 224))))
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    smooth.save(tmp_path / "photo.jpg")
    found = plusx.explain_files(run, tmp_path / "photo.jpg", out=tmp_path / "why")
    assert (found.out / "explain.html").stat().st_size < 60_000


def test_names_of_classes_are_text_in_every_figure(tmp_path: Path, photos_run: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "weights.safetensors").write_bytes((photos_run / "weights.safetensors").read_bytes())
    name = "<b>$x^$ & 개미 " + 30 * "long "
    write_card(run, dataclasses.replace(read_card(photos_run), class_names=(name, "bee")))
    for method in ("cam", "blocks"):
        found = plusx.explain_files(
            run, save_image(tmp_path / "a.png"), method=method, target=name, out=tmp_path / method
        )
        page = (found.out / "explain.html").read_text()
        assert "<b>" not in page and "&lt;b&gt;$x^$ &amp; 개미" in page
        assert "<b>" not in found.figures[0].read_text()


def test_what_cannot_be_explained_leaves_nothing(photos_run: Path, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.png", save_image(tmp_path / "good.png")
    bad.write_bytes(b"no image")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    for sources, options, complaint in (
        (bad, {}, "bad.png: "),
        (good, {"target": "beee"}, "did you mean 'bee'"),
        (good, {"method": "x"}, "method is 'x'"),
        (good, {"out": taken}, "taken exists"),
        ([], {}, "name an image to explain"),
    ):
        with pytest.raises(ValueError, match=complaint):
            plusx.explain_files(photos_run, sources, **{"out": tmp_path / "why", **options})  # type: ignore[arg-type]
        assert not (tmp_path / "why").exists() and [file.name for file in taken.iterdir()] == ["file"]


def test_too_many_are_refused_before_any_is_read(photos_run: Path, tmp_path: Path) -> None:
    for number in range(MOST + 1):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(ValueError, match="201 images are too many"):
        plusx.explain_files(photos_run, tmp_path)


def test_the_command_writes_beside_the_runs_figures_and_never_over_them(photos_run: Path, tmp_path: Path) -> None:
    image = save_image(tmp_path / "cat.png")
    first = result("analyse", photos_run, "explain", image)
    second = result("analyse", photos_run, "explain", image, "--class", "ant", "--method", "occlusion")
    assert Path(first["report"]).parent != Path(second["report"]).parent
    assert Path(first["report"]).is_file() and Path(second["files"][0]["figure"]).is_file()
    assert first["question"] == "explain" and first["method"] == "cam" and second["files"][0]["class"] == "ant"
    (about,) = first["files"]
    assert (about["height"], about["width"], about["layer"]) == (8, 8, "stages")

    done = command("analyse", photos_run, "explain", image, "--method", "blocks", "--out", tmp_path / "why")
    assert done.returncode == 0 and "stages.2.2" in done.stdout and f"report: {tmp_path / 'why'}" in done.stdout


def test_the_command_says_what_is_wrong(photos_run: Path, tmp_path: Path) -> None:
    image, bad = save_image(tmp_path / "cat.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    assert "name the images to explain" in refused("analyse", photos_run, "explain")
    assert "explain IMAGE... does" in refused("analyse", photos_run, "lesions", image)
    assert "did you mean 'explain'" in refused("analyse", photos_run, "explan")
    assert "did you mean 'bee'" in refused("analyse", photos_run, "explain", image, "--class", "beee")
    done = command("analyse", photos_run, "explain", image, bad, "--out", tmp_path / "why")
    assert done.returncode == 2 and "bad.png" in done.stderr and (tmp_path / "why" / "cat.svg").is_file()
    with pytest.raises(ValueError, match="plusx.explain_files"):
        plusx.analyse(photos_run, "explain")


OWN = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, num_classes=2, in_channels=3):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.out = nn.Linear(6, num_classes)

    def forward(self, x):
        return self.out(self.conv(x).relu().mean((2, 3)))
"""


def test_a_net_of_ones_own_is_explained_where_its_code_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(OWN)
    short = {"steps": 2, "data.limit": 40, "net.name": str(tmp_path / "mynet.py:Tiny")}
    run = plusx.train("digits", overrides=short, out=tmp_path / "run", progress=False).run
    image = save_image(tmp_path / "a.png", size=(8, 8))
    with pytest.raises(ValueError, match="--trust-code"):
        plusx.explain(run, image)
    for method in METHODS:
        found = plusx.explain(run, image, method=method, trust_code=True)
        assert found.map and found.map.values_HW.shape == (8, 8) and found.figure().startswith("<svg")
    with pytest.raises(ValueError, match="this net has no blocks"):
        plusx.explain(run, image, method="blocks", trust_code=True)


def test_a_perceptron_says_what_explains_it(tmp_path: Path) -> None:
    short = {"steps": 2, "data.limit": 40, "net.name": "residual_mlp"}
    run = plusx.train("digits", overrides=short, out=tmp_path / "run", progress=False).run
    with pytest.raises(ValueError, match="occlusion and gradients do without"):
        plusx.explain(run, Image.new("L", (8, 8)))
    assert len(plusx.explain(run, Image.new("L", (8, 8)), method="blocks").blocks) == 4
    with pytest.raises(ValueError, match="no maps that could explain its mistakes"):
        plusx.evaluate(run, explain=True, progress=False)


def test_a_run_trained_in_bf16_is_explained_in_fp32(tmp_path: Path) -> None:
    short = {"steps": 2, "data.limit": 40, "placement.precision": "bf16"}
    run = plusx.train("digits", overrides=short, out=tmp_path / "run", progress=False).run
    found = plusx.explain(run, Image.effect_noise((8, 8), 90))
    assert found.map and found.map.values_HW.dtype == found.map.logits_K.dtype == torch.float32
    assert found.map.values_HW.isfinite().all()


def test_worst_mistakes_are_shown_with_maps_where_that_is_asked_for(digits_run: Path, tmp_path: Path) -> None:
    plain = plusx.evaluate(digits_run, out=tmp_path / "plain", progress=False)
    found = plusx.evaluate(digits_run, explain=True, out=tmp_path / "explained", progress=False)
    assert found.score == plain.score and found.notes == plain.notes
    pages = [(folder.out / "evaluation.html").read_text() for folder in (plain, found) if folder.out]
    mistakes = pages[0].count("predicted <b>")
    assert mistakes > 0 and [page.count('class="pair"') for page in pages] == [0, mistakes]
    assert len(pages[1]) - len(pages[0]) < 24 * 40_000
    assert len({(tmp_path / out / "predictions.csv").read_bytes() for out in ("plain", "explained")}) == 1
    with pytest.raises(ValueError, match="maps explain one net"):
        plusx.evaluate([digits_run, digits_run], explain=True, out=tmp_path / "both", progress=False)

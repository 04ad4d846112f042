"""Other people's weights: every layout to the same function of an image, and to a run directory that verbs take."""

import argparse
import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import plusx
from plusx.runs.store import load_run, read_card
from plusx.weights.published import imagenet_class_names
from plusx.weights.start import starting_weights
from tests.conftest import save_image

Save = Callable[..., Path]
GREY: dict[str, Any] = {"mean": [0.5], "std": [0.5]}


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(tensors: object, name: str = "theirs.pth") -> Path:
        torch.save(tensors, tmp_path / name)
        return tmp_path / name

    return save


def lived_in(net: nn.Module) -> nn.Module:
    """A net in eval mode whose batch norms are not at their first values, so that no mistake in them stays unseen."""
    torch.manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor, 0.5, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def assert_equal(ours: nn.Module, theirs: nn.Module, shape: tuple[int, int, int]) -> None:
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return lived_in(torchvision.models.resnet18(num_classes=7))


# ---- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.more
def test_torchvision_resnet_in_every_wrapping(resnet18: nn.Module, save: Save, tmp_path: Path) -> None:
    tensors = resnet18.state_dict()
    parallel = {f"module.{name}": t for name, t in tensors.items()}
    save_file(tensors, tmp_path / "plain.safetensors")
    files = [tmp_path / "plain.safetensors", save(tensors, "plain.pth"), save(parallel, "parallel.pth")]
    files.append(save({"state_dict": parallel, "epoch": 90, "best_acc1": torch.tensor(70.0)}, "outer.pth.tar"))
    for file in files:
        assert_equal(plusx.build("resnet18", weights=file), resnet18, (3, 64, 64))


@pytest.mark.more
def test_torchvision_densenet_under_its_old_names(save: Save) -> None:
    theirs = lived_in(torchvision.models.densenet121(num_classes=3))
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", n): t for n, t in theirs.state_dict().items()}
    assert sum(".norm.1." in name for name in old) == 58 * 5
    assert_equal(plusx.build("densenet121", weights=save(old)), theirs, (3, 64, 64))


@pytest.mark.more
@pytest.mark.parametrize("aux", [True, False])
def test_torchvision_googlenet_with_and_without_auxiliary_heads(aux: bool, save: Save) -> None:
    theirs = lived_in(torchvision.models.googlenet(num_classes=3, aux_logits=aux, init_weights=False))
    assert_equal(plusx.build("googlenet", weights=save(theirs.state_dict())), theirs, (3, 64, 64))


def test_timm_dpn(save: Save) -> None:
    timm = pytest.importorskip("timm")
    theirs = lived_in(timm.create_model("dpn68", num_classes=3))
    assert_equal(plusx.build("dpn68", weights=save(theirs.state_dict())), theirs, (3, 64, 64))


@pytest.mark.more
def test_kuangliu_resnet(save: Save) -> None:
    ours = lived_in(plusx.build("resnet18_cifar"))
    rules = [(r"stem\.conv\.conv", "conv1"), (r"stem\.conv\.norm", "bn1"), (r"head\.linear", "linear")]
    rules += [(r"stages\.(\d)\.(\d)\.shortcut\.conv", r"layer+\1.\2.shortcut.0")]
    rules += [(r"stages\.(\d)\.(\d)\.shortcut\.norm", r"layer+\1.\2.shortcut.1")]
    rules += [(r"stages\.(\d)\.(\d)\.branch\.conv(\d)\.conv", r"layer+\1.\2.conv\3")]
    rules += [(r"stages\.(\d)\.(\d)\.branch\.conv(\d)\.norm", r"layer+\1.\2.bn\3")]
    theirs = {}
    for name, value in ours.state_dict().items():
        for pattern, new in rules:
            name = re.sub(f"^{pattern}", new, name)
        name = re.sub(r"layer\+(\d)", lambda stage: f"layer{int(stage[1]) + 1}", name)
        theirs[f"module.{name}"] = value
    file = save({"net": theirs, "acc": 95.1, "epoch": 199})
    made = plusx.convert(file, "resnet18_cifar", out=file.parent / "run", data="cifar10")
    assert made.translation.source == "kuangliu" and not made.translation.dropped and not made.translation.missing
    assert made.card.preprocess.std_C11.flatten().tolist() == pytest.approx([0.2023, 0.1994, 0.2010])
    assert_equal(load_run(made.run)[0], ours, (3, 32, 32))


class Akamaster(nn.Module):
    """akamaster/pytorch_resnet_cifar10's ResNet-20, whose option A pads channels on both sides."""

    class Block(nn.Module):
        def __init__(self, inner: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inner, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)

        def forward(self, x: Tensor) -> Tensor:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if x.shape != y.shape:
                width = y.shape[1]
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, width // 4, width // 4), "constant", 0)
            return F.relu(y + x)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(self.Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(*(self.Block(16 if i == 0 else 32, 32, 2 if i == 0 else 1) for i in range(3)))
        self.layer3 = nn.Sequential(*(self.Block(32 if i == 0 else 64, 64, 2 if i == 0 else 1) for i in range(3)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def test_akamaster_resnet_whose_shortcuts_pad_on_both_sides(save: Save) -> None:
    theirs = lived_in(Akamaster())
    file = save({"state_dict": {f"module.{n}": t for n, t in theirs.state_dict().items()}, "best_prec1": 91.7})
    assert_equal(plusx.build("resnet20", weights=file), theirs, (3, 32, 32))


@pytest.mark.more
def test_the_published_resnet20_scores_what_its_author_states(real_cifar10: Path, tmp_path: Path) -> None:
    file = Path(os.environ.get("PLUSX_WEIGHTS", "")) / "akamaster-resnet20-12fca82f.th"
    if not file.is_file():
        pytest.skip("akamaster-resnet20-12fca82f.th is not under PLUSX_WEIGHTS")
    made = plusx.convert(file, "resnet20", data="cifar10", out=tmp_path / "run")
    assert plusx.evaluate(made.run, data_dir=real_cifar10).score.error == pytest.approx(1 - 0.9173, abs=1e-9)


# ---- build and training ----------------------------------------------------------------------------------------------


def test_another_number_of_classes_gives_a_fresh_last_layer(resnet18: nn.Module, save: Save) -> None:
    file = save(resnet18.state_dict())
    net = plusx.build("resnet18", weights=file, num_classes=5)
    state = net.state_dict()
    assert state["head.linear.weight"].shape == (5, 512) and net.training
    assert torch.equal(state["stem.conv.conv.weight"], resnet18.state_dict()["conv1.weight"])
    with pytest.raises(ValueError, match="has no last layer of 5 classes.*plusx train DATA"):
        plusx.convert(file, "resnet18", out=file.parent / "run", options={"num_classes": 5})
    assert not (file.parent / "run").exists()


def test_without_weights_build_draws_fresh_ones() -> None:
    torch.manual_seed(2)
    a = plusx.build("resnet20")
    torch.manual_seed(2)
    b = plusx.build("resnet20", shortcut="A")
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


SHORT = {"steps": "2", "batch_size": "8", "data.limit": "16", "evaluation.count": "1", "preprocess.size": "32"}


@pytest.mark.more
def test_training_starts_from_their_weights_with_a_fresh_last_layer(
    resnet18: nn.Module, save: Save, class_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = class_folder(["train", "val"], {"ant": 8, "bee": 8})
    settings = {**SHORT, "net.name": "resnet18", "net.weights": str(save(resnet18.state_dict())), "optim.lr": "1e-30"}
    trained = plusx.train(folder, overrides=settings, out=tmp_path / "run")
    net, card = load_run(trained.run)
    assert len(card.class_names) == 2
    assert torch.equal(net.state_dict()["stem.conv.conv.weight"], resnet18.state_dict()["conv1.weight"])


def test_a_run_remembers_what_only_the_weights_tell(save: Save, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = plusx.build("resnet20", shortcut="B", in_channels=1)
    save_file(theirs.state_dict(), tmp_path / "b.safetensors")
    settings = {"steps": "2", "data.limit": "16", "net.weights": str(tmp_path / "b.safetensors"), "optim.lr": "1e-30"}
    card = read_card(plusx.train("digits", overrides=settings, out=tmp_path / "run").run)
    assert card.net_options["shortcut"] == "B"
    net, _ = load_run(tmp_path / "run")
    name = "stages.1.0.shortcut.conv.weight"
    assert torch.equal(net.state_dict()[name], theirs.state_dict()[name])


def test_a_resumed_run_does_not_need_the_weights_that_it_began_with(tmp_path: Path) -> None:
    save_file(plusx.build("resnet20", in_channels=1).state_dict(), tmp_path / "w.safetensors")
    settings = {"steps": "4", "batch_size": "8", "data.limit": "16", "net.weights": str(tmp_path / "w.safetensors")}
    straight = plusx.train("digits", overrides=settings, out=tmp_path / "straight")
    steps = iter([False, True])
    with pytest.raises(ValueError, match="stopped at step 2"):
        plusx.train("digits", overrides=settings, out=tmp_path / "run", should_stop=lambda: next(steps))
    (tmp_path / "w.safetensors").unlink()
    resumed = plusx.resume(tmp_path / "run")
    raw = [(run / "weights.safetensors").read_bytes() for run in (straight.run, resumed.run)]
    assert raw[0] == raw[1]


def test_no_step_at_all_leaves_the_weights_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = plusx.build("resnet20", in_channels=1)
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "names.txt").write_text("\n".join("0123456789"))  # the names of the digits: rows go by name
    named = {"classes": tmp_path / "names.txt", "out": tmp_path / "theirs", **GREY}
    plusx.convert(tmp_path / "w.safetensors", "resnet20", **named)
    settings = {"steps": "0", "data.limit": "16", "net.weights": str(tmp_path / "theirs")}
    trained = plusx.train("digits", overrides=settings, out=tmp_path / "run")
    net, card = load_run(trained.run)
    assert card.results["steps"] == 0 and 0 <= card.results["test_error"] <= 1
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in theirs.state_dict().items())


# ---- classes go by name ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "note"),
    [
        (["bee", "ant"], None),
        (["ant", "bee"], None),
        (["ant", "wasp"], "its 2 classes are others ('bee' is none of them), so a new last layer begins"),
        (
            None,
            "nothing names its 2 classes, so a new last layer begins; to keep theirs, convert the file with --classes",
        ),
    ],
)
def test_a_last_layer_is_taken_over_by_the_names_of_its_classes(
    theirs: list[str] | None,
    note: str | None,
    class_folder: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.manual_seed(3)
    net = plusx.build("resnet20", num_classes=2)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    weights = tmp_path / "w.safetensors"
    if theirs:
        (tmp_path / "names.txt").write_text("\n".join(theirs))
        settings = {"classes": tmp_path / "names.txt", "out": tmp_path / "theirs", "mean": [0.5] * 3, "std": [0.5] * 3}
        weights = plusx.convert(weights, "resnet20", **settings).run
    overrides = {**SHORT, "net.name": "resnet20", "net.weights": str(weights), "steps": "0"}
    folder = class_folder(["train", "val"], {"ant": 8, "bee": 8})
    trained = plusx.train(folder, overrides=overrides, out=tmp_path / "run")
    started, card = load_run(trained.run)
    assert card.class_names == ("ant", "bee")
    rows, theirs_rows = started.state_dict()["head.linear.weight"], net.state_dict()["head.linear.weight"]
    assert caplog.messages == [f"{weights}: {each}" for each in card.notes]
    notes = [each for each in card.notes if "images are prepared as these weights' were" not in each]
    assert (len(notes) < len(card.notes)) == (theirs is not None)  # a file alone does not tell its preprocessing
    if note is None:
        assert theirs is not None and not notes
        assert torch.equal(rows, theirs_rows[[theirs.index(name) for name in card.class_names]])
    else:
        assert not torch.isin(rows, theirs_rows).any()
        assert note in notes[0] and len(notes) == 1
    assert torch.equal(started.state_dict()["stem.conv.conv.weight"], net.state_dict()["stem.conv.conv.weight"])


@pytest.mark.more
def test_auxiliary_heads_go_by_name_too(tmp_path: Path) -> None:
    net = plusx.build("googlenet", num_classes=3)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "names.txt").write_text("a\nb\nc")
    settings = {"classes": tmp_path / "names.txt", "out": tmp_path / "run", "mean": [0.5] * 3, "std": [0.5] * 3}
    plusx.convert(tmp_path / "w.safetensors", "googlenet", **settings)
    data = {"class_names": ["c", "a", "b"], "num_classes": 3, "in_channels": 3}
    start = starting_weights(tmp_path / "run", "googlenet", **data).translation
    for name in ("head.linear.bias", "aux.0.fc2.weight", "aux.1.fc2.weight"):
        assert torch.equal(start.tensors[name], net.state_dict()[name][[2, 0, 1]])
    assert torch.equal(start.tensors["aux.0.fc1.weight"], net.state_dict()["aux.0.fc1.weight"])


def test_starting_weights_come_with_their_preprocessing(resnet18: nn.Module, save: Save, tmp_path: Path) -> None:
    file = save(resnet18.state_dict())
    start = starting_weights(file, "resnet18", class_names=["ant", "bee"], num_classes=2)
    assert start.preprocess is not None and start.class_names is None
    assert start.preprocess.mean_CHW.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])  # by their layout
    (tmp_path / "names.txt").write_text("\n".join("abcdefg"))
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "size": 48}
    run = plusx.convert(file, "resnet18", classes=tmp_path / "names.txt", out=tmp_path / "run", **own).run
    start = starting_weights(run, "resnet18", class_names=["ant", "bee"], num_classes=2)
    assert start.preprocess is not None and start.preprocess.to_dict() == read_card(run).preprocess.to_dict()
    assert start.preprocess.size == (48, 48) and start.class_names == tuple("abcdefg")


def test_starting_weights_of_unknown_images_come_without_preprocessing(save: Save) -> None:
    ours = plusx.build("resnet20", num_classes=2)
    assert starting_weights(save(ours.state_dict()), "resnet20").preprocess is None  # nobody else's layout
    theirs = torchvision.models.googlenet(num_classes=2, aux_logits=False, init_weights=False)
    assert starting_weights(save(theirs.state_dict()), "googlenet").preprocess is None  # transformed its input or not
    grey = torchvision.models.resnet18(num_classes=2)
    grey.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    assert starting_weights(save(grey.state_dict()), "resnet18").preprocess is None  # ImageNet's has three channels


def test_training_starts_from_a_file_without_a_last_layer(
    class_folder: Callable[..., Path], save: Save, tmp_path: Path
) -> None:
    net = plusx.build("resnet20", num_classes=0)
    file = save({f"backbone.{name}": t for name, t in net.state_dict().items()})
    overrides = {**SHORT, "net.name": "resnet20", "net.weights": str(file), "steps": "0"}
    trained = plusx.train(
        class_folder(["train", "val"], {"ant": 8, "bee": 8}), overrides=overrides, out=tmp_path / "run"
    )
    state = load_run(trained.run)[0].state_dict()
    assert all(torch.equal(state[name], t) for name, t in net.state_dict().items())
    with pytest.raises(ValueError, match="theirs.pth has no last layer, or train one: plusx train DATA"):
        plusx.convert(file, "resnet20", out=tmp_path / "other", mean=[0.5] * 3, std=[0.5] * 3)


def test_a_run_that_names_classes_needs_some(resnet18: nn.Module, save: Save) -> None:
    file = save(resnet18.state_dict())
    with pytest.raises(ValueError, match="a run names classes; for features alone, plusx.build.'resnet18', WEIGHTS"):
        plusx.convert(file, "resnet18", options={"num_classes": 0})
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        features = plusx.build("resnet18", weights=file, num_classes=0).eval()(x)
        torch.testing.assert_close(resnet18.fc(features), resnet18(x))


# ---- the run directory -----------------------------------------------------------------------------------------------


def test_a_converted_run_predicts_and_says_where_it_came_from(resnet18: nn.Module, save: Save, tmp_path: Path) -> None:
    file = save(resnet18.state_dict())
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\neel\nfox\n가재\n", encoding="utf-8")
    made = plusx.convert(file, "resnet18", out=tmp_path / "run", classes=tmp_path / "names.txt")
    assert sorted(p.name for p in made.run.iterdir() if p.name != ".lock") == [
        "card.json",
        "metrics.jsonl",
        "weights.safetensors",
    ]
    results = json.loads((made.run / "card.json").read_text())["results"]
    assert results["weights"] == "theirs.pth" and results["source"] == "torchvision" and results["steps"] == 0
    assert results["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (results["matched"], results["renamed"], results["dropped"], results["missing"]) == (0, 122, 0, 0)
    (prediction,) = plusx.predict(made.run, [save_image(tmp_path / "a.png")], top_k=7)
    assert set(prediction.classes) == {"ant", "bee", "cat", "dog", "eel", "fox", "가재"}
    with pytest.raises(ValueError, match="was converted from weights alone; name a folder"):
        plusx.evaluate(made.run)
    with pytest.raises(ValueError, match="was converted; it is measured on a folder, not digits"):
        plusx.evaluate(made.run, "digits")


@pytest.mark.more
@pytest.mark.parametrize(
    ("net", "settings", "mean", "std"),
    [
        ("resnet18", {}, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("googlenet", {"mean": [0.5] * 3, "std": [0.5] * 3}, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_images_are_prepared_as_torchvision_does(
    net: str, settings: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...], save: Save, tmp_path: Path
) -> None:
    arguments = {"aux_logits": False, "init_weights": False} if net == "googlenet" else {}
    theirs = torchvision.models.get_model(net, num_classes=2, **arguments)
    preprocess = plusx.convert(save(theirs.state_dict()), net, out=tmp_path / "run", **settings).card.preprocess
    assert (preprocess.size, preprocess.crop_fraction, preprocess.interpolation) == ((224, 224), 0.875, "bilinear")
    assert preprocess.mean_CHW.flatten().tolist() == pytest.approx(mean)
    assert preprocess.std_C11.flatten().tolist() == pytest.approx(std)


def test_whether_googlenet_transforms_its_input_is_asked(save: Save, tmp_path: Path) -> None:
    theirs = torchvision.models.googlenet(num_classes=2, aux_logits=False, init_weights=False)
    file = save(theirs.state_dict())
    sentence = (
        "nothing tells whether .* belongs to a googlenet with transform_input.*"
        "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 if their training began with published weights, or "
        "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 if their training began at random"
    )
    for settings in ({}, {"mean": [0.5] * 3}):
        with pytest.raises(ValueError, match=sentence):
            plusx.convert(file, "googlenet", out=tmp_path / "run", **settings)


# ---- names of the classes --------------------------------------------------------------------------------------------


def test_a_thousand_classes_are_imagenets_only_where_something_says_so(save: Save, tmp_path: Path) -> None:
    tensors = plusx.build("lenet5_dense", num_classes=1000).state_dict()
    file = save(tensors)
    made = plusx.convert(file, "lenet5_dense", out=tmp_path / "bare", **GREY)
    assert made.card.class_names[:2] == ("class 0", "class 1")
    (note,) = made.card.notes
    assert "nothing names the 1,000 classes" in note and "--classes FILE" in note and "--classes imagenet" in note
    asked = plusx.convert(file, "lenet5_dense", out=tmp_path / "asked", classes="imagenet", **GREY)
    assert asked.card.class_names[0] == "tench" and not asked.card.notes
    said = [f"thing {i}" for i in range(1000)]
    named = save({"model": tensors, "classes": said}, "named.pth")
    card = plusx.convert(named, "lenet5_dense", out=tmp_path / "said", **GREY).card
    assert list(card.class_names) == said and not card.notes


@pytest.mark.more
def test_a_file_that_torchvision_published_is_known_by_its_hash(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(torchvision.models.resnet18().state_dict(), "renamed.pth")
    assert plusx.convert(file, "resnet18", out=tmp_path / "bare").card.class_names[0] == "class 0"
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    url = f"https://host/resnet18-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(weights, "_value_", replace(weights.value, url=url))
    published = plusx.convert(file, "resnet18", out=tmp_path / "published").card
    assert published.class_names[0] == "tench" and not published.notes
    assert "ResNet18_Weights.IMAGENET1K_V1" in published.preprocess.obtained


def test_equal_names_of_a_published_list_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(set(imagenet_class_names())) == 1000
    # As torchvision's list was until it had two names for its cranes.
    listed = ["crane" if index in (134, 517) else f"thing {index}" for index in range(1000)]
    monkeypatch.setitem(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta, "categories", listed)
    names = imagenet_class_names()
    assert len(set(names)) == 1000 and (names[134], names[517]) == ("crane (134)", "crane (517)")


@pytest.mark.parametrize("second", ["crane", "  crane ", "cafe\u0301"])
def test_a_name_for_two_classes_is_refused(second: str, tmp_path: Path) -> None:
    save_file(plusx.build("lenet5_dense", num_classes=3).state_dict(), tmp_path / "w.safetensors")
    first = second.strip().replace("e\u0301", "\u00e9")  # the same name in its other Unicode form
    (tmp_path / "names.txt").write_text(f"{first}\nant\n{second}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"names.txt has one name for several classes: '{first}' is number 1 and 3"):
        plusx.convert(tmp_path / "w.safetensors", "lenet5_dense", classes=tmp_path / "names.txt", **GREY)
    (tmp_path / "names.txt").write_text("e\u0301\nant\nbee\n", encoding="utf-8")
    settings = {"classes": tmp_path / "names.txt", "out": tmp_path / "run", **GREY}
    assert plusx.convert(tmp_path / "w.safetensors", "lenet5_dense", **settings).card.class_names[0] == "\u00e9"


def test_an_old_run_whose_classes_have_one_name_tells_them_apart(digits_run: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_run, tmp_path / "run")
    fields = json.loads((tmp_path / "run" / "card.json").read_text())
    fields["class_names"] = ["crane", "cafe\u0301", "crane", *"3456789"]
    (tmp_path / "run" / "card.json").write_text(json.dumps(fields))
    assert read_card(tmp_path / "run").class_names[:3] == ("crane (0)", "caf\u00e9", "crane (2)")


# ---- what a file says of itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["resnetblur50", "resnet34", "timm/resnetblur50.bt_in1k", "wide_resnet50_2", "resnet50_gn"]
)
def test_a_file_that_says_another_net_is_refused(said: str, resnet18: nn.Module, save: Save, tmp_path: Path) -> None:
    for number, beside in enumerate(({"arch": said}, {"args": argparse.Namespace(model=said)})):
        file = save({"state_dict": resnet18.state_dict(), **beside}, f"{number}.pth")
        with pytest.raises(ValueError, match=f"says that it is of {said}, which is another net than resnet18"):
            plusx.convert(file, "resnet18", out=tmp_path / "run")
        with pytest.raises(ValueError, match="which is another net than resnet18"):
            plusx.build("resnet18", weights=file)


@pytest.mark.parametrize(
    "said", ["resnet18", "tv_resnet18", "timm/resnet18.a1_in1k", "my_resnet", "ResNet", "resnet", "v2"]
)
def test_a_file_that_says_this_net_or_a_name_of_its_authors_is_taken(
    said: str, resnet18: nn.Module, save: Save
) -> None:
    assert_equal(
        plusx.build("resnet18", weights=save({"arch": said, "model": resnet18.state_dict()})), resnet18, (3, 32, 32)
    )


def test_without_timm_the_common_names_of_its_nets_are_known(
    resnet18: nn.Module, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="resnetblur50, which is another net than resnet18, and which plusx does not"):
        plusx.build("resnet18", weights=save({"arch": "resnetblur50", "model": resnet18.state_dict()}))


def test_a_small_net_that_its_author_calls_by_the_large_ones_name_is_taken(save: Save) -> None:
    theirs = plusx.build("resnet18_cifar").state_dict()
    plusx.build("resnet18_cifar", weights=save({"args": {"arch": "resnet18"}, "net": theirs}))


def test_our_own_weights_need_their_normalisation_told(tmp_path: Path) -> None:
    save_file(plusx.build("resnet20", in_channels=1).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"nothing tells how .* were normalised; give --mean and --std \(1 numbers"):
        plusx.convert(tmp_path / "w.safetensors", "resnet20", out=tmp_path / "run")
    made = plusx.convert(tmp_path / "w.safetensors", "resnet20", out=tmp_path / "run", mean=[0.1], std=[0.3], size=28)
    preprocess = made.card.preprocess
    assert (
        preprocess.size == (28, 28)
        and preprocess.mean_CHW.item() == pytest.approx(0.1)
        and preprocess.obtained == "as given"
    )
    assert made.card.class_names[9] == "class 9"


def test_a_runs_weights_keep_its_card(digits_run: Path, tmp_path: Path) -> None:
    card = read_card(digits_run)
    for weights in (digits_run, digits_run / "weights.safetensors"):
        made = plusx.convert(weights, out=tmp_path / f"of-{weights.name}")
        assert made.card.class_names == card.class_names
        assert made.card.preprocess.to_dict() == card.preprocess.to_dict()
        assert len(made.translation.matched) == len(made.translation.tensors)
    with pytest.raises(ValueError, match="are weights of resnet20, not of resnet32"):
        plusx.build("resnet32", weights=digits_run)


def test_half_precision_becomes_single(resnet18: nn.Module, save: Save, tmp_path: Path) -> None:
    made = plusx.convert(save(resnet18.half().state_dict()), "resnet18", out=tmp_path / "run")
    resnet18.float()
    dtypes = {t.dtype for t in load_run(made.run)[0].parameters()}
    assert dtypes == {torch.float32}


def test_what_does_not_fit_is_one_sentence_and_leaves_nothing(resnet18: nn.Module, save: Save, tmp_path: Path) -> None:
    tensors = resnet18.state_dict()
    file = save(tensors)
    nan = save({**tensors, "bn1.bias": torch.full((64,), float("nan"))}, "nan.pth")
    whole = save({**tensors, "bn1.bias": torch.ones(64, dtype=torch.int32)}, "int.pth")
    (tmp_path / "two.txt").write_text("a\nb\n")
    (tmp_path / "folder").mkdir()
    cases: list[tuple[Path | str, str | None, dict[str, object], str]] = [
        (file, None, {}, "nothing tells which net .* add --net NAME"),
        (file, "resnet2O", {}, "unknown net 'resnet2O'; did you mean"),
        (file, "resnet34", {}, "theirs.pth: the weights are not resnet34's"),
        (
            file,
            "resnet18",
            {"options": {"shortcutt": "B"}},
            "resnet18 has no option 'shortcutt'; did you mean 'shortcut'",
        ),
        (file, "resnet18", {"data": "cifar1O"}, "data is 'cifar1O'; choose cifar10 or cifar100"),
        (file, "resnet18", {"data": "cifar10"}, "cifar10 names 10 classes; the last layer of .* has 7"),
        (file, "resnet18", {"classes": tmp_path / "two.txt"}, "two.txt names 2 classes; the last layer of .* has 7"),
        (file, "resnet18", {"classes": tmp_path / "none.txt"}, "cannot read class names from .*none.txt"),
        (file, "resnet18", {"mean": [0.5]}, "--mean gives 1 numbers; resnet18 takes 3 channels"),
        (file, "resnet18", {"std": [0.5, 0.0, 0.5]}, "--std is 0.5, 0.0, 0.5; each must be more than 0"),
        (nan, "resnet18", {}, "nan.pth was not loaded: bn1.bias holds values that are not finite"),
        (whole, "resnet18", {}, "bn1.bias is torch.int32, not of floating point"),
        (tmp_path / "absent.pth", "resnet18", {}, "no such file: .*; published weights are torchvision:NAME"),
        (tmp_path / "folder", "resnet18", {}, "is a folder"),
    ]
    for weights, net, arguments, sentence in cases:
        with pytest.raises(ValueError, match=sentence) as fault:
            plusx.convert(weights, net, out=tmp_path / "out" / "run", **arguments)  # type: ignore[arg-type]
        assert "\n" not in str(fault.value) and not (tmp_path / "out").exists()


def test_images_of_cifar_keep_their_size(save: Save, tmp_path: Path) -> None:
    file = save(torchvision.models.resnet18(num_classes=10).state_dict())
    with pytest.raises(ValueError, match="cifar10 has images of 32 pixels.*these weights take 224.*add --size 32"):
        plusx.convert(file, "resnet18", out=tmp_path / "run", data="cifar10")
    assert plusx.convert(file, "resnet18", out=tmp_path / "run", data="cifar10", size=32).card.preprocess.size == (
        32,
        32,
    )


def test_a_directory_is_not_written_over_and_never_half_written(
    resnet18: nn.Module, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = save(resnet18.state_dict()), tmp_path / "run"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            plusx.convert(file, "resnet18", out=out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["theirs.pth"]
    out.mkdir()  # an empty one may be taken
    plusx.convert(file, "resnet18", out=out)
    before = (out / "card.json").read_bytes()
    with pytest.raises(ValueError, match="run exists; choose another --out$"):
        plusx.convert(file, "resnet18", out=out)
    assert (out / "card.json").read_bytes() == before


def test_the_default_place_is_a_free_name_under_runs(
    resnet18: nn.Module, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(resnet18.state_dict())
    monkeypatch.chdir(tmp_path)
    places = [str(plusx.convert(file, "resnet18").run) for _ in range(2)]
    assert places == ["runs/resnet18-theirs", "runs/resnet18-theirs-2"]


def test_conversion_draws_nothing_from_the_global_generator(resnet18: nn.Module, save: Save, tmp_path: Path) -> None:
    file = save(resnet18.state_dict())
    before = torch.get_rng_state()
    plusx.convert(file, "resnet18", out=tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)

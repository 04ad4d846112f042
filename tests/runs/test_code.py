"""A net of one's own: it trains, the run keeps its code, and nothing runs that code unless somebody says so."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import plusx
from plusx.nets import build
from plusx.nets.own import named
from plusx.runs.store import read_card
from tests.cli.commands import plusx as command
from tests.cli.commands import refused, result
from tests.conftest import save_image

SOURCE = """
from pathlib import Path
import torch
from torch import nn

with (Path(MARK) / "ran").open("a") as mark:
    mark.write("x")

class MyNet(nn.Module):
    def __init__(self, num_classes=10, width=8):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.drop, self.out = nn.Dropout(0.1), nn.Linear(width, num_classes)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))

class Two(nn.Module):
    def __init__(self, slope=0.0):
        super().__init__()
        self.out, self.slope = nn.Linear(3, 2), slope

    def forward(self, x):
        return nn.functional.leaky_relu(self.out(x.mean((2, 3))), self.slope)

class Seven(Two):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 7)

class Pair(Two):
    def forward(self, x):
        return super().forward(x), x

class Broken(Two):
    def forward(self, x):
        return self.gone(x)
"""
SHORT = {"preprocess.size": 32, "steps": 4, "batch_size": 8, "save_seconds": 0.0}


@pytest.fixture
def mynet(tmp_path: Path) -> Path:
    file = tmp_path / "mine" / "mynet.py"
    file.parent.mkdir()
    file.write_text(SOURCE.replace("MARK", repr(str(tmp_path))))
    return file


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "photos"
    for number in range(16):
        save_image(root / "ab"[number % 2] / f"{number}.png", seed=number, hue=number % 2, size=(50, 40))
    return root


def imported(file: Path) -> ModuleType:
    """A module as a user's own program has it."""
    spec = importlib.util.spec_from_file_location(f"users_{file.parent.parent.name.replace('-', '_')}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def train(photos: Path, out: Path, **how: Any) -> Path:
    overrides = {**SHORT, **how.pop("overrides", {})}
    return plusx.train(photos, out=out, overrides=overrides, progress=False, **how).run


def test_every_verb_loads_it_if_the_code_is_trusted_and_runs_nothing_if_not(
    mynet: Path, photos: Path, tmp_path: Path
) -> None:
    sets = [part for key, value in SHORT.items() for part in ("--set", f"{key}={value}")]
    name = ["--set", f"net.name={mynet}:MyNet", "--set", "net.options.width=12"]
    run = Path(result("train", photos, *sets, *name, "--out", tmp_path / "run", "--quiet")["run"])
    card = read_card(run)
    assert card.net_options == {"width": 12, "num_classes": 2} and card.code is not None
    assert (run / "code" / "mynet.py").read_bytes() == mynet.read_bytes()
    assert card.recipe.placement.kernels == "plain" and not card.placement["capture"]
    ran = tmp_path / "ran"
    ran.unlink()
    image = next(photos.rglob("*.png"))
    verbs = (["evaluate", run], ["predict", run, image], ["analyse", run, "responses"], ["summary", run])
    for verb in verbs:
        assert "loading it runs that code; if you trust it, add --trust-code" in refused(*verb, cwd=tmp_path)
    for call in (plusx.load, plusx.Predictor, plusx.evaluate, plusx.summarise):
        with pytest.raises(ValueError, match="add --trust-code"):
            call(run)
    assert not ran.exists()
    for verb in verbs:
        done = command(*verb, "--trust-code")
        assert done.returncode == 0, done
    assert ran.exists()
    measured = plusx.evaluate(run, trust_code=True, device="cpu", progress=False).score
    assert abs(measured.error - card.results["val_error"]) < 1e-9
    net, _ = plusx.load(run, trust_code=True)
    assert sum(p.numel() for p in net.parameters()) == card.results["params"]


def test_a_copy_that_was_changed_is_refused_before_it_runs(mynet: Path, photos: Path, tmp_path: Path) -> None:
    run = train(photos, tmp_path / "run", overrides={"net.name": f"{mynet}:MyNet"})
    (tmp_path / "ran").unlink()
    with (run / "code" / "mynet.py").open("a") as file:
        file.write("# changed")
    with pytest.raises(ValueError, match="but that file has changed: its SHA-256 is .*; it is not run"):
        plusx.load(run, trust_code=True)
    (run / "code" / "mynet.py").unlink()
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        plusx.load(run, trust_code=True)
    content = json.loads((run / "card.json").read_text())
    content["code"]["file"] = f"../../{mynet.parent.name}/mynet.py"
    (run / "card.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="run/code/mynet.py"):  # nothing outside of the run is read
        plusx.load(run, trust_code=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("as_object", [False, True])
def test_a_run_that_was_stopped_resumes_to_the_same_weights(
    mynet: Path, photos: Path, tmp_path: Path, as_object: bool
) -> None:
    if as_object:
        torch.manual_seed(5)
        how: dict[str, Any] = {"net": imported(mynet).MyNet(num_classes=2)}
    else:
        how = {"overrides": {"net.name": f"{mynet}:MyNet"}}
    whole = train(photos, tmp_path / "whole", **how)
    for steps in (0, 1, 2):
        asked = 0

        def stop(steps: int = steps) -> bool:
            nonlocal asked
            asked += 1
            return asked > steps

        cut = tmp_path / f"cut{steps}"
        with pytest.raises(plusx.StoppedError):
            train(photos, cut, should_stop=stop, **how)
        with pytest.raises(ValueError, match="add --trust-code"):
            plusx.resume(cut, progress=False)
        plusx.resume(cut, trust_code=True, progress=False)
        assert (cut / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_an_object_is_trained_from_its_own_weights_and_stays_as_it_is(
    mynet: Path, photos: Path, tmp_path: Path
) -> None:
    net = imported(mynet).MyNet(num_classes=2)
    before = {key: t.clone() for key, t in net.state_dict().items()}
    run = train(photos, tmp_path / "run", net=net, overrides={"steps": 0})
    weights = plusx.load(run, trust_code=True)[0].state_dict()
    assert all(torch.equal(weights[key], t) and torch.equal(net.state_dict()[key], t) for key, t in before.items())
    run = train(photos, tmp_path / "longer", net=net)
    assert all(torch.equal(net.state_dict()[key], t) for key, t in before.items())
    given, trusted = plusx.load(run, net=net)[0], plusx.load(run, trust_code=True)[0]
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(given(x), trusted(x)) and not torch.equal(given(x), net.eval()(x))
    with pytest.raises(ValueError, match="does not have its first weights"):
        plusx.analyse(run, "gradients", trust_code=True, progress=False)
    assert plusx.analyse(run, "responses", trust_code=True, progress=False).images


class Here(nn.Module):
    """Defined where no file makes it again: its argument decides what it computes."""

    def __init__(self, slope: float, classes: int = 2) -> None:
        super().__init__()
        self.out, self.slope = nn.Linear(3, classes), slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(self.out(x.mean((2, 3))), self.slope)


@pytest.mark.parametrize("kind", ["arguments that change the weights", "arguments that do not", "local"])
def test_a_net_that_its_file_does_not_make_again_says_so_and_loads_with_net(
    mynet: Path, photos: Path, tmp_path: Path, kind: str
) -> None:
    class Local(nn.Sequential):
        pass

    make, reason = {
        "arguments that change the weights": (lambda: Here(0.5), "its class does not make it again"),
        "arguments that do not": (lambda: imported(mynet).Two(slope=0.5), "makes a net that computes something else"),
        "local": (lambda: Local(nn.Flatten(), nn.Linear(3072, 2)), "defined in a notebook, in a script"),
    }[kind]
    notes: list[str] = []
    run = plusx.train(
        photos,
        out=tmp_path / "run",
        overrides=SHORT,
        net=make(),
        progress=lambda e: notes.extend(getattr(e, "notes", ())),
    ).run
    said = f"{run} can be loaded in Python only, with net="
    assert any(note.startswith(said) and reason in note for note in notes) and not (run / "code").exists()
    for trust_code in (False, True):
        with pytest.raises(ValueError, match=reason):
            plusx.evaluate(run, trust_code=trust_code, progress=False)
    measured = plusx.evaluate(run, net=make(), device="cpu", progress=False).score
    assert measured.error == read_card(run).results["val_error"]
    assert len(plusx.predict(run, [next(photos.rglob("*.png"))], net=make(), progress=False)) == 1


def test_what_does_not_fit_is_one_sentence(mynet: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "beside.py").write_text("width = 3\n")
    (tmp_path / "mine" / "wrong.py").write_text("def f(:\n")
    (tmp_path / "mine" / "helped.py").write_text(
        f"import sys\nsys.path.insert(0, {str(mynet.parent)!r})\nimport beside\nsys.path.pop(0)\nMyNet = None\n"
    )
    sets = [part for key, value in SHORT.items() for part in ("--set", f"{key}={value}")]
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, complaint in {
        "mynet.py:Seven": "Seven makes of 2 images an output of 2 x 7; the data has 2 classes, so it must be 2 x 2",
        "mynet.py:Pair": "Pair puts out a tuple; it must be a tensor of logits",
        "mynet.py:Broken": "Broken does not take images of 3 x 32 x 32: AttributeError: 'Broken' object",
        "mynet.py:MyNte": "mynet.py has no class 'MyNte'; did you mean 'MyNet'?",
        "mynet.py:torch": "has no class 'torch'",
        "gone.py:MyNet": "there is no such file",
        "wrong.py:MyNet": "wrong.py cannot be run: SyntaxError",
        "helped.py:MyNet": "helped.py reads beside.py beside it, which the run would not keep",
        "mynet.py:MyNet@00000000": "it has changed",
    }.items():
        arguments = [*sets, "--set", f"net.name={mynet.parent}/{name}", "--out", "run", "--quiet"]
        assert complaint in refused("train", photos, *arguments, cwd=empty), name
    arguments = [*sets, "--set", f"net.name={mynet}:MyNet", "--out", "run", "--quiet"]
    assert "weights are read for nets of the catalog only" in refused(
        "train", photos, *arguments, "--from", "timm/resnet18.a1_in1k", cwd=empty
    )
    assert "--trust-code goes with --resume" in refused("train", photos, "--trust-code", cwd=empty)
    for how, complaint in (
        ({"net": Here(0.0, 5)}, "Here makes of 2 images an output of 2 x 5"),
        ({"net": Here(0.0), "weights": "x.pth"}, "net= begins with its own weights"),
        ({"net": Here(0.0), "overrides": {"net.name": "resnet20"}}, "net= is a net that is made already"),
        ({"net": nn.Flatten()}, "Flatten has no parameter that can be trained"),
    ):
        with pytest.raises(ValueError, match=complaint):
            train(photos, empty / "run", **how)
    assert not list(empty.iterdir())
    run = train(photos, tmp_path / "run", overrides={"net.name": "resnet20"})
    with pytest.raises(ValueError, match="has a net of the catalog, resnet20; leave out net="):
        plusx.load(run, net=Here(0.0))


def test_two_versions_of_a_file_are_two_nets(mynet: Path, tmp_path: Path) -> None:
    first = named(f"{mynet}:MyNet")
    mynet.write_text(mynet.read_text().replace("width=8", "width=4"))
    second = named(f"{mynet}:MyNet")
    assert first != second
    assert [build(name).get_submodule("conv").out_channels for name in (first, second)] == [8, 4]

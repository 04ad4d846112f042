"""The command line as a user meets it: one sentence and exit code 2 for a mistake, JSON as the last line of stdout."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from plusx.cli import app, main
from tests.conftest import save_picture

SMALL = ["--set", "steps=4", "--set", "batch_size=16", "--set", "evaluation.count=2", "--set", "data.limit=64"]


def plusx(*arguments: str | Path, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plusx", *map(str, arguments)]
    env = {k: v for k, v in os.environ.items() if k != "PLUSX_DATA"} | {"HOME": "/nonexistent"} | environ
    return subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=cwd, env=env)


def result(*arguments: str | Path, cwd: Path | None = None) -> dict[str, object]:
    done = plusx(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def refused(*arguments: str | Path, cwd: Path | None = None) -> str:
    """The sentence of a mistake; nothing may be printed beside it, and nothing left behind."""
    before = sorted(cwd.rglob("*")) if cwd else []
    done = plusx(*arguments, cwd=cwd)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("plusx:")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    assert not cwd or sorted(cwd.rglob("*")) == before
    return lines[0].removeprefix("plusx: ")


def test_train_evaluate_predict_summary_in_turn(tmp_path: Path) -> None:
    trained = result("train", "digits", *SMALL, "--out", "run", "--seed", "5", cwd=tmp_path)
    assert trained["net"] == "resnet20" and trained["seed"] == 5 and trained["steps"] == 4
    assert {"params", "run", "train_error", "test_error", "test_accuracy", "images_per_s", "seconds"} <= trained.keys()
    evaluated = result("evaluate", "run", cwd=tmp_path)
    assert evaluated["test_error"] == trained["test_error"] and evaluated["images"] == 64
    pictures = [save_picture(tmp_path / name) for name in ("a b.png", "새.jpg")]
    predicted = result("predict", "run", *pictures, "--top", "3", cwd=tmp_path)
    files = predicted["files"]
    assert isinstance(files, list) and [f["file"] for f in files] == [str(p) for p in pictures]
    assert all(len(f["classes"]) == len(f["probabilities"]) == 3 for f in files)
    assert result("summary", "run", cwd=tmp_path)["params"] == trained["params"]


def test_nets_and_summary_print_the_facts() -> None:
    nets = {n["net"]: n for n in result("nets")["nets"]}  # type: ignore[attr-defined]
    assert nets["resnet50"]["params"] == 25_557_032
    assert result("summary", "resnet50", "--set", "stride_on=1x1")["macs"] == 3_857_973_248
    table = plusx("summary", "resnet20").stdout
    assert "269,722" in table and "40,551,040" in table and "stages.2.2.branch.conv2.conv" in table
    assert "1 MAC = 2 FLOPs" in table and "…" not in plusx("summary", "vgg16").stdout


@pytest.mark.more
def test_convert_makes_a_run_of_a_checkpoint(tmp_path: Path) -> None:
    import torch
    import torchvision

    theirs = torchvision.models.resnet18(num_classes=2).state_dict()
    torch.save({"state_dict": {f"module.{name}": t for name, t in theirs.items()}}, tmp_path / "a.pth.tar")
    made = result("convert", "a.pth.tar", "--net", "resnet18", "--out", "run", "--size", "64", cwd=tmp_path)
    assert made["net"] == "resnet18" and made["run"] == "run" and made["params"] == 11_177_538
    assert len(made["renamed"]) == 122 and made["matched"] == made["dropped"] == made["missing"] == []  # type: ignore[arg-type]
    picture = save_picture(tmp_path / "a.png")
    assert result("predict", "run", picture, cwd=tmp_path)["files"][0]["classes"]  # type: ignore[index]
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


@pytest.mark.more
def test_summary_compares() -> None:
    answer = result("summary", "plain34", "vgg19", "resnet34")
    nets = answer["nets"]
    assert isinstance(nets, list) and [n["net"] for n in nets] == ["plain34", "vgg19", "resnet34"]
    assert [n["flops"] for n in nets] == [2 * n["macs"] for n in nets] and "FLOPs" in str(answer["rule"])
    table = [line.split() for line in plusx("summary", "plain34", "vgg19").stdout.splitlines()]
    assert ["MACs", "3,644,493,824", "19,632,062,464", "5.39"] in table


@pytest.mark.more
@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize(
    "verb",
    [
        ["nets"],
        ["summary", "mlp"],
        ["summary", "resnet18", "vgg16", "densenet121"],
    ],
)
def test_nothing_is_cut_off_on_a_terminal(verb: list[str], columns: int) -> None:
    screen, terminal = os.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
    done = subprocess.Popen([sys.executable, "-m", "plusx", *verb], stdout=terminal, env=env)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # a terminal whose other end is closed has no end of file
        while more := os.read(screen, 65536):
            shown += more
    os.close(screen)
    assert done.wait(timeout=60) == 0 and "…" not in shown.decode()
    assert 40 < max(map(len, shown.decode().splitlines())) <= columns


@pytest.mark.parametrize(
    "verb",
    [
        ["nets"],
        ["nets", "vgg16"],
        ["recipes"],
        ["recipes", "cifar10-94"],
        ["reproduce", "--list"],
        ["summary", "mlp", "lenet5"],
    ],
    ids=" ".join,
)
def test_sixty_columns_are_enough(verb: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """But for commands and file names, which are left in one piece to be copied."""
    monkeypatch.setattr("plusx.cli._width", lambda: 60)
    shown = CliRunner().invoke(app, verb).stdout.splitlines()
    whole = re.compile(r" *plusx |file  |[a-z_.]+=")
    assert len(shown) > 5
    assert all(len(line) <= 60 and "…" not in line for line in shown if not whole.match(line)), shown


@pytest.mark.more
@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
@pytest.mark.parametrize("columns", [60, 80, 100])
def test_progress_on_a_terminal_has_the_whole_time_left(columns: int, tmp_path: Path) -> None:
    import fcntl
    import struct
    import termios

    screen, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "plusx", "train", "digits", "--set", "steps=40", "--out", "run"]
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"TERM": "xterm"}
    done = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=terminal, env=env)
    os.close(terminal)
    shown = b""
    with suppress(OSError):
        while more := os.read(screen, 65536):
            shown += more
    os.close(screen)
    assert done.wait(timeout=60) == 0
    frames = [frame.strip() for frame in re.split(r"\r|\n|\x1b\[[?0-9;]*[a-zA-Z]", shown.decode()) if "/40 " in frame]
    assert frames and all(len(frame) < columns for frame in frames)
    assert all(re.search(r" \d+/40 (\d+:\d\d left|-:-- left|\d+:\d\d)( |$)", frame) for frame in frames), frames
    assert any("loss " in frame and "epoch " in frame for frame in frames), frames


@pytest.mark.more
def test_benchmark_prints_its_ratio() -> None:
    measured = result("benchmark", "train", "--net", "resnet20", "--batch", "4", "--rounds", "2")
    assert measured["ratio_to_eager_fp32"] > 0 and measured["batch"] == 4  # type: ignore[operator]


def test_help_has_an_example_for_every_verb() -> None:
    verbs = [[c.name or c.callback.__name__] for c in app.registered_commands if c.callback]
    for verb in (*verbs, ["data", "check"], ["benchmark", "train"]):
        assert "Example" in CliRunner().invoke(app, [*verb, "--help"]).stdout, verb


def test_help_does_not_import_torch() -> None:
    code = "import sys, plusx.cli; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "digts"], "did you mean 'digits'?"),
        (["train", "no such folder"], "no such file or folder"),
        (["train"], "name the data"),
        (["train", "digits", "--recipe", "digit"], "unknown recipe 'digit'; did you mean 'digits'?"),
        (["train", "digits", "--set", "optim.lrr=1"], "unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
        (["train", "digits", "--set", "optim.lr"], "--set 'optim.lr' is not KEY=VALUE"),
        (["train", "digits", "--set", "net.name=resnet2O"], "unknown net 'resnet2O'"),
        (["train", "digits", "--set", "net.options.shortcut=D"], "shortcut is 'D'; choose A, B or C"),
        (["train", "digits", "--set", "batch_size=0"], "batch_size is 0; it must be 1 or more"),
        (["train", "digits", "--set", "net.weights=absent.pt"], "absent.pt"),
        (["train", "cifar10"], "cifar10 not found (not in"),
        (["train", "digits", "--resume", "x"], "--resume takes the run as it is"),
        (["train", "--resume", "x"], "no such run directory: x"),
        (["evaluate", "x"], "no such run directory: x"),
        (["evaluate", "x", "--crops", "5"], "crops is 5; choose 1 or 10"),
        (["evaluate", "x", "--crops", "10", "--dense"], "it takes no crops"),
        (["evaluate", "x", "--scales", "a"], "--scales is 'a'; write pixels of the shorter side"),
        (["analyse", "x", "responses"], "no such run directory: x"),
        (["analyse", "x", "response"], "unknown question 'response'; did you mean 'responses'?"),
        (["reproduce"], "name an experiment, or --list them"),
        (["reproduce", "degradatoin"], "unknown experiment 'degradatoin'; did you mean 'degradation'?"),
        (["reproduce", "degradation"], "cifar10 not found (not in"),
        (["reproduce", "imagenet-table"], "needs the folder of ImageNet, with val/"),
        (["predict", "x", "y.jpg"], "no such run directory: x"),
        (["predict", "x", "y.jpg", "--precision", "fp8"], "precision is 'fp8'; choose one of auto, fp32, bf16, int8"),
        (["nets", "resnet2O"], "unknown net 'resnet2O'; did you mean"),
        (["recipes", "digit"], "unknown recipe 'digit'; did you mean 'digits'?"),
        (["recipes", "digits", "--set", "optim.lrr=1"], "unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
        (["recipes", "--set", "optim.lr=1"], "--set changes one recipe; name it"),
        (["convert", "x.pth", "--net", "resnet2O"], "unknown net 'resnet2O'; did you mean"),
        (["convert", "x.pth", "--net", "resnet20"], "no such file: x.pth; published weights are torchvision:NAME"),
        (["convert", "x.pth", "--net", "resnet20", "--mean", "a,b"], "--mean is 'a,b'; write one number a channel"),
        (["convert", "x.pth", "--net", "resnet20", "--data", "cifar"], "data is 'cifar'; choose cifar10 or cifar100"),
        (["convert", "torchvision:IMAGENET1K_V9", "--net", "vgg16"], "it has IMAGENET1K_V1, DEFAULT"),
        (["convert", "torchvision:IMAGENET1K_V1", "--net", "vgg16"], "are not in the cache"),
        (["train", "digits", "--set", "net.weights=torchvision:V9"], "torchvision publishes no weights of resnet20"),
        (["summary", "resnet2O"], "unknown net 'resnet2O'; did you mean"),
        (["summary", "resnet20", "--set", "shortcut=Z"], "shortcut is 'Z'"),
        (["summary", "resnet20", "vgg16", "--set", "shortcutt=B"], "no option 'shortcutt'; did you mean 'shortcut'?"),
        (["summary", "vgg16", "--size", "8"], "the net does not take images of 3 x 8 x 8: "),
        (["benchmark", "train", "--batch", "0"], "batch is 0; it must be 1 or more"),
        (["benchmark", "train", "--net", "resnet2O"], "unknown net 'resnet2O'"),
        (["data", "check", "absent"], "no such file or folder: absent"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, to save starting thirty: what a fresh one adds is seen by the other tests of this file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["plusx", *arguments])
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("PLUSX_DATA", raising=False)
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("plusx:")]
    assert ended.value.code == 2 and len(lines) == 1 and sentence in lines[0] and not said.out
    assert not list(tmp_path.iterdir())


@pytest.mark.more
def test_the_verbs_of_experiments_answer_in_json(digits_run: Path, tmp_path: Path) -> None:
    def answer(*arguments: str | Path) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    both = answer("evaluate", digits_run, digits_run, "--out", tmp_path / "both", "--ensemble")
    assert both["images"] == 360 and (tmp_path / "both" / "predictions.csv").is_file()
    each = answer("evaluate", digits_run, "--tta", "flip", "--out", tmp_path / "flip")
    assert each["test_error"] != both["test_error"] and each["report"] == str(tmp_path / "flip" / "evaluation.html")
    asked = answer("analyse", digits_run, "responses")
    assert len(asked["series"]["resnet20"]) == 19 and Path(asked["figure"]).is_file()
    done = answer("reproduce", "worked-example", "--out", tmp_path / "out")
    assert list(done["seen"].values()) == [True] and Path(done["report"]).is_file()
    listed = {e["name"]: e for e in answer("reproduce", "--list", "--out", tmp_path / "out")["experiments"]}
    assert list(listed["worked-example"]["seen"].values()) == [True] and listed["degradation"]["trained"] == 0
    shown = CliRunner().invoke(app, ["reproduce", "--list", "--out", str(tmp_path / "out")]).stdout
    assert "worked-example" in shown and "claim seen: yes" in shown and "not run" in shown


def test_a_stopped_command_names_the_command_that_resumes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*arguments: str, run: str) -> str:
        """What is said when an interrupt comes in the first training."""

        def interrupt() -> None:
            while not ended and not ((metrics := tmp_path / run / "metrics.jsonl").exists() and metrics.stat().st_size):
                time.sleep(0.01)
            if not ended:
                os.kill(os.getpid(), signal.SIGINT)

        ended: list[bool] = []
        monkeypatch.setattr(sys, "argv", ["plusx", *arguments, "--quiet"])
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(SystemExit) as exit_:
                main()
        finally:
            ended.append(True)
            thread.join()
        assert exit_.value.code == 130
        return capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    first = "my out/quick/runs/digits-plain-10-seed0"
    assert "; resume with: plusx reproduce gates --out 'my out' --quiet" in stopped(
        "reproduce", "gates", "--out", "my out", run=first
    )
    assert "; resume with: plusx demo --out runs/demo" in stopped("demo", run="runs/demo/plain20")
    assert "; resume with: plusx train --resume a" in stopped("train", "digits", "--out", "a", run="a")


def test_the_version_is_printed_without_importing_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import version

    code = "import sys, plusx, plusx.cli; print(plusx.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [version("plusx"), "False"]
    shown = CliRunner().invoke(app, ["--version"]).stdout
    assert shown == f"plusx {version('plusx')} (torch {version('torch')})\n"


def test_a_net_is_shown_with_its_options_facts_and_file() -> None:
    shown = CliRunner().invoke(app, ["nets", "resnet20"]).stdout
    assert "269,722" in shown and "8.75 % top-1: Table 6" in shown and "arXiv:1512.03385" in shown
    assert "shortcut=A\n    Option A" in shown and "One of A, B, C." in shown and "resnet.py:" in shown
    told = json.loads(CliRunner().invoke(app, ["nets", "vgg16", "--json"]).stdout)
    assert told["params"] == 138_357_544
    assert {o["name"]: o["default"] for o in told["options"]}["head"] == "paper"
    assert "summary vgg16 --set head=gap" in CliRunner().invoke(app, ["nets", "vgg16"]).stdout


def test_recipes_are_listed_and_shown_as_they_can_be_set() -> None:
    listed = CliRunner().invoke(app, ["recipes"]).stdout
    assert "cifar10-paper: resnet20, 64,000 steps, 128 images a step" in listed and "plusx train digits" in listed
    told = {r["recipe"]: r for r in json.loads(CliRunner().invoke(app, ["recipes", "--json"]).stdout)["recipes"]}
    assert told["digits"]["data"] == "digits" and told["cifar10-94"]["epochs"] == 12
    shown = CliRunner().invoke(app, ["recipes", "digits"]).stdout
    assert "optim.lr=0.1\n    Learning rate at the peak" in shown and "--set optim.lr=0.05" in shown
    changed = json.loads(CliRunner().invoke(app, ["recipes", "digits", "--set", "optim=AdamW", "--json"]).stdout)
    each = {s["key"]: s["value"] for s in changed["settings"]}
    assert each["optim"] == "AdamW" and each["optim.beta2"] == 0.999 and each["data.val"] is None


def test_a_training_under_a_launcher_of_several_processes_is_refused(
    tmp_path: Path, digits_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import plusx as package

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2: each of these processes would train the whole run"):
        package.train("digits", out=tmp_path / "run")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2"):
        package.resume(digits_run)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert package.train("digits", overrides={"steps": 1, "data.limit": 20}, out=tmp_path / "run").run.is_dir()


def test_a_mistyped_option_or_verb_has_exit_code_2() -> None:
    for arguments in (["train", "digits", "--sed", "1"], ["trian", "digits"], ["train", "digits", "--seed", "x"]):
        done = plusx(*arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_folders_that_cannot_be_trained_on(tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    (tmp_path / "empty").mkdir()
    assert "no class folder with images in" in refused("train", "empty", cwd=tmp_path)
    class_folder([], {"ant": 3}, name="one")
    assert "one class only, 'ant'" in refused("train", "one", cwd=tmp_path)
    both = class_folder(["train", "val"], {"ant": 3, "bee": 3})
    save_picture(both / "val" / "wasp" / "1.png")
    assert "class 'wasp' (val/wasp/1.png) is not in train/" in refused("train", both, cwd=tmp_path)


def test_undecodable_pictures(tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    root = class_folder(["train", "val"], {"ant": 4, "bee": 4})
    assert "all 16 images can be read" in plusx("data", "check", root).stdout
    whole = save_picture(tmp_path / "whole.jpg", size=(100, 100)).read_bytes()
    (root / "train" / "ant" / "cut.jpg").write_bytes(whole[:1000])
    (root / "train" / "bee" / "zero.jpg").touch()
    (root / "val" / "bee" / "page.jpg").write_text("<html>")
    assert "cut.jpg: damaged" in refused("train", root, cwd=tmp_path)
    done = plusx("data", "check", root, "--json")
    assert done.returncode == 2 and "3 of 19 files" in done.stderr
    faults = {Path(f["file"]).name: f["error"] for f in json.loads(done.stdout)["files"]}
    assert set(faults) == {"cut.jpg", "zero.jpg", "page.jpg"} and faults["zero.jpg"] == "the file is empty"
    tiny = [*SMALL, "--set", "net.name=resnet20", "--set", "preprocess.size=16", "--set", "data.undecodable=skip"]
    assert result("train", root, *tiny, "--out", tmp_path / "run")["steps"] == 4
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert len(card["source"]["left_out"]) == 2 + 1 and card["source"]["images"] == {"train": 8, "val": 8}


def test_a_checked_folder_is_accounted_for_in_text_and_json_alike(class_folder: Callable[..., Path]) -> None:
    root = class_folder(["train", "Testing", "extra"], {"ant": 10, "bee": 10})
    (root / "train" / "ant" / os.fsdecode(b"caf\xe9.png")).write_bytes((root / "train" / "ant" / "0.png").read_bytes())
    (root / "train" / "bee" / "copy.png").write_bytes((root / "train" / "ant" / "1.png").read_bytes())
    (root / "notes.txt").touch()
    shown = plusx("data", "check", root)
    assert shown.returncode == 2 and "1 of 63 files" in shown.stderr
    assert "63 files: 41 images, 22 left out" in shown.stdout and "extra/bee/9.png" not in shown.stdout
    assert "20 left out, in extra/, which is not used beside train/ and Testing/:" in shown.stdout
    assert "1 of equal content in several classes" in shown.stdout and "caf\\xe9.png" in shown.stdout
    found = json.loads(plusx("data", "check", root, "--json").stdout)
    assert found["total"] == 63 == found["images"] + len(found["left_out"]) == 41 + sum(found["reasons"].values())
    assert found["splits"]["train"] == {"ant": 10, "bee": 11} and sum(found["assigned"].values()) == 41
    assert found["copies"] == {"classes": [["train/ant/1.png", "train/bee/copy.png"]], "splits": []}
    assert found["unused"] == ["extra"] and [f["file"] for f in found["files"]] == ["train/ant/caf\\xe9.png"]


def test_one_bad_picture_does_not_silence_the_others(digits_run: Path, tmp_path: Path) -> None:
    good = save_picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    done = plusx("predict", digits_run, tmp_path / "bad.png", good)
    assert done.returncode == 2 and done.stdout.startswith(f"{good}: ") and "bad.png: the file is empty" in done.stderr


def test_a_run_directory_is_not_written_over(digits_run: Path) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in digits_run.rglob("*"))
    assert "exists; choose another --out" in refused("train", "digits", "--out", digits_run)
    assert sorted((p, p.stat().st_mtime_ns) for p in digits_run.rglob("*")) == before


@pytest.mark.more
def test_off_a_terminal_progress_is_a_few_plain_lines(tmp_path: Path) -> None:
    done = plusx("train", "digits", *SMALL, "--set", "steps=30", "--out", tmp_path / "run")
    assert "\r" not in done.stderr + done.stdout and "\x1b" not in done.stderr + done.stdout
    assert 2 <= len(done.stderr.splitlines()) <= 5
    assert "--quiet" not in done.stderr
    assert plusx("train", "digits", *SMALL, "--out", tmp_path / "quiet", "--quiet").stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_keeps_the_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plusx", "train", "digits", "--set", "steps=2000", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130 and "resume with: plusx train --resume run" in complaint
    assert len(list((tmp_path / "run" / "state").iterdir())) == 1


def test_no_verb_opens_a_connection(tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "def no(*a, **k): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = no\n"
        "import plusx\n"
        "t = plusx.train('digits', overrides={'steps': '2', 'data.limit': '32'}, out='run')\n"
        "plusx.evaluate(t.run)\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "done", done.stderr


def test_the_closing_lines_say_what_was_kept_and_what_to_type_next(tmp_path: Path) -> None:
    for place, name in enumerate(("ant", "bee")):
        for number in range(12):
            save_picture(tmp_path / "photos" / name / f"{number}.png", seed=100 * place + number, hue=place)
    (tmp_path / "photos" / "ant" / "notes.txt").write_text("of the ants")
    options = ["--set", "preprocess.size=32", "--set", "net.name=resnet20", "--set", "placement.threads=1"]
    done = plusx(
        "train", "photos", *options, "--set", "epochs=3", "--set", "batch_size=6", "--out", "run", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    kept, pace, following = done.stdout.splitlines()
    counts = json.loads((tmp_path / "run" / "card.json").read_text())["source"]["images"]
    pattern = (
        r"resnet20, best of \d+ steps: \d+\.\d\d % validation error \(step \d+\), on {val} images; {train} trained on, "
        r"1 file left out"
    )
    assert re.fullmatch(pattern.format(**counts), kept), kept
    assert "report: run/report.html" in pace and following == "next: plusx evaluate run"
    assert (
        f"images: {counts['train']} to train on, {counts['val']} held out for validation; 1 file left out"
        in done.stderr
    )
    measured = plusx("evaluate", "run", "photos/", cwd=tmp_path)
    assert measured.stdout.startswith("val: error ") and f"on {counts['val']} images" in measured.stdout
    assert "top-5" not in measured.stdout

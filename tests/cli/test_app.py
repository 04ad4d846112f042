"""The command line as a user meets it: help, versions, exit codes, one sentence for a mistake."""

import os
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plusx.cli.app import GROUPS, VERBS, app, main
from tests.cli.commands import plusx, process, refused


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_that_can_be_copied(verb: str) -> None:
    shown = CliRunner().invoke(app, [*verb.split(), "--help"], env={"COLUMNS": "60"}).stdout
    examples = re.findall(rf"^    (plusx {verb}.*)$", shown, re.MULTILINE)
    assert examples and re.search(r"^  Examples?:$", shown, re.MULTILINE), shown


@pytest.mark.parametrize("group", GROUPS)
def test_the_list_of_verbs_fits_into_sixty_columns(group: str) -> None:
    shown = CliRunner().invoke(app, [*group.split(), "--help"], env={"COLUMNS": "60"}).stdout
    own = [verb.removeprefix(group).split()[0] for verb in VERBS if verb.startswith(group)]
    assert set(own) <= set(re.findall(r"^  (\w+)  ", shown, re.MULTILINE))
    assert "..." not in shown.partition("Commands:")[2]


def test_help_does_not_import_torch() -> None:
    code = """
import sys, plusx.cli.app
sys.argv = ["plusx", "--help"]
try:
    plusx.cli.app.main()
finally:
    print("torch" in sys.modules, "rich" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Commands:" in done.stdout and done.stderr.split() == ["False", "False"] and done.returncode == 0


def test_the_command_is_what_the_package_installs() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert EntryPoint("plusx", project["scripts"]["plusx"], "console_scripts").load() is main


def test_the_version_is_printed_without_importing_torch() -> None:
    code = "import sys, plusx, plusx.cli.app; print(plusx.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [version("plusx"), "False"]
    assert plusx("--version").stdout == f"plusx {version('plusx')} (torch {version('torch')})\n"


def test_a_mistake_has_exit_code_2_and_no_traceback() -> None:
    done = process("nets", "resnet2O")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("plusx: unknown net 'resnet2O'; did")
    for arguments in (["train", "digits", "--sed", "1"], ["trian", "digits"], ["train", "digits", "--seed", "x"]):
        mistyped = plusx(*arguments)
        assert mistyped.returncode == 2 and "Traceback" not in mistyped.stderr and mistyped.stderr


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
        (["reproduce"], "name an experiment; --list shows them"),
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
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    assert sentence in refused(*arguments, cwd=tmp_path)


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
    for module in ("tables", "nets"):
        monkeypatch.setattr(f"plusx.cli.{module}.width", lambda: 60)
    shown = CliRunner().invoke(app, verb).stdout.splitlines()
    whole = re.compile(r" *plusx |file  |[a-z_.]+=")
    assert len(shown) > 5
    assert all(len(line) <= 60 and "…" not in line for line in shown if not whole.match(line)), shown


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

"""`plusx train`: from a first run to what is typed next; interrupts, refusals, progress."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from plusx.cli.app import main
from tests.cli.commands import SMALL, plusx, refused, result
from tests.conftest import save_image


def test_train_evaluate_predict_summary_in_turn(tmp_path: Path) -> None:
    trained = result("train", "digits", *SMALL, "--out", "run", "--seed", "5", cwd=tmp_path)
    assert trained["net"] == "resnet20" and trained["seed"] == 5 and trained["steps"] == 4
    assert {"params", "run", "train_error", "test_error", "test_accuracy", "images_per_s", "seconds"} <= trained.keys()
    evaluated = result("evaluate", "run", cwd=tmp_path)
    assert evaluated["test_error"] == trained["test_error"] and evaluated["images"] == 64
    images = [save_image(tmp_path / name) for name in ("a b.png", "새.jpg")]
    predicted = result("predict", "run", *images, "--top", "3", cwd=tmp_path)
    files = predicted["files"]
    assert isinstance(files, list) and [f["file"] for f in files] == [str(p) for p in images]
    assert all(len(f["classes"]) == len(f["probabilities"]) == 3 for f in files)
    assert result("summary", "run", cwd=tmp_path)["params"] == trained["params"]


def test_the_closing_lines_say_what_was_kept_and_what_to_type_next(tmp_path: Path) -> None:
    for place, name in enumerate(("ant", "bee")):
        for number in range(12):
            save_image(tmp_path / "photos" / name / f"{number}.png", seed=100 * place + number, hue=place)
    (tmp_path / "photos" / "ant" / "notes.txt").write_text("of the ants")
    options = ["--set", "preprocess.size=32", "--set", "net.name=resnet20", "--set", "placement.threads=1"]
    done = plusx(
        "train", "photos", *options, "--set", "epochs=3", "--set", "batch_size=6", "--out", "run", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    kept, pace, calibrated, following = done.stdout.splitlines()
    counts = json.loads((tmp_path / "run" / "card.json").read_text())["source"]["images"]
    pattern = (
        r"resnet20, best of \d+ steps: \d+\.\d\d % validation error \(step \d+\), on {val} images; {train} trained on, "
        r"1 file left out"
    )
    assert re.fullmatch(pattern.format(**counts), kept), kept
    few = f"calibration: no temperature is fitted: {counts['val']} images are too few, 50 are needed"
    assert calibrated == few
    assert "report: run/report.html" in pace and following == "next: plusx evaluate run"
    assert (
        f"images: {counts['train']} to train on, {counts['val']} held out for validation; 1 file left out"
        in done.stderr
    )
    measured = plusx("evaluate", "run", "photos/", cwd=tmp_path)
    assert measured.stdout.startswith("val: error ") and f"on {counts['val']} images" in measured.stdout
    assert "top-5" not in measured.stdout


def test_folders_that_cannot_be_trained_on(tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    (tmp_path / "empty").mkdir()
    assert "no class folder with images in" in refused("train", "empty", cwd=tmp_path)
    class_folder([], {"ant": 3}, name="one")
    assert "one class only, 'ant'" in refused("train", "one", cwd=tmp_path)
    both = class_folder(["train", "val"], {"ant": 3, "bee": 3})
    save_image(both / "val" / "wasp" / "1.png")
    assert "class 'wasp' (val/wasp/1.png) is not in train/" in refused("train", both, cwd=tmp_path)


def test_a_run_directory_is_not_written_over(digits_run: Path) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in digits_run.rglob("*"))
    assert "exists; choose another --out" in refused("train", "digits", "--out", digits_run)
    assert sorted((p, p.stat().st_mtime_ns) for p in digits_run.rglob("*")) == before


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

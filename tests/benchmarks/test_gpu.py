"""The GPU benchmark without a GPU: its records, its refusals, and what keeps several trainings apart."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import gpu
from benchmarks.cuda.contenders import WholeStep, contenders, peer, rules_placement
from benchmarks.cuda.paper import ReadOnce, Turnstile
from benchmarks.cuda.records import Records
from plusx.data.sources import Source


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sped", "--smoke"], "unknown part 'sped'; choose from check, compile, speed"),
        (["paper", "--smoke"], "paper needs CIFAR-10; set PLUSX_DATA"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PLUSX_DATA", raising=False)
    with pytest.raises(SystemExit, match="2"):
        command.main(["gpu", *words])
    assert message in capsys.readouterr().err


def test_without_a_gpu_only_the_smoke_run_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    with pytest.raises(ValueError, match="no CUDA device; --smoke"):
        gpu.main(["speed"])


def test_records_are_on_the_disk_at_once_and_in_one_file_at_the_end(tmp_path: Path) -> None:
    record = Records(tmp_path / "results", "paper")
    record(progress="resnet20", step=2)
    record(paper="resnet20", test_error=0.25)
    lines = [json.loads(line) for line in record.file.read_text().splitlines()]
    assert record.file.name == "cifar10-paper.jsonl" and lines[1]["test_error"] == 0.25
    assert {"torch", "commit", "machine", "gpu"} <= lines[1]["evidence"].keys()
    record.gather()
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["cifar10-paper.json"]
    content = json.loads((tmp_path / "results" / "cifar10-paper.json").read_text())
    assert content["rows"] == [{"paper": "resnet20", "test_error": 0.25}] and content["torch"] == torch.__version__


def test_every_contender_takes_a_step() -> None:
    assert isinstance(contenders("lenet5", 2)["plusx"](), WholeStep)
    step = WholeStep("lenet5", 2, rules_placement("cpu"))
    assert step().isfinite() and step.number == 1
    peer("lenet5", 2, bf16=False)()


def test_a_run_begins_only_while_the_others_stand_still() -> None:
    turnstile, seen = Turnstile(), []
    turnstile.begin()
    turnstile.begun()

    def begin() -> None:
        turnstile.begin()
        seen.append(turnstile.running)
        turnstile.begun()

    beginner = threading.Thread(target=begin)
    beginner.start()
    while not turnstile.beginners:
        pass
    turnstile.step()  # returns when the other has begun
    beginner.join(timeout=10)
    assert seen == [0] and turnstile.running == 2


def test_equal_images_are_read_once() -> None:
    read: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, *, progress: object, **asked: Any) -> Source:
        read.append((name, asked))
        return Source(name, {}, "fingerprint")

    once = ReadOnce(load)
    first = once("cifar10", progress=lambda done, total: None, download=False)
    assert once("cifar10", progress=lambda done, total: None, download=False) is first
    once("cifar100", download=False)
    assert [name for name, _ in read] == ["cifar10", "cifar100"]


@pytest.mark.more
def test_several_runs_at_once_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "allow_recompilations", lambda *, fail_beyond: None)  # it is the whole process's
    gpu.main(["side", "--smoke", "--out", str(tmp_path)])
    (row,) = json.loads((tmp_path / "gpu-side.json").read_text())["rows"]
    assert row["side"] == ["resnet20", "resnet20"] and row["images_per_s"] > 0

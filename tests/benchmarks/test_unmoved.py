"""What the proof that nothing moved compares."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import __main__ as command
from benchmarks import unmoved
from benchmarks.unmoved import Outcome, differences


def leave_run(path: Path, weights: torch.Tensor, *, value: float = 0.5, seconds: float = 1.0) -> Path:
    """A run directory, as far as it is compared."""
    path.mkdir()
    save_file({"head.weight": weights, "head.bias": torch.zeros(2)}, path / "weights.safetensors", {"format": "pt"})
    record = {"step": 1, "name": "batch_loss", "value": value, "unit": "nats", "seconds": seconds}
    (path / "metrics.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    return path


def test_a_run_equals_itself_however_long_it_took(tmp_path: Path) -> None:
    one = Outcome.of(leave_run(tmp_path / "one", torch.ones(2, 3), seconds=1.0))
    other = Outcome.of(leave_run(tmp_path / "other", torch.ones(2, 3), seconds=2.0))
    assert differences(one, other) == []
    assert (one.weights_hash(), one.metrics_hash()) == (other.weights_hash(), other.metrics_hash())


def test_one_bit_of_one_weight_is_seen(tmp_path: Path) -> None:
    weights = torch.ones(2, 3)
    one = Outcome.of(leave_run(tmp_path / "one", weights))
    weights.view(torch.int32)[1, 2] ^= 1
    other = Outcome.of(leave_run(tmp_path / "other", weights))
    assert differences(one, other) == ["1 of 2 tensors differ, the first is head.weight"]
    assert one.weights_hash() != other.weights_hash() and one.metrics_hash() == other.metrics_hash()


@pytest.mark.parametrize("changed", [torch.ones(3, 2), torch.ones(2, 3).view(torch.int32)])
def test_equal_bytes_of_another_shape_or_type_differ(changed: torch.Tensor, tmp_path: Path) -> None:
    one, other = leave_run(tmp_path / "one", torch.ones(2, 3)), leave_run(tmp_path / "other", changed)
    assert differences(Outcome.of(one), Outcome.of(other))


def test_a_metric_and_a_name_are_seen() -> None:
    one = Outcome({"head.weight": "a"}, ['{"value": 1}'])
    assert differences(one, Outcome({"head.weight": "a"}, ['{"value": 2}'])) == [
        '1 records of metrics.jsonl differ, the first was {"value": 1} and is {"value": 2}'
    ]
    assert differences(one, Outcome({"head.weight": "a"}, [])) == ["metrics.jsonl had 1 records and has 0"]
    assert differences(one, Outcome({"fc.weight": "a"}, one.metrics)) == [
        "2 of 2 tensors differ, the first is fc.weight"
    ]


@pytest.mark.parametrize("same", [True, False])
def test_exit_code_1_says_that_something_moved(
    same: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def train(package: Path, words: list[str], out: Path) -> Outcome:
        trained.append((package.parents[1].name, *words))
        return Outcome({"head.weight": "a" if same or out.name.startswith("before") else "b"}, [])

    monkeypatch.delenv("PLUSX_DATA", raising=False)
    monkeypatch.setattr(unmoved, "_commit", lambda name: name * 8)
    monkeypatch.setattr(unmoved, "_git", lambda *words: None)
    monkeypatch.setattr(unmoved, "bring_native_library", lambda package: "no native library")
    monkeypatch.setattr(unmoved, "train", train)
    if same:
        command.main(["unmoved", "cafe"])
    else:
        with pytest.raises(SystemExit, match="1"):
            command.main(["unmoved", "cafe"])
    said = capsys.readouterr().out
    assert "cifar10 is left out" in said and said.count(" yes\n" if same else " no\n") == 2
    assert [each[:2] for each in trained if each[1] == "digits"] == [("before", "digits"), ("after", "digits")]


def test_a_word_that_is_no_commit_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["unmoved", "no-such-commit"])
    assert capsys.readouterr().err == "benchmarks: 'no-such-commit' is not a commit of this repository\n"

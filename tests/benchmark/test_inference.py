"""Every form of a run is timed in a process of its own, and says what it costs."""

from pathlib import Path
from typing import Any

import pytest

import plusx
from plusx.benchmark import inference
from plusx.placement.inference.openvino import is_installed
from tests.cli.commands import refused


@pytest.mark.more
def test_every_form_is_measured_or_left_out_with_its_reason(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CONTENDERS", {k: v for k, v in inference.CONTENDERS.items() if "int8" not in k})
    done: list[tuple[int, int]] = []
    speed = plusx.benchmark_inference(digits_run, batch_size=4, rounds=2, progress=lambda *at: done.append(at))
    assert set(speed.forms) | set(speed.left_out) == {inference.OURS, *inference.CONTENDERS}
    assert {inference.OURS, "torch.export"} <= set(speed.forms) and done[-1][0] == done[-1][1]
    if is_installed("onnx", "onnxscript", "onnxruntime"):
        assert "ONNX Runtime" in speed.forms
    for name, found in speed.forms.items():
        assert 0 < found.p50_seconds <= found.p99_seconds < 1, name
        assert found.images_per_s.low <= found.images_per_s.median <= found.images_per_s.high
        assert found.size_bytes > 1e5 and found.load_seconds > 0 and found.memory_bytes > 0
    exact = speed.forms["torch.export"].accuracy
    ours = speed.forms[inference.OURS].accuracy
    assert exact is not None and ours is not None and abs(exact - ours) < 0.01
    assert speed.images == 360 and speed.source == "test" and "is the fastest of" in repr(speed)


def test_a_missing_extra_leaves_its_forms_out(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: Any, **options: Any) -> Any:
        raise ValueError("this export needs openvino; install it")

    class Nobody:
        """In place of a process."""

        def __init__(self, *arguments: Any) -> None: ...
        def __enter__(self) -> "Nobody":
            return self

        def __exit__(self, *fault: object) -> None: ...
        def ask(self, question: Any) -> Any:
            name = getattr(question, "__name__", "rate")
            return {"loaded": 0.5, "latency": [0.003, 0.001, 0.002], "memory": 7}.get(name, 100.0)

    monkeypatch.setattr(inference, "export", nothing)
    monkeypatch.setattr(inference, "Apart", Nobody)
    speed = plusx.benchmark_inference(digits_run, rounds=2, progress=False)
    assert set(speed.forms) == {inference.OURS} and set(speed.left_out) == set(inference.CONTENDERS)
    (ours,) = speed.forms.values()
    assert ours.p50_seconds == 0.002 and ours.p99_seconds == 0.003 and ours.images_per_s.median == 100


def test_a_mistake_is_one_sentence(digits_run: Path, tmp_path: Path) -> None:
    assert "no such run directory: x" in refused("benchmark", "inference", "x", cwd=tmp_path)
    said = refused("benchmark", "inference", digits_run, "--batch", "0", cwd=tmp_path)
    assert said == "batch is 0; it must be 1 or more"

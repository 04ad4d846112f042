"""The choice by measuring, with a clock that the test winds."""

import dataclasses
import json
from pathlib import Path

import pytest

import plusx
from plusx.engine import speed
from plusx.placement.choose import Choice, candidates, choose
from plusx.placement.place import Placement, plain_placement
from plusx.recipes import digits
from plusx.runs.store import read_card

FAST = Placement("cpu", "channels_last", "bf16", 2, "fused", reasons={"device": "a test"})
PLAIN = plain_placement(threads=2)
KEY = {"net": "resnet20", "batch_size": 128}


def times(**by_kernels: float):  # type: ignore[no-untyped-def]
    """A function that gives these seconds, and the placements that it was asked for."""
    asked: list[Placement] = []

    def seconds_of(placement: Placement, best: float) -> float:
        asked.append(placement)
        return by_kernels[placement.kernels]

    return seconds_of, asked


def test_the_fastest_is_taken_and_remembered(tmp_path: Path) -> None:
    seconds_of, asked = times(fused=0.05, plain=0.2)
    first = choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path)
    again = choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path)
    assert first.placement.kernels == again.placement.kernels == "fused" and len(asked) == 2
    assert not first.remembered and again.remembered and first.tried == again.tried
    assert first.placement.reasons["measured"] == "fastest of 2 measured: 50.0 ms a step"
    choose({**KEY, "batch_size": 64}, [FAST, PLAIN], seconds_of, cache=tmp_path)
    assert len(asked) == 4  # another batch is another question


def test_plain_pytorch_wins_where_it_is_faster(tmp_path: Path) -> None:
    seconds_of, _ = times(fused=0.3, plain=0.2)
    assert choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path).placement.precision == "fp32"


def test_the_rules_stand_where_the_difference_is_chance(tmp_path: Path) -> None:
    seconds_of, _ = times(fused=0.2, plain=0.199)
    assert choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path).placement.kernels == "fused"


def test_no_candidate_is_begun_when_the_time_is_up(tmp_path: Path) -> None:
    seconds_of, asked = times(fused=0.2, plain=0.1)
    choice = choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path, budget=-1)
    assert asked == [FAST]
    assert choice.placement.kernels == "fused" and choice.tried[1].seconds is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 3, "seconds": [1.0, 2.0]}', "\x00"])
def test_a_spoilt_memory_is_measured_anew(tmp_path: Path, content: str) -> None:
    seconds_of, asked = times(fused=0.05, plain=0.2)
    choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert not choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path).remembered and len(asked) == 4
    assert json.loads(file.read_text())["seconds"] == [0.05, 0.2]


def test_a_memory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seconds_of, _ = times(fused=0.05, plain=0.2)
    assert choose(KEY, [FAST, PLAIN], seconds_of, cache=tmp_path / "file" / "below").placement.kernels == "fused"


def test_candidates_hold_plain_pytorch_and_keep_what_was_asked_for() -> None:
    everything = candidates(FAST, precision="auto", threads=None, kernels="auto")
    assert everything[0] == FAST and PLAIN in everything and len(everything) == 7
    fixed = candidates(FAST, precision="bf16", threads=2, kernels="auto")
    assert {p.precision for p in fixed} == {"bf16"} and {p.threads for p in fixed} == {2} and len(fixed) == 3
    fused = candidates(FAST, precision="auto", threads=None, kernels="fused")
    assert {p.kernels for p in fused} == {"fused"} and {p.precision for p in fused} == {"bf16", "fp32"}


def test_a_run_records_what_was_chosen_and_a_short_one_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUSX_CACHE", str(tmp_path / "cache"))
    heard: list[object] = []
    recipe = digits().smoke()
    plusx.train("digits", recipe=recipe, out=tmp_path / "short", progress=heard.append)
    choices = [event for event in heard if isinstance(event, Choice)]
    assert choices[0].tried == () and not (tmp_path / "cache").exists()

    monkeypatch.setattr(speed, "step_seconds", lambda *a: 0.1 if a[3].kernels == "plain" and a[3].threads == 1 else 0.3)
    measured = dataclasses.replace(recipe, placement=dataclasses.replace(recipe.placement, choose="measure"))
    plusx.train("digits", recipe=measured, out=tmp_path / "measured", progress=heard.append)
    recorded, choice = read_card(tmp_path / "measured").placement, [e for e in heard if isinstance(e, Choice)][1]
    assert len(choice.tried) > 1 and recorded == choice.placement.to_dict()
    assert recorded["kernels"] == "plain" and "fastest of" in recorded["reasons"]["measured"]


def test_a_step_is_timed_as_training_does_it() -> None:
    recipe = digits().smoke()
    options = {"num_classes": 10, "in_channels": 1}
    for placement in (PLAIN, dataclasses.replace(PLAIN, layout="channels_last")):
        assert speed.step_seconds(recipe, options, (1, 8, 8), placement, float("inf")) > 0

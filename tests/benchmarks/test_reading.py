"""The benchmark of reading: what is compared with what."""

from pathlib import Path

import pytest

from benchmarks import reading
from plusx.placement.turns import Turns


def test_each_of_ours_is_over_each_of_theirs() -> None:
    turns = Turns({"torchvision": [4.0, 8.0], "torchvision, tensors": [2.0, 4.0], "ours": [1.0, 1.0]})
    found = reading.compared(turns)
    assert {peer: ratio["ratio"] for peer, ratio in found["ratios"]["ours"].items()} == {
        "torchvision": 6.0,
        "torchvision, tensors": 3.0,
    }
    assert found["contenders"]["ours"]["images_per_s"] == reading.IMAGES and list(found["ratios"]) == ["ours"]


@pytest.mark.more
def test_both_read_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IMAGES", 128)
    assert 30_000 < reading.make_photos(tmp_path) < 120_000
    for contender in (reading.theirs(tmp_path, tensors=True), reading.ours(tmp_path, fast=True)):
        contender()  # which asserts the shapes

"""Questions to a run: each leaves a figure and its numbers."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

import plusx
from plusx.analysis.analyse import PICTURES, QUESTIONS, fresh
from plusx.engine.training import train


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_a_figure_with_its_numbers(digits_run: Path, question: str) -> None:
    found = plusx.analyse(digits_run, question)
    svg = found.figure.read_text()
    assert found.figure == digits_run / "figures" / f"{question}.svg" and svg.startswith("<svg")
    assert "prefers-color-scheme" in svg and "black" not in re.sub(r"<!--.*?-->", "", svg)
    told = json.loads(found.figure.with_suffix(".json").read_text())
    assert told["series"] == {name: [m._asdict() for m in each] for name, each in found.series.items()}
    assert all(told["series"].values()) and told["images"] == found.images > 0


@pytest.mark.parametrize("question", PICTURES)
def test_a_picture_is_a_png(digits_run: Path, question: str) -> None:
    with Image.open(plusx.analyse(digits_run, question).figure) as picture:
        assert picture.format == "PNG" and min(picture.size) > 50


def test_a_misspelt_question_is_answered_with_the_nearest(digits_run: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'responses'"):
        plusx.analyse(digits_run, "response")


def test_a_fresh_net_is_the_one_that_the_run_began_with(tmp_path: Path) -> None:
    began = train("digits", overrides={"steps": "0"}, out=tmp_path / "run", seed=5)
    weights = plusx.load(began.run)[0].state_dict()
    assert all((value == weights[name]).all() for name, value in fresh(began.card).state_dict().items())

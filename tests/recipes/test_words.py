"""Every part of a recipe in words: none is shown as code, and every number of it that matters is said."""

import dataclasses
import re
import typing

import pytest

from plusx.recipes.augment import FlipLR, RandomCrop
from plusx.recipes.optim import SGD, Adadelta, Muon
from plusx.recipes.schedule import Warmup
from plusx.recipes.words import Part, in_words

KINDS = typing.get_args(Part)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_part_is_told_in_words(kind: type) -> None:
    said = in_words(kind())
    assert said and not re.search(r"[=(_]|'\w+'|True|False|None", said.replace("(Nesterov)", ""))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_another_number_is_said_in_other_words(kind: type) -> None:
    """Every field that is a number but the few that hardly anybody changes."""
    silent = {"eps", "aux_weight"}
    for field in dataclasses.fields(kind):
        default = getattr(kind(), field.name)
        if field.name not in silent and isinstance(default, float | int) and not isinstance(default, bool):
            changed = default + 1 if isinstance(default, int) else default * 0.9 or 0.5
            assert in_words(kind(**{field.name: changed})) != in_words(kind()), field.name


def test_common_parts_read_as_people_write_them() -> None:
    assert in_words(FlipLR()) == "random horizontal flip"
    assert in_words(RandomCrop(pad=4)) == "random crop, 4 pixels of padding with zeros"
    assert in_words(SGD(lr=0.1, momentum=0.0, weight_decay=0.0)) == "SGD, rate 0.1"
    assert in_words(Warmup(fraction=1 / 15)) == "linear warm-up from 0.1 of the rate over the first 6.67 % of the run"
    assert "rho 0.9" in in_words(Adadelta()) and "3 Newton-Schulz iterations" in in_words(Muon())

"""Every part of a recipe in words: none is shown as code, and every number of it that matters is said."""

import dataclasses
import re
import typing

import pytest

from plusx.recipes.augment import Augment, FlipLR, RandomCrop
from plusx.recipes.codec import PARTS
from plusx.recipes.optim import SGD, Adadelta, Muon, Optim
from plusx.recipes.schedule import Schedule, Warmup

KINDS = [kind for kind in PARTS.values() if hasattr(kind, "in_words")]


def test_every_kind_of_the_unions_has_words() -> None:
    assert set(KINDS) >= {*typing.get_args(Augment), *typing.get_args(Optim), *typing.get_args(Schedule)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_part_is_told_in_words(kind: type) -> None:
    said = kind().in_words
    assert said and not re.search(r"[=(_]|'\w+'|True|False|None", said.replace("(Nesterov)", ""))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_another_number_is_said_in_other_words(kind: type) -> None:
    """Every field that is a number but the few that hardly anybody changes."""
    silent = {"eps", "aux_weight"}
    for field in dataclasses.fields(kind):
        default = getattr(kind(), field.name)
        if field.name not in silent and isinstance(default, float | int) and not isinstance(default, bool):
            changed = default + 1 if isinstance(default, int) else default * 0.9 or 0.5
            assert kind(**{field.name: changed}).in_words != kind().in_words, field.name


def test_common_parts_read_as_people_write_them() -> None:
    assert FlipLR().in_words == "random horizontal flip"
    assert RandomCrop(pad=4).in_words == "random crop, 4 pixels of padding with zeros"
    assert SGD(lr=0.1, momentum=0.0, weight_decay=0.0).in_words == "SGD, rate 0.1"
    assert Warmup(fraction=1 / 15).in_words == "linear warm-up from 0.1 of the rate over the first 6.67 % of the run"
    assert "rho 0.9" in Adadelta().in_words and "3 Newton-Schulz iterations" in Muon().in_words

"""Schedules are functions of the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plusx.engine.schedule import multiplier, plateaus
from plusx.recipes.cifar10 import cifar10_paper, cifar10_paper_110
from plusx.recipes.schedule import Constant, Cosine, Linear, OneCycle, Plateau, Schedule, Steps, Warmup


def test_the_paper_schedule_drops_at_32k_and_48k() -> None:
    rate = {
        s: 0.1 * multiplier(cifar10_paper().schedule, s / 64_000) for s in (0, 31_999, 32_000, 47_999, 48_000, 63_999)
    }
    assert list(rate.values()) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_resnet110_starts_at_a_tenth_for_400_iterations() -> None:
    r = cifar10_paper_110()
    rates = [0.1 * multiplier(r.schedule, s / 64_000, warmup=r.warmup) for s in (0, 399, 400, 31_999, 32_000)]
    assert rates == pytest.approx([0.01, 0.01, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("schedule", "at_start", "in_the_middle", "near_the_end"),
    [
        (Constant(), 1, 1, 1),
        (Cosine(), 1, 0.5, 0),
        (Cosine(final=0.2), 1, 0.6, 0.2),
        (Linear(), 1, 0.5, 0),
        (OneCycle(peak_at=0.5, start=0.1), 0.1, 1, 0),
        (Steps(at=(0.5,), factor=0.1), 1, 0.1, 0.1),
    ],
)
def test_shapes(schedule: Schedule, at_start: float, in_the_middle: float, near_the_end: float) -> None:
    total = 1_000_000
    values = [multiplier(schedule, step / total) for step in (0, total // 2, total - 1)]
    assert values == pytest.approx([at_start, in_the_middle, near_the_end], abs=1e-5)


def test_a_linear_warmup_rises_to_the_schedule() -> None:
    warmup = Warmup(fraction=0.1, start=0.2)
    values = [multiplier(Constant(), s / 100, warmup=warmup) for s in (0, 5, 10, 99)]
    assert values == pytest.approx([0.2, 0.6, 1.0, 1.0])


SCHEDULES = st.sampled_from([Constant(), Steps(), Cosine(), Linear(), OneCycle(), Plateau()])


@given(schedule=SCHEDULES, total=st.integers(1, 10_000), data=st.data())
def test_a_multiplier_is_never_negative_nor_above_one(schedule: Schedule, total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    errors = data.draw(st.lists(st.floats(0, 1), max_size=20))
    assert 0 <= multiplier(schedule, step / total, warmup=Warmup(), val_errors=errors) <= 1


def test_a_plateau_is_patience_evaluations_without_a_new_best() -> None:
    assert plateaus([], 2) == 0
    assert plateaus([0.9, 0.8, 0.7], 2) == 0
    assert plateaus([0.5, 0.5, 0.5], 2) == 1
    assert plateaus([0.5, 0.6, 0.6, 0.6, 0.6], 2) == 2
    assert plateaus([0.5, 0.6, 0.4, 0.5], 2) == 0
    assert multiplier(Plateau(patience=2, factor=0.5), 7 / 10, val_errors=[0.5] * 5) == 0.25

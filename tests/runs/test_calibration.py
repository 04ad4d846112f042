"""A temperature lowers the cross entropy and moves no answer; a threshold keeps the share that it says."""

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from plusx.runs.calibration import (
    COLDEST,
    FEW,
    WARMEST,
    Calibration,
    Rejection,
    calibrated,
    fit_rejection,
    fit_temperature,
)

SEEDS = st.integers(0, 10_000)


def drawn(seed: int, images: int = 200, classes: int = 4, sharp: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that are drawn from the softmax of a third of them: a net that is too sure."""
    rng = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(images, classes, generator=rng)
    return logits, torch.multinomial((logits / 3).softmax(1), 1, generator=rng)[:, 0]


def nll(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> float:
    return F.cross_entropy(logits.double() / temperature, labels).item()


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([0.3, 3.0, 30.0]))
def test_the_temperature_is_that_of_the_least_cross_entropy(seed: int, sharp: float) -> None:
    logits, labels = drawn(seed, sharp=sharp)
    temperature, note = fit_temperature(logits, labels)
    least = minimize_scalar(lambda log_t: nll(logits, labels, 10.0**log_t), bounds=(-2, 2), method="bounded").fun
    assert note or nll(logits, labels, temperature) <= least + 1e-9
    assert nll(logits, labels, temperature) <= nll(logits, labels, 1.0) + 1e-12
    assert COLDEST <= temperature <= WARMEST


def test_a_net_that_is_three_times_too_sure_is_found_out() -> None:
    logits, labels = drawn(0, images=20_000)
    assert fit_temperature(logits, labels)[0] == pytest.approx(3, rel=0.05)
    # logits and the logarithms of probabilities have the same temperature
    assert fit_temperature(logits.double().log_softmax(1), labels)[0] == pytest.approx(
        fit_temperature(logits, labels)[0], rel=1e-9
    )


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.floats(COLDEST, WARMEST), st.sampled_from([1e-3, 1.0, 40.0]))
def test_no_temperature_changes_an_order(seed: int, temperature: float, scale: float) -> None:
    logits = scale * torch.randn(50, 10, generator=torch.Generator().manual_seed(seed))
    logs = calibrated(logits, Calibration(temperature, 100, "val"))
    assert torch.equal(logs.argsort(1), logits.argsort(1))
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(50, dtype=torch.float64))


def test_without_a_calibration_nothing_changes() -> None:
    logits = torch.randn(50, 10).double()
    assert torch.equal(calibrated(logits, None), logits.log_softmax(1))


@pytest.mark.parametrize("images", [FEW, 200, 3000])
def test_where_no_image_is_wrong_the_temperature_is_bounded_by_how_many_there_are(images: int) -> None:
    logits = torch.randn(images, 3, generator=torch.Generator().manual_seed(0))
    logits += F.one_hot(logits.argmax(1), 3)  # so that none is next to wrong
    temperature, note = fit_temperature(logits, logits.argmax(1))
    sure = (logits.double() / temperature).softmax(1).amax(1).mean().item()
    assert sure == pytest.approx((images + 1) / (images + 2), abs=1e-9) and f"{images:,} images" in note
    assert fit_temperature(1e6 * logits, logits.argmax(1))[0] == 1.0  # which is never warmed for want of images


def test_a_net_that_is_always_wrong_is_made_to_say_that_it_knows_nothing() -> None:
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    temperature, note = fit_temperature(logits, logits.argmin(1))
    assert temperature == WARMEST and "no better than chance" in note


def test_few_images_fit_nothing_and_it_is_said() -> None:
    logits, labels = drawn(0, images=FEW - 1)
    assert fit_temperature(logits, labels) == (
        1.0,
        f"no temperature is fitted: {FEW - 1} images are too few, 50 are needed",
    )


@settings(deadline=None)
@example([0.1, math.nextafter(0.1, 1)], 1)
@given(st.lists(st.floats(0.1, 1), min_size=1, max_size=300, unique=True), st.integers(1, 100))
def test_the_threshold_keeps_the_share_to_one_image(tops: list[float], per_cent: int) -> None:
    found = fit_rejection(torch.tensor(tops, dtype=torch.float64), per_cent / 100)
    assert sum(top >= found.threshold for top in tops) == found.kept
    assert found.kept == -(-per_cent * len(tops) // 100)  # the smallest number that is at least the share


def test_images_of_one_probability_are_kept_or_refused_together() -> None:
    found = fit_rejection(torch.tensor([0.9] * 10 + [0.5] * 10), 0.6)
    assert found.kept == 20
    assert fit_rejection(torch.tensor([0.9] * 10 + [0.5] * 10), 0.5).kept == 10


def test_a_calibration_survives_json() -> None:
    for rejection in (None, Rejection(0.95, 1 / 3, 19)):
        made = Calibration(0.1 + 0.2, 20, "val", "a note", rejection)
        assert Calibration.from_dict(json.loads(json.dumps(dataclasses.asdict(made)))) == made
    assert Calibration.from_dict(None) is None

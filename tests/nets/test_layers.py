"""Shared pieces against their formulas."""

import math

import pytest
import torch
from torch import nn

from plusx.nets import build
from plusx.nets.layers import (
    ACTIVATIONS,
    INITIALISERS,
    POOLINGS,
    ScaledTanh,
    StochasticPool2d,
    local_response_norm,
    swap_poolings,
)


def test_response_normalisation_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    a = torch.rand(2, 7, 3, 3) * 50
    b = torch.empty_like(a)
    for i in range(7):
        low, high = max(0, i - 2), min(6, i + 2)
        b[:, i] = a[:, i] / (2 + 1e-4 * a[:, low : high + 1].square().sum(1)) ** 0.75
    torch.testing.assert_close(local_response_norm()(a), b)


def test_the_scaled_tanh_keeps_plus_and_minus_one() -> None:
    torch.testing.assert_close(
        ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4, rtol=0
    )


# ---- stochastic pooling ----------------------------------------------------------------------------------------------


def test_stochastic_pooling_weighs_by_probability_in_evaluation() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    assert StochasticPool2d(2, 2).eval()(a).item() == pytest.approx((1 + 4 + 9 + 16) / 10)


def test_stochastic_pooling_draws_by_probability_in_training() -> None:
    torch.manual_seed(0)
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat(1, 10_000)[None, None]
    drawn = StochasticPool2d(2, 2).train()(a).flatten()
    for value in (1.0, 2.0, 3.0, 4.0):
        assert (drawn == value).float().mean().item() == pytest.approx(value / 10, abs=0.015)


def test_stochastic_pooling_gives_the_gradient_to_the_drawn_activation_alone() -> None:
    torch.manual_seed(0)
    a = torch.rand(1, 2, 6, 6).requires_grad_()
    pooled = StochasticPool2d(2, 2).train()(a)
    pooled.sum().backward()
    assert a.grad is not None and a.grad.sum() == 2 * 9 and set(a.grad.unique().tolist()) == {0.0, 1.0}
    assert set(a[a.grad == 1].tolist()) == set(pooled.flatten().tolist())


@pytest.mark.parametrize("training", [True, False])
def test_a_region_of_zeros_gives_zero(training: bool) -> None:
    a = torch.zeros(1, 1, 4, 4, requires_grad=True)
    pooled = StochasticPool2d(2, 2).train(training)(a)
    pooled.sum().backward()
    assert pooled.eq(0).all() and a.grad is not None and a.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil"),
    [(2, 2, 0, False), (3, 2, 0, True), (3, 2, 1, False), (3, 1, 1, True), (3, 2, 1, True)],
)
@pytest.mark.parametrize("side", [6, 7, 8, 13])
def test_stochastic_pooling_has_the_geometry_of_max_pooling(
    kernel: int, stride: int, padding: int, ceil: bool, side: int
) -> None:
    torch.manual_seed(0)
    a = torch.rand(2, 3, side, side + 1)
    largest = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)(a)
    for training in (True, False):
        pooled = StochasticPool2d(kernel, stride, padding, ceil).train(training)(a)
        assert pooled.shape == largest.shape and (pooled <= largest + 1e-6).all()
        assert (pooled > 0).all()  # zeros of the padding are never drawn


# ---- options of every net --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_any_activation_takes_the_place_of_all(name: str) -> None:
    net = build("resnet20", activation=name).eval()
    kinds = [type(m) for m in net.modules() if type(m) in {type(make()) for make in ACTIVATIONS.values()}]
    assert kinds == [type(ACTIVATIONS[name]())] * 19
    assert net(torch.randn(1, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize("name", POOLINGS)
def test_any_pooling_takes_the_place_of_all_but_the_global(name: str) -> None:
    net = build("vgg11", pooling=name, head="linear").eval()
    assert sum(type(m) is type(POOLINGS[name](2, 2, 0, False)) for m in net.modules()) == 5
    assert net(torch.randn(1, 3, 32, 32)).shape == (1, 1000)


def test_swapped_pooling_keeps_its_geometry() -> None:
    net = nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True))
    before = net(torch.zeros(1, 1, 8, 8)).shape
    swap_poolings(net, "average")
    assert isinstance(net[0], nn.AvgPool2d) and net(torch.zeros(1, 1, 8, 8)).shape == before


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("uniform", lambda i, o: 1 / math.sqrt(3 * i)),
        ("xavier", lambda i, o: math.sqrt(2 / (i + o))),
        ("he", lambda i, o: math.sqrt(2 / i)),
        ("gaussian", lambda i, o: 0.01),
    ],
)
def test_initialisers_have_their_deviation(name: str, std) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = build("resnet18", init=name)
    weight = net.get_parameter("stages.2.1.branch.conv1.conv.weight")
    assert weight.std().item() == pytest.approx(std(256 * 9, 256 * 9), rel=0.01)
    assert abs(weight.mean().item()) < 0.01 * weight.std().item() + 1e-4
    assert set(INITIALISERS) == {"uniform", "xavier", "he", "gaussian"}


def test_an_initialiser_leaves_biases_as_the_paper_has_them() -> None:
    net = build("highway_mnist_16", init="he")
    assert net.get_parameter("stages.0.0.gate.bias").eq(-1).all()


@pytest.mark.parametrize(("option", "value"), [("activation", "rellu"), ("pooling", "min"), ("init", "hee")])
def test_an_unknown_choice_is_one_sentence(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is '{value}'; choose one of"):
        build("resnet20", **{option: value})

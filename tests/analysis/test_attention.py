"""Maps and contributions held to what is known of them: analytic maps, sums, symmetries, and what must not change."""

import copy
import math
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor, nn

from plusx.analysis import attention
from plusx.analysis.attention import COMPLETE, METHODS, NEGLIGIBLE, Map, explain_pixels, sharing_twin
from plusx.analysis.blocks import without_branch
from plusx.analysis.contributions import contributions
from plusx.nets import build
from plusx.nets.net import Net


def used(name: str, *, side: int = 32, seed: int = 0, **options: object) -> nn.Module:
    """A net with running statistics that are not those of a fresh one."""
    torch.manual_seed(seed)
    net = build(name, num_classes=5, **options)
    channels = next(m for m in net.modules() if isinstance(m, nn.Conv2d)).in_channels
    with torch.no_grad():
        net.train()(torch.randn(8, channels, side, side))
    return net.eval()


def image(side: int = 32, channels: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(seed))


def analytic(maps_Khw: Tensor, weights_K: Tensor) -> Tensor:
    """What each place adds to a logit of global average pooling and one linear layer; Zhou et al. (2016), Eqn. (2)."""
    return (weights_K[:, None, None] * maps_Khw).sum(0) / maps_Khw[0].numel()


# ---- Grad-CAM --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("resnet20", "preact_resnet18_cifar", "highway_a"),
        pytest.param("preact_resnet110", marks=pytest.mark.more),
        pytest.param("densenet_40_12", marks=pytest.mark.more),
        pytest.param("resnet50_cifar", marks=pytest.mark.more),
    ],
)
@pytest.mark.parametrize("target", [0, 4])
def test_before_pooling_and_one_linear_layer_grad_cam_is_the_analytic_map(name: str, target: int) -> None:
    net, x = used(name), image()
    found = explain_pixels(net, x, target)
    assert isinstance(net, Net) and net.last_maps == found.layer
    heard: list[Tensor] = []
    with torch.no_grad(), net.get_submodule(found.layer).register_forward_hook(lambda m, i, y: heard.append(y.clone())):
        logits_K = net(x)[0]
    linear = net.get_submodule("head.linear")
    assert isinstance(linear, nn.Linear)
    known = analytic(heard[0][0], linear.weight[target].detach())
    torch.testing.assert_close(found.values_HW, known, atol=1e-5 * max(1.0, known.abs().max().item()), rtol=0)
    total = found.values_HW.double().sum().item() + linear.bias[target].item()
    assert total == pytest.approx(logits_K[target].item(), rel=1e-4, abs=1e-4)
    torch.testing.assert_close(found.logits_K, logits_K, atol=1e-5, rtol=1e-5)


class Mirrored(nn.Module):
    """A convolution with filters that are their own mirror images, stride 1, a mean and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.linear = nn.Linear(6, 4)
        for layer in self.stages:
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = (layer.weight.data + layer.weight.data.flip(3)) / 2

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.stages(x).mean((2, 3)))


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(7, 15))
def test_what_mirrors_an_image_mirrors_its_map(method: str, seed: int, side: int) -> None:
    torch.manual_seed(seed)
    net, x = Mirrored(), torch.randn(1, 3, side, side)
    one, other = (explain_pixels(net, each, 2, method).values_HW for each in (x, x.flip(3)))
    if method == "occlusion":  # patches begin at the left, and are mirrored where they fit
        patch = -(-side // 7)
        if (side - patch) % max(1, patch // 2):
            return
    torch.testing.assert_close(one.flip(1), other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[pytest.mark.more] * (m in ("occlusion", "gradients"))) for m in METHODS],
)
def test_maps_depend_on_the_weights(method: str) -> None:
    """Sanity check of Adebayo et al. (2018): with other weights the map is another."""
    name = "resnet20"
    related = []
    for seed in range(6):
        x = image(seed=seed)
        maps = [explain_pixels(used(name, seed=weights), x, 1, method).values_HW for weights in (10, 20 + seed)]
        related.append(spearmanr(*(each.flatten().numpy() for each in maps)).statistic)
        again = explain_pixels(used(name, seed=10), x, 1, method).values_HW
        torch.testing.assert_close(again, maps[0], atol=1e-5, rtol=1e-4)
    assert abs(sum(related) / len(related)) < 0.35, related


# ---- integrated gradients and occlusion ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "resnet20",
        pytest.param("vgg16_cifar", marks=pytest.mark.slow),
        pytest.param("densenet_40_12", marks=pytest.mark.more),
        pytest.param("res_airbench94", marks=pytest.mark.more),
    ],
)
def test_integrated_gradients_are_complete(name: str) -> None:
    net, x = used(name), image()
    with torch.no_grad():
        change = (net(x) - net(torch.zeros_like(x)))[0]
    for target in (0, 3):
        found = explain_pixels(net, x, target, "gradients")
        missing = abs(found.values_HW.double().sum().item() - change[target].item())
        assert found.note or missing <= max(COMPLETE * abs(change[target].item()), NEGLIGIBLE) * 1.001
        assert not found.note


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_how_many_images_are_computed_together_makes_no_difference(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = used("resnet20"), image()
    known = explain_pixels(net, x, 1, method).values_HW
    for together in (1, 5):
        monkeypatch.setattr(attention, "PIXELS", together * 32 * 32)
        torch.testing.assert_close(explain_pixels(net, x, 1, method).values_HW, known, atol=1e-4, rtol=1e-3)


def test_integrated_gradients_of_a_linear_net_are_its_terms() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 2)), image(6)
    weight = net.get_parameter("1.weight")[1].detach().reshape(3, 6, 6)
    known = (weight * x[0]).sum(0)
    torch.testing.assert_close(explain_pixels(net, x, 1, "gradients").values_HW, known, atol=1e-6, rtol=1e-5)


class Steep(nn.Module):
    """A logit that jumps: no number of steps makes its integrated gradients complete."""

    def forward(self, x: Tensor) -> Tensor:
        jumped = (x.mean((1, 2, 3)) > 0.3).float() * 10
        return torch.stack([jumped + 0 * x.sum((1, 2, 3)), -jumped], 1)


def test_integrated_gradients_that_are_not_complete_say_so() -> None:
    found = explain_pixels(Steep(), torch.ones(1, 3, 4, 4), 0, "gradients")
    assert found.note == "the values add up to 0 of 10 logits"


class Blinkered(nn.Module):
    """A net that sees the left half of an image alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build("resnet20", num_classes=3)

    def forward(self, x: Tensor) -> Tensor:
        left = x.clone()
        left[..., x.shape[3] // 2 :] = 0.5
        return self.net(left)


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_what_a_net_ignores_speaks_neither_for_nor_against(method: str) -> None:
    torch.manual_seed(0)
    found = explain_pixels(Blinkered(), image(28), 1, method).values_HW  # patches of 4 pixels
    assert (found[:, 14 + 3 :] == 0).all() and (found[:, :10] != 0).any()


def test_of_a_net_that_ignores_the_image_nothing_is_shown() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 2.0]]).repeat(len(x), 1) + 0 * x.sum((1, 2, 3))[:, None]

    for method in ("occlusion", "gradients"):
        found = explain_pixels(Constant(), image(8), method=method)
        assert found.target == 1 and not found.values_HW.any() and not found.strength_HW.any()
        assert found.note == "nothing in this image speaks for this class"


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_patches_cover_every_pixel(height: int, width: int) -> None:
    """The covered image is the mean everywhere, so that a sum over pixels loses all of it, wherever it is."""

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum((1, 2, 3)), x.sum((1, 2, 3)) * 0], 1)

    found = explain_pixels(Sum(), torch.ones(1, 1, height, width), 0, "occlusion").values_HW
    side = -(-min(height, width) // 7)
    assert found.shape == (height, width) and torch.allclose(found, torch.full_like(found, side**2), rtol=1e-3)


# ---- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18_cifar", "highway_a", "plain20", "densenet_40_12"])
def test_a_contribution_is_what_the_logit_loses_without_the_branch(name: str) -> None:
    net, x = used(name), image()
    found = contributions(net, x, 2)
    with torch.no_grad():
        whole = net(x)[0, 2].item()
        for each in (found[0], found[-1]):
            with without_branch(net.get_submodule(each.name)):
                assert each.contribution == pytest.approx(whole - net(x)[0, 2].item(), abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18_cifar", "highway_a", "preact_resnet110"])
def test_what_the_last_blocks_add_sums_to_the_logit(name: str) -> None:
    net, x = used(name), image()
    assert isinstance(net, Net)
    found = [each for each in contributions(net, x, 2) if each.added is not None]
    first = net.get_submodule(found[0].name)
    heard: list[Tensor] = []
    with torch.no_grad(), first.register_forward_pre_hook(lambda m, inputs: heard.append(inputs[0].clone())):
        whole = net(x)[0, 2].item()
    with torch.no_grad():
        before = net.head(heard[0])[0, 2].item()
    assert before + math.fsum(each.added or 0.0 for each in found) == pytest.approx(whole, rel=1e-5, abs=1e-4)


def test_before_pooling_and_one_linear_layer_what_is_added_is_the_mean_of_what_changes() -> None:
    net, x = used("preact_resnet18_cifar"), image()
    (last,) = contributions(net, x, 2)[-1:]
    heard: list[Tensor] = []
    branch = net.get_submodule(f"{last.name}.branch")
    with torch.no_grad(), branch.register_forward_hook(lambda m, i, y: heard.append(y.clone())):
        net(x)
    known = (
        (net.get_parameter("head.linear.weight")[2].detach() * heard[0].mean((0, 2, 3))).sum().item()
    )  # y - x is F(x)
    assert last.added == pytest.approx(known, rel=1e-4, abs=1e-5)
    assert last.contribution == pytest.approx(known, rel=1e-4, abs=1e-4)  # nothing follows it that could change


def test_a_net_without_blocks_has_no_contributions() -> None:
    assert contributions(build("lenet5_dense").eval(), image(32, 1), 0) == ()


# ---- what must not change --------------------------------------------------------------------------------------------


def state(net: nn.Module) -> list[object]:
    """All that explaining could change of a net."""
    return [
        *(each.training for each in net.modules()),
        *(each.requires_grad for each in net.parameters()),
        *(None if each.grad is None else each.grad.clone() for each in net.parameters()),
        *(value.clone() for value in net.state_dict().values()),
        *(id(value) for value in (*net.parameters(), *net.buffers())),
        *(list(each._forward_hooks) + list(each._forward_pre_hooks) for each in net.modules()),
        *(list(each._backward_hooks) for each in net.modules()),
    ]


def same(one: list[object], other: list[object]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("training", [True, False])
def test_explaining_changes_nothing_of_a_net(training: bool) -> None:
    net, x = used("resnet20"), image()
    net(x).sum().backward()
    net.train(training)
    net.stem.register_forward_hook(lambda module, inputs, y: None)  # type: ignore[union-attr]
    before, random, given = state(net), torch.get_rng_state(), x.clone()
    for method in METHODS:
        explain_pixels(net, x, 0, method)
    contributions(net, x, 0)
    assert same(before, state(net))
    assert torch.equal(random, torch.get_rng_state()) and torch.equal(x, given) and not x.requires_grad
    with torch.no_grad():
        next(net.parameters()).add_(1)
    assert not same(before, state(net))  # the comparison can fail


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_mode_of_gradients_makes_no_difference(mode: Callable[[], object]) -> None:
    net, x = used("resnet20"), image()
    known = [explain_pixels(net, x, 0, method).values_HW for method in METHODS]
    with mode():  # type: ignore[attr-defined]
        found = [explain_pixels(net, image(), 0, method).values_HW for method in METHODS]
        contributions(net, image(), 0)
    for one, other in zip(found, known, strict=True):
        torch.testing.assert_close(one, other)


def test_threads_that_explain_at_once_by_one_net_find_what_one_finds() -> None:
    net = used("resnet20")
    asked = [(image(seed=seed), seed % 5, method) for seed in range(2) for method in METHODS]
    alone = [explain_pixels(net, *each).values_HW for each in asked]
    parts = [contributions(net, x, target) for x, target, _ in asked]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda each: explain_pixels(net, *each).values_HW, asked))
        parts_together = list(threads.map(lambda each: contributions(net, each[0], each[1]), asked))
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    for these, those in zip(parts_together, parts, strict=True):
        assert [each.contribution for each in these] == pytest.approx([each.contribution for each in those], abs=1e-3)


def test_a_twin_shares_the_weights_and_copies_the_buffers() -> None:
    net = used("resnet20")
    twin = sharing_twin(net.train())
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert one.data_ptr() == other.data_ptr() and not other.requires_grad
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(net.buffers(), twin.buffers(), strict=True))
    assert not twin.training and net.training


def test_a_server_can_import_it_without_the_training_code() -> None:
    code = "import sys, plusx.analysis.attention, plusx.analysis.contributions; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = ("plusx.engine", "plusx.report", "plusx.recipes", "matplotlib", "sklearn", "torchvision")
    assert "plusx.analysis.attention" in loaded and not [name for name in loaded if name.startswith(heavy)]


def test_a_net_that_was_made_in_inference_mode_is_explained() -> None:
    with torch.inference_mode():
        made = build("resnet20", num_classes=5).eval()
        x = image()
    net = build("resnet20", num_classes=5).eval()
    net.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    for method in METHODS:
        known = explain_pixels(net, image(), 0, method).values_HW
        torch.testing.assert_close(explain_pixels(made, x, 0, method).values_HW, known)


def test_a_net_in_bf16_is_explained_in_fp32() -> None:
    net, x = used("resnet20"), image()
    half = copy.deepcopy(net).to(torch.bfloat16)
    exact = copy.deepcopy(half).float()
    assert torch.equal(explain_pixels(half, x, 0).values_HW, explain_pixels(exact, x, 0).values_HW)


# ---- nets as they come -----------------------------------------------------------------------------------------------


def test_a_net_that_is_fully_connected_says_what_explains_it() -> None:
    for name in ("mlp", "residual_mlp", "highway_fc"):
        net, x = build(name).eval(), image(28, 1)
        with pytest.raises(ValueError, match="has no maps for cam.*occlusion and gradients do without"):
            explain_pixels(net, x)
        assert explain_pixels(net, x, method="gradients").values_HW.shape == (28, 28)


def test_maps_of_a_single_place_give_way_to_the_last_that_have_more() -> None:
    net = used("resnet18", side=64)
    assert explain_pixels(net, image(64)).layer == "stages"
    found = explain_pixels(net, image(32))
    assert found.layer == "stages.2" and found.values_HW.shape == (2, 2)


class Own(nn.Module):
    """Of no contract: names of its own, an in-place ReLU behind the addition, and a head that is not a module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.after, self.unused, self.out = nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu_()
        x = self.after(self.b(x) + x)
        self.unused(x)  # the logits do not depend on it
        return self.out(x.mean((2, 3)))


def test_of_a_net_of_ones_own_the_last_maps_that_matter_are_found() -> None:
    torch.manual_seed(0)
    net, x = Own(), image(8, 1)
    found = explain_pixels(net, x, 1)
    assert found.layer == "after"
    with torch.no_grad():
        y = net.a(x).relu_()
        y = (net.b(y) + y).relu()[0]
    torch.testing.assert_close(found.values_HW, analytic(y, net.out.weight[1].detach()), atol=1e-5, rtol=1e-5)


def test_a_net_whose_first_layer_works_in_place_is_explained() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    for method in METHODS:
        x = image(8, 1)
        explain_pixels(net, x, 0, method)
        assert torch.equal(x, image(8, 1))


def test_a_net_that_names_a_module_which_it_lacks_is_told() -> None:
    net = used("resnet20")
    net.last_maps = "stages.9"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="'stages.9', which it does not have"):
        explain_pixels(net, image())


def test_a_net_without_a_gradient_says_so() -> None:
    class Cut(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    net = Cut(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3)), nn.Sequential(nn.Flatten(), nn.LazyLinear(2)))
    net(image(8))
    with pytest.raises(ValueError, match="which cam needs"):
        explain_pixels(net, image(8))
    with pytest.raises(ValueError, match="have no gradient"):
        explain_pixels(net, image(8), method="gradients")
    assert explain_pixels(net, image(8), 0, "occlusion").values_HW.any()


def test_a_net_without_maps_says_so() -> None:
    net = nn.Sequential(OrderedDict(flat=nn.Flatten(), out=nn.Linear(64, 2)))
    with pytest.raises(ValueError, match="no maps of more than one place"):
        explain_pixels(net, image(8, 1))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"method": "camm"}, "method is 'camm'; choose one of cam, occlusion, gradients"),
        ({"target": 5}, "class 5 is none of the net's 5"),
        ({"target": -1}, "class -1 is none"),
    ],
)
def test_what_cannot_be_explained_is_said(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        explain_pixels(used("resnet20"), image(), **options)  # type: ignore[arg-type]


def test_a_net_that_has_diverged_is_not_explained() -> None:
    net = used("resnet20")
    with torch.no_grad():
        next(net.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        explain_pixels(net, image())
    with pytest.raises(ValueError, match="one image"):
        explain_pixels(net, torch.zeros(2, 3, 32, 32))


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=64))
def test_strength_is_a_share_of_what_speaks_for_the_class(values: list[float]) -> None:
    for method in METHODS:
        found = Map(torch.tensor([values]), 0, torch.zeros(1), method)
        strength = found.strength_HW
        assert ((strength >= 0) & (strength <= 1)).all() and (strength[found.values_HW <= 0] == 0).all()
        assert (strength.max() == 1) == (max(values) > 0 and found.strongest > 0)

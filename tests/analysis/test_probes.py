"""Each probe held to numbers that are known or worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from plusx.analysis import features as pictures
from plusx.analysis import gradients, lesions, paths, responses, shortcuts
from plusx.analysis.blocks import blocks, without_branch, without_shortcut
from plusx.data.batches import Batch
from plusx.nets import build


def noise(count: int = 8, side: int = 8, channels: int = 3) -> list[Batch]:
    rng = torch.Generator().manual_seed(0)
    x_BCHW = torch.randn(count, channels, side, side, generator=rng)
    labels_B = torch.randint(0, 10, (count,), generator=rng)
    return [(x_BCHW[: count // 2], labels_B[: count // 2]), (x_BCHW[count // 2 :], labels_B[count // 2 :])]


def used(net: nn.Module, x_BCHW: Tensor) -> nn.Module:
    """The net with running statistics that are not those of a fresh one."""
    with torch.no_grad():
        net.train()(x_BCHW)
    return net.eval()


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), min_size=1, max_size=6))
def test_moments_of_parts_are_those_of_the_whole(parts: list[list[float]]) -> None:
    moments = responses.Moments()
    for part in parts:
        moments.add(torch.tensor(part, dtype=torch.float64))
    whole = torch.tensor([x for part in parts for x in part], dtype=torch.float64)
    assert moments.std == pytest.approx(whole.std(correction=0).item(), abs=1e-3)
    assert moments.mean == pytest.approx(whole.mean().item(), abs=1e-3)


def test_responses_are_taken_after_batch_norm_and_before_relu_in_the_order_of_layers() -> None:
    torch.manual_seed(0)
    net = used(build("resnet20"), noise()[0][0])
    found = list(responses.probe(net, noise()))
    assert len(found) == 19 and found[0].name == "stem.conv.conv" and found[-1].name == "stages.2.2.branch.conv2.conv"
    with torch.no_grad():
        y = net.get_submodule("stem.conv")(torch.cat([x for x, _ in noise()]))
        assert found[0].value == pytest.approx(y.std(correction=0).item(), rel=1e-5)
        block = net.get_submodule("stages.0.0")
        inner = block.branch(y.relu())  # type: ignore[operator]
        assert found[2].value == pytest.approx(inner.std(correction=0).item(), rel=1e-5)


def test_without_batch_norm_a_response_is_the_convolutions_and_1x1_are_left_out() -> None:
    torch.manual_seed(0)
    names = [m.name for m in responses.probe(build("lenet5_dense"), noise(side=32, channels=1))]
    assert names == ["stem.c1", "stages.c3", "head.c5"]
    assert len(list(responses.probe(build("resnet50", num_classes=10), noise(side=32)))) == 17


def test_gradients_are_autograds_and_the_net_stays_as_it_is() -> None:
    torch.manual_seed(0)
    net = build("resnet20")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = {m.name: m.value for m in gradients.probe(net, noise())}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    norms = []
    for x_BCHW, labels_B in noise():
        net.zero_grad()
        nn.functional.cross_entropy(net.train()(x_BCHW), labels_B).backward()
        gradient = net.get_parameter("stages.1.0.branch.conv1.conv.weight").grad
        assert gradient is not None
        norms.append(gradient.norm().item())
    assert found["stages.1.0.branch.conv1.conv"] == pytest.approx(sum(norms) / 2, rel=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet110", "resnet18_cifar"])
def test_without_its_branch_a_block_is_its_shortcut(name: str) -> None:
    torch.manual_seed(0)
    net = used(build(name), noise()[0][0])
    block = list(blocks(net).values())[1]
    x = torch.rand(2, 64 if name == "resnet18_cifar" else 16, 8, 8)
    with torch.no_grad():
        whole = block(x)
        with without_branch(block):
            torch.testing.assert_close(block(x), x)
        assert torch.equal(block(x), whole)


def test_a_plain_block_away_passes_x_on_also_where_the_shape_changes() -> None:
    net = used(build("plain20"), noise()[0][0])
    x = torch.rand(2, 16, 8, 8)
    same, smaller = net.get_submodule("stages.0.1"), net.get_submodule("stages.1.0")
    with torch.no_grad(), without_branch(same, smaller):
        assert torch.equal(same(x), x)
        shorter = smaller(x)
    assert torch.equal(shorter[:, :16], x[:, :, ::2, ::2]) and not shorter[:, 16:].any()


def test_a_gate_away_carries_x() -> None:
    net = build("highway_fc", image_size=8)
    x = torch.rand(2, 50)
    block = next(iter(blocks(net).values()))
    with torch.no_grad(), without_branch(block):
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", ["dpn68", "densenet_40_12"])
def test_lesions_need_no_code_for_a_family(name: str) -> None:
    side = 64 if name == "dpn68" else 8
    net = used(build(name, num_classes=10), noise(side=side)[0][0])
    x = noise(2, side)[0][0]
    with torch.no_grad():
        whole = net(x)
        for block in list(blocks(net).values())[:2]:
            with without_branch(block):
                assert not torch.equal(net(x), whole)
        assert torch.equal(net(x), whole)


def test_lesions_tell_the_whole_then_each_block() -> None:
    net = used(build("resnet20"), noise()[0][0])
    found = list(lesions.probe(net, noise()))
    assert [m.name for m in found[:3]] == ["whole", "stages.0.0", "stages.0.1"] and len(found) == 10
    assert [m.name for m in lesions.removing(net, noise())] == [str(k) for k in range(10)]


def test_shuffling_moves_blocks_of_equal_shape_and_puts_them_back() -> None:
    torch.manual_seed(0)
    net = used(build("resnet32"), noise()[0][0])
    order = [id(block) for block in blocks(net).values()]
    found = list(lesions.shuffling(net, noise()))
    assert float(found[0].name) == 1 and all(-1 <= float(m.name) < 1 for m in found[1:])
    assert [id(block) for block in blocks(net).values()] == order


@pytest.mark.parametrize(("orders", "tau"), [([[0, 1, 2]], 1), ([[2, 1, 0]], -1), ([[1, 0, 2], [0, 1]], 0.5)])
def test_kendalls_tau(orders: list[list[int]], tau: float) -> None:
    assert lesions.kendall(orders) == pytest.approx(tau)


class Scalar(nn.Module):
    """y = w x + x."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.branch = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.branch.weight, weight)
        self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)


class Product(nn.Module):
    """(1 + w)^n x, as two logits."""

    def __init__(self, n: int, weight: float) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(Scalar(weight) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.stages(x).mean((1, 2, 3))
        return torch.stack([y, -y], 1)


def test_paths_of_a_product_carry_powers_of_its_weight() -> None:
    n, weight = 6, 0.5
    batch = (torch.full((3, 1, 1, 1), 0.1), torch.zeros(3, dtype=torch.int64))
    found = {m.name: m.value for m in paths.probe(Product(n, weight), [batch])}
    for k in range(n + 1):
        assert found[f"{k} path"] == pytest.approx(weight**k * found["0 path"], rel=1e-4)
        assert found[f"{k} share"] == pytest.approx(math.comb(n, k) * weight**k / (1 + weight) ** n, rel=1e-4)


def test_shortcuts_tell_the_ratio_of_norms_and_the_error_without() -> None:
    batch = (torch.full((3, 1, 1, 1), 0.1), torch.zeros(3, dtype=torch.int64))
    found = list(shortcuts.probe(Product(2, -0.5), [batch]))
    assert [m.name for m in found] == ["whole", "stages.0 ratio", "stages.0 error", "stages.1 ratio", "stages.1 error"]
    assert found[1].value == pytest.approx(2) and found[0].value == 0
    assert found[2].value == 1  # -0.5 x 0.5 x is negative, and class 1
    block = Scalar(-0.5)
    with torch.no_grad(), without_shortcut(block):
        assert block(torch.ones(1, 1, 1, 1)).item() == -0.5


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda: blocks(build("lenet5")), "has no blocks"),
        (lambda: list(paths.probe(build("plain20"), noise())), "has no shortcuts"),
        (lambda: list(shortcuts.probe(build("plain20"), noise())), "has no shortcuts"),
        (lambda: list(lesions.shuffling(Product(1, 1.0), [])), "no two blocks of equal shape"),
        (lambda: pictures.filters(build("mlp")), "no convolution"),
        (lambda: pictures.features(build("mlp"), torch.zeros(1, 28, 28)), "no maps"),
    ],
)
def test_what_a_net_has_not_is_said(ask: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ask()


def test_pictures_show_every_filter_and_the_maps_of_each_stage() -> None:
    net = build("resnet20")
    sheet = pictures.filters(net)  # 16 filters in rows of 8, each 3 pixels enlarged 16 times
    assert sheet.size == (2 + 8 * 50, 2 + 2 * 50)
    maps = pictures.features(net, torch.randn(3, 32, 32))
    heights = (66, 66, 50, 50)  # the stem's and the first stage's of 64 pixels, then 48; each under a line of 18
    assert maps.size[1] == 2 + sum(18 + height for height in heights) and net.training

"""The comparison of a file with its net: what it lets pass, and every way in which it says no."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from plusx.deploy.export.verify import ExportRefusedError, drawn_images, verify
from plusx.weights.presets import channelwise

PREPROCESS = channelwise(4, [0.5], [0.25], "")
SHAPE = (1, 4, 4)
IMAGES = list(drawn_images(SHAPE, 40))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()


def same(net: nn.Module, change: Callable[[Tensor], Tensor] = lambda y: y) -> Callable[[Tensor], Tensor]:
    """What a file computes: the net's logits, changed."""

    @torch.no_grad()
    def logits(pixels_BCHW: Tensor) -> Tensor:
        return change(net(PREPROCESS.normalise(pixels_BCHW)))

    return logits


def labels_of(net: nn.Module) -> list[int]:
    return same(net)(torch.stack(IMAGES)).argmax(1).tolist()


def test_the_first_batches_are_of_1_3_and_8_images(net: nn.Module) -> None:
    sizes: dict[str, list[int]] = {"one": [], "other": []}

    def counting(name: str) -> Callable[[Tensor], Tensor]:
        return lambda pixels: sizes[name].append(len(pixels)) or same(net)(pixels)  # type: ignore[func-returns-value]

    found = verify(net, PREPROCESS, {n: counting(n) for n in sizes}, IMAGES, labels_of(net), source="val")
    assert sizes == {"one": [1, 3, 8, 8, 8, 8, 4], "other": [1, 3, 8]}
    assert found.images == 40 and found.accuracy == found.exported_accuracy == 1 and found.largest_difference == 0


def test_a_fixed_batch_is_filled_up(net: nn.Module) -> None:
    sizes: list[int] = []

    def counting(pixels: Tensor) -> Tensor:
        sizes.append(len(pixels))
        return same(net)(pixels)

    assert verify(net, PREPROCESS, {"file": counting}, IMAGES, None, source="val", batch=7).images == 40
    assert sizes == [7] * 6


@pytest.mark.parametrize("by", [2e-3, -2e-3, float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 11, 39])
def test_a_difference_in_any_one_image_is_found(net: nn.Module, by: float, where: int) -> None:
    seen = [0]

    def other(y_BK: Tensor) -> Tensor:
        first, seen[0] = seen[0], seen[0] + len(y_BK)
        if first <= where < seen[0]:
            y_BK[where - first, 1] += by
        return y_BK

    with pytest.raises(ExportRefusedError, match=r"differ by 0.002|not finite"):
        verify(net, PREPROCESS, {"file": same(net, other)}, IMAGES, labels_of(net), source="val")


def test_rounding_passes(net: nn.Module) -> None:
    found = verify(net, PREPROCESS, {"file": same(net, lambda y: y + 1e-5)}, IMAGES, labels_of(net), source="val")
    assert 5e-6 < found.largest_difference < 2e-5


def test_a_net_that_makes_much_of_rounding_is_compared_by_its_own_error(net: nn.Module) -> None:
    class Cancelling(nn.Module):
        """The net, whose last digits are lost in single precision."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return (self.net(x) + 1e5) - 1e5

    found = verify(Cancelling(), PREPROCESS, {"file": same(net)}, IMAGES, labels_of(net), source="val")
    assert 1e-3 < found.largest_difference < 5e-3
    with pytest.raises(ExportRefusedError, match=r"logits differ by 0.0[34]"):
        verify(Cancelling(), PREPROCESS, {"file": same(net, lambda y: y + 0.03)}, IMAGES, None, source="val")


def test_small_logits_are_compared_by_their_size(net: nn.Module) -> None:
    """A net that begins with logits of 1e-4 must not pass with any others as small."""
    with torch.no_grad():
        net[1].weight.mul_(1e-4)
        net[1].bias.mul_(1e-4)
    with pytest.raises(ExportRefusedError, match="logits differ"):
        verify(net, PREPROCESS, {"file": same(net, lambda y: y.flip(1))}, IMAGES, None, source="drawn images")


def test_a_second_runtime_is_compared_too(net: nn.Module) -> None:
    runtimes = {"one": same(net), "other": same(net, lambda y: y + 0.01)}
    with pytest.raises(ExportRefusedError, match="by other, logits differ by 0.01"):
        verify(net, PREPROCESS, runtimes, IMAGES, None, source="val")


def test_a_changed_accuracy_is_refused_though_logits_are_near(net: nn.Module) -> None:
    """Two classes 1e-4 apart change places by 2e-4, which the tolerance of a logit allows."""

    class Near(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 1.0001, -1.0]]).repeat(len(x), 1)

    swapped = torch.tensor([[1e-4, -1e-4, 0.0]])
    with pytest.raises(ExportRefusedError, match=r"the accuracy on val changes: 40 of 40 images"):
        verify(Near(), PREPROCESS, {"file": lambda x: Near()(x) + swapped}, IMAGES, [1] * 40, source="val")

    class Tied(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 1.000001, -1.0]]).repeat(len(x), 1)

    verify(Tied(), PREPROCESS, {"file": lambda x: Tied()(x) + swapped / 50}, IMAGES, [1] * 40, source="val")


def test_another_number_of_classes_and_no_image_are_refused(net: nn.Module) -> None:
    with pytest.raises(ExportRefusedError, match="logits of 1 x 2, the net of 1 x 3"):
        verify(net, PREPROCESS, {"file": same(net, lambda y: y[:, :2])}, IMAGES, None, source="val")
    with pytest.raises(ExportRefusedError, match="no image"):
        verify(net, PREPROCESS, {"file": same(net)}, [], None, source="val")


def test_a_net_that_is_broken_itself_proves_nothing(net: nn.Module) -> None:
    with torch.no_grad():
        net[1].bias.fill_(float("nan"))
    with pytest.raises(ExportRefusedError, match="the net itself"):
        verify(net, PREPROCESS, {"file": same(net)}, IMAGES, None, source="val")


@pytest.mark.parametrize(("wrong", "allowed"), [(1, 2.5), (2, 5.0)])
def test_int8_is_held_to_the_drop_in_points(net: nn.Module, wrong: int, allowed: float) -> None:
    """One of 40 images is 2.5 points, which is no more than 2.5."""
    seen = [0]

    def other(y_BK: Tensor) -> Tensor:
        first, seen[0] = seen[0], seen[0] + len(y_BK)
        for row in range(max(0, wrong - first)):
            if row < len(y_BK):
                y_BK[row] = -y_BK[row]
        return y_BK

    def compare(max_drop: float) -> float | None:
        seen[0] = 0
        runtimes = {"file": same(net, other)}
        return verify(net, PREPROCESS, runtimes, IMAGES, labels_of(net), source="val", max_drop=max_drop).drop

    assert compare(allowed) == pytest.approx(allowed)
    with pytest.raises(ExportRefusedError, match=rf"int8 costs {allowed:.2f} percentage points of accuracy on val"):
        compare(allowed - 0.1)


def test_drawn_images_differ_and_are_the_same_every_time() -> None:
    again = list(drawn_images(SHAPE, 40))
    assert all(torch.equal(a, b) for a, b in zip(IMAGES, again, strict=True))
    assert len({image.numpy().tobytes() for image in IMAGES}) == 40
    means = torch.stack(IMAGES).float().mean((1, 2, 3))
    assert means.max() - means.min() > 50

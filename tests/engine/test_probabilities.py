"""The mean softmax over views, with nets that can be frozen and nets that cannot."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess
from plusx.data.views import Views
from plusx.engine.probabilities import log_probabilities
from plusx.nets import build
from plusx.nets.net import DenseEvaluation
from plusx.placement.place import plain_placement

PIXELS = torch.randint(0, 256, (21, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = ImageSet(torch.arange(21) % 4, ("a", "b", "c", "d"), pixels_NCHW=PIXELS)
PREPROCESS = Preprocess((8, 8), torch.full((3, 1, 1), 0.4), torch.full((3, 1, 1), 0.25), "made up")


def computed(net: nn.Module, views: Views, precision: str = "fp32", threads: int = 2) -> Tensor:
    placement = dataclasses.replace(plain_placement(threads=threads), precision=precision)
    return torch.cat(list(log_probabilities(net.eval(), IMAGES, PREPROCESS, views, placement, batch_size=5)))


class Untraceable(nn.Module):
    """Decides by the values that it sees, which no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.linear((y if y.isfinite().all() else -y).relu().mean((2, 3)))


class Dense(Untraceable, DenseEvaluation):
    """Has a dense form of its own."""

    def forward_dense(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).relu().amax((2, 3)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["untraceable", "dense"])
def test_a_net_without_a_graph_runs_as_it_is_in_the_precision_of_the_run(precision: str, kind: str) -> None:
    net: Untraceable = Untraceable() if kind == "untraceable" else Dense()
    views = Views(flip=True) if kind == "untraceable" else Views(scales=(8,), dense=True, flip=True)
    call = net if kind == "untraceable" else net.forward_dense  # type: ignore[union-attr]
    x = PREPROCESS.normalise(PIXELS)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = torch.stack([call(x).softmax(1), call(x.flip(-1)).softmax(1)]).double().mean(0)
    found = computed(net, views, precision).exp()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 if precision == "fp32" else 0.01)


@pytest.mark.parametrize(
    "views", [Views(), Views(flip=True), Views(crops=10, scales=(9, 12)), Views(scales=(8, 11), dense=True)]
)
def test_threads_change_nothing_and_every_image_counts_once_in_order(views: Views) -> None:
    torch.manual_seed(0)
    net, before = build("resnet20", num_classes=4), torch.get_num_threads()
    one, three = (computed(net, views, threads=threads) for threads in (1, 3))
    assert torch.equal(one, three) and one.shape == (21, 4) and torch.get_num_threads() == before
    reversed_ = dataclasses.replace(IMAGES, pixels_NCHW=PIXELS.flip(0))
    placement = plain_placement(threads=2)
    other = torch.cat(list(log_probabilities(net, reversed_, PREPROCESS, views, placement, batch_size=5)))
    torch.testing.assert_close(other.flip(0), one, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.exp().sum(1), torch.ones(21, dtype=torch.float64))


def test_progress_counts_images() -> None:
    counts: list[tuple[int, int]] = []
    placement, progress = plain_placement(threads=2), lambda done, total: counts.append((done, total))
    list(log_probabilities(Untraceable(), IMAGES, PREPROCESS, Views(), placement, batch_size=5, progress=progress))
    assert counts[-1] == (21, 21) and [done for done, _ in counts] == sorted({done for done, _ in counts})


def test_a_net_whose_head_takes_one_size_is_refused_for_dense_views() -> None:
    with pytest.raises(ValueError, match="has no dense form"):
        computed(build("lenet5", num_classes=4), Views(dense=True))

"""MixUp and CutMix: labels are mixed as the pixels are, for every image."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from plusx.data.augment import make_augmentation
from plusx.data.batches import Augmentation, TrainBatches
from plusx.data.images import ImageSet
from plusx.data.mixing import cutmix, mixup, one_of
from plusx.data.preprocess import Preprocess
from plusx.engine.losses import make_loss
from plusx.recipes.augment import CutMix, FlipLR, MixUp
from plusx.recipes.loss import CrossEntropy

PREPROCESS = Preprocess((6, 9), torch.zeros(1, 1, 1), torch.full((1, 1, 1), 1 / 255), "")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int, height: int = 6, width: int = 9) -> tuple[Tensor, Tensor]:
    """Images whose every pixel is their number, each of a class of its own."""
    return torch.arange(float(count))[:, None, None, None].expand(count, 2, height, width), torch.eye(count)


@given(st.integers(2, 9), st.sampled_from([0.1, 0.2, 1.0, 8.0]), st.integers(0, 9999))
@settings(deadline=None)
def test_mixup_mixes_labels_by_the_share_that_the_pixels_show(count: int, alpha: float, seed: int) -> None:
    x, shares = numbered(count)
    mixed, made = mixup(x, shares, alpha=alpha, generator=rng(seed))
    torch.testing.assert_close(made.sum(1), torch.ones(count))
    for n in range(count):
        assert (mixed[n] == mixed[n, 0, 0, 0]).all()
        other = (n - 1) % count
        lam = (mixed[n, 0, 0, 0].item() - other) / (n - other)  # of the pixels
        expected = torch.zeros(count)
        expected[n], expected[other] = lam, 1 - lam
        torch.testing.assert_close(made[n], expected, rtol=0, atol=1e-5)


@given(
    st.integers(2, 6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.2, 1.0, 5.0]), st.integers(0, 9999)
)
@settings(deadline=None)
def test_cutmix_mixes_labels_by_the_area_that_the_pixels_show(
    count: int, height: int, width: int, alpha: float, seed: int
) -> None:
    x, shares = numbered(count, height, width)
    mixed, made = cutmix(x, shares, alpha=alpha, probability=1, generator=rng(seed))
    for n in range(count):
        own, pasted = mixed[n] == n, mixed[n] == (n - 1) % count
        assert (own | pasted).all()
        rows, columns = pasted[0].any(1), pasted[0].any(0)
        assert torch.equal(pasted, (rows[:, None] & columns).expand_as(pasted))  # a box, the same in every channel
        assert made[n, n].item() == pytest.approx(own[0].sum().item() / (height * width), abs=1e-7)
        assert made[n, (n - 1) % count].item() == pytest.approx(pasted[0].sum().item() / (height * width), abs=1e-7)


def test_the_share_is_beta_and_the_boxes_have_its_area_where_the_edge_does_not_cut_them() -> None:
    x, shares = numbered(2, 100, 100)
    kept = {
        alpha: torch.stack(
            [mixup(x[:, :1, :1, :1], shares, alpha=alpha, generator=rng(s))[1][0, 0] for s in range(3000)]
        )
        for alpha in (0.2, 1.0, 4.0)
    }
    for alpha, lams in kept.items():  # the mean of Beta(a, a) is 1/2, its variance 1 / (4 (2 a + 1))
        assert lams.mean().item() == pytest.approx(0.5, abs=0.03)
        assert lams.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)
    pasted = [1 - cutmix(x, shares, alpha=1.0, probability=1, generator=rng(s))[1][0, 0].item() for s in range(600)]
    # Along a side s is pasted of a box of length s, E[s - s^2 / 4 | s] of it inside: the mean area is E[(s - s^2/4)^2]
    # with s^2 uniform.
    grid = torch.linspace(0, 1, 10001).double().sqrt()
    assert sum(pasted) / 600 == pytest.approx((grid - grid**2 / 4).square().mean().item(), abs=0.03)


def test_a_batch_is_mixed_with_its_probability_and_else_left_as_it_is() -> None:
    x, shares = numbered(3, 20, 20)
    same = 0
    for seed in range(400):
        mixed, made = cutmix(x, shares, alpha=4.0, probability=0.25, generator=rng(seed))
        if torch.equal(made, shares):
            assert torch.equal(mixed, x)
            same += 1
    assert 260 < same < 340
    assert torch.equal(cutmix(x, shares, alpha=1.0, probability=0.0, generator=rng())[0], x)


def test_of_two_ways_each_batch_gets_one() -> None:
    x, shares = numbered(3, 20, 20)
    ways = (partial(mixup, alpha=4.0), partial(cutmix, alpha=4.0, probability=1))
    pure = sum(
        bool((one_of(x, shares, mixes=ways, generator=rng(seed))[0] % 1 == 0).all()) for seed in range(400)
    )  # pixels of CutMix are those of one image
    assert 160 < pure < 240


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mix", [mixup, partial(cutmix, probability=1)], ids=["mixup", "cutmix"])
def test_the_loss_of_a_mixed_batch_is_the_papers(mix, smoothing: float) -> None:  # type: ignore[no-untyped-def]
    """lam CE(a) + (1 - lam) CE(b), each with label smoothing."""
    labels = torch.tensor([2, 0, 3, 3, 1])
    x = torch.randn(5, 1, 8, 8, generator=rng(1))
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    for seed in range(5):
        mixed, shares = mix(x, torch.eye(4)[labels], alpha=1.0, generator=rng(seed))
        lam = mix(x, torch.eye(5), alpha=1.0, generator=rng(seed))[1][0, 0]
        logs = net(mixed).log_softmax(1)

        def nats(of: Tensor, logs: Tensor = logs) -> Tensor:
            q = (1 - smoothing) * torch.eye(4)[of] + smoothing / 4
            return -(q * logs).sum(1).mean()

        expected = lam * nats(labels) + (1 - lam) * nats(labels.roll(1))
        loss = make_loss(CrossEntropy(label_smoothing=smoothing))(net, mixed, shares)
        torch.testing.assert_close(loss, expected)


IMAGES = ImageSet(
    torch.arange(20) % 4, tuple("abcd"), torch.randint(0, 256, (20, 1, 6, 9), dtype=torch.uint8, generator=rng())
)


def test_mixed_batches_are_the_unmixed_ones_mixed() -> None:
    augment = (FlipLR(), MixUp(alpha=1.0))
    plain = TrainBatches(IMAGES, PREPROCESS, make_augmentation(augment[:1], PREPROCESS), 8, seed=3)
    mixed = TrainBatches(IMAGES, PREPROCESS, make_augmentation(augment, PREPROCESS), 8, seed=3)
    for step in range(5):
        (x, labels), (y, shares) = plain[step], mixed[step]
        assert shares.shape == (8, 4) and shares.dtype == torch.float32
        # a + 2 b of classes a, b: the mean class of each mixed label is the mixture of the classes
        classes = torch.arange(4.0)
        steps = (labels - labels.roll(1)).float()
        there = steps != 0
        lams = ((shares @ classes - labels.roll(1)) / steps)[there]
        assert (lams - lams[0]).abs().max() < 1e-5
        torch.testing.assert_close(y, lams[0] * x + (1 - lams[0]) * x.roll(1, 0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("augment", [(MixUp(),), (CutMix(),), (MixUp(), CutMix(probability=0.5))], ids=str)
def test_mixed_batches_follow_from_seed_and_step_whatever_the_workers_and_the_global_generator(
    augment: tuple[MixUp | CutMix, ...],
) -> None:
    def batches(seed: int) -> TrainBatches:
        return TrainBatches(IMAGES, PREPROCESS, make_augmentation(augment, PREPROCESS), 8, seed)

    before = torch.get_rng_state()
    alone = list(batches(5).steps(0, 6))
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        others = list(batches(5).steps(2, 6, workers=2))
    for one, other in zip(alone[2:], others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert any(not torch.equal(a[1], b[1]) for a, b in zip(alone, batches(6).steps(0, 6), strict=True))
    assert {(x.shape, shares.shape) for x, shares in alone} == {((8, 1, 6, 9), (8, 4))}  # mixed or not: one recording
    assert len({tuple(shares.sort(1).values[0].tolist()) for _, shares in alone}) > 1  # every step draws anew


def test_batches_without_mixing_keep_their_labels() -> None:
    _, labels = TrainBatches(IMAGES, PREPROCESS, Augmentation(), 8, seed=0)[0]
    assert labels.dtype == torch.int64 and labels.shape == (8,)

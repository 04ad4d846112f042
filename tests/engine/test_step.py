"""One step: what clipping and pieces do to the gradient that the optimizer gets, and that both are off by default."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from plusx.engine.events import StoppedError
from plusx.engine.losses import make_loss
from plusx.engine.optim import make_optimizer
from plusx.engine.step import Step
from plusx.engine.task import Classification
from plusx.engine.training import resume, train
from plusx.placement.place import Placement
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.optim import SGD, Penalty

CPU = Placement("cpu", "contiguous", "fp32", 1)
FEW = {"steps": 6, "batch_size": 10, "data.limit": 60, "evaluation.count": 2, "log_every": 1}


def gradients(images: int, *, classes: int = 3, mixed: bool = False, scale: float = 1.0, **options: float) -> Tensor:
    """The gradient that the optimizer got in one step of a net without batch norm, in double, and the loss."""
    torch.manual_seed(images)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, classes)).double()
    batch = scale * torch.randn(images, 3, 2, 2).double(), torch.arange(images) % classes
    if mixed:
        batch = batch[0], torch.rand(images, classes).double().softmax(1)
    before = nn.utils.parameters_to_vector(net.parameters()).detach()
    task = Classification(make_loss(CrossEntropy(label_smoothing=0.1)))
    optimizer = make_optimizer(SGD(lr=1.0, momentum=0.0, weight_decay=0.0), net)
    loss = Step(net, optimizer, task, Penalty(l1=1e-3), CPU, **options)(batch, 1.0)  # type: ignore[arg-type]
    return torch.cat([before - nn.utils.parameters_to_vector(net.parameters()).detach(), loss[None]])


@given(images=st.integers(1, 13), pieces=st.integers(1, 13), mixed=st.booleans())
@settings(max_examples=40, deadline=None)
def test_pieces_add_up_to_the_whole_batch(images: int, pieces: int, mixed: bool) -> None:
    """Also where they are not of one size: an image counts the same in each."""
    whole = gradients(images, mixed=mixed)
    torch.testing.assert_close(
        gradients(images, mixed=mixed, accumulate=min(pieces, images)), whole, rtol=1e-6, atol=1e-7
    )


@given(clip=st.floats(1e-3, 1e3), scale=st.floats(0.1, 50))
@settings(max_examples=40, deadline=None)
def test_a_gradient_is_shortened_to_the_length_and_keeps_its_direction(clip: float, scale: float) -> None:
    free, clipped = (gradients(6, scale=scale, **options)[:-1] for options in ({}, {"clip": clip}))
    factor = min(1.0, clip / free.norm().item())
    torch.testing.assert_close(clipped, factor * free, rtol=1e-3, atol=1e-9)
    assert clipped.norm() <= clip * (1 + 1e-9)
    if factor == 1 and free.norm() < 0.99 * clip:
        assert torch.equal(clipped, free)


def test_a_limit_that_no_gradient_reaches_changes_no_bit(tmp_path: Path) -> None:
    weights = [
        (train("digits", overrides={**FEW, **changes}, out=tmp_path / str(i)).run / "weights.safetensors").read_bytes()
        for i, changes in enumerate(({}, {"optim.clip": 1e9}, {"optim.clip": 0.01}, {"accumulate": 3}))
    ]
    assert weights[0] == weights[1] and len(set(weights)) == 3  # what does something is seen to


def test_pieces_and_a_limit_resume_to_the_same_bits(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    photos = class_folder(["train", "val"], {"ant": 12, "bee": 12})
    changes = {"net.name": "resnet20", "preprocess.size": 16, "steps": 6, "batch_size": 7, "evaluation.count": 2}
    changes |= {"accumulate": 3, "optim.clip": 0.5, "augment": "FlipLR,MixUp"}
    straight = train(photos, overrides=changes, out=tmp_path / "straight").run
    answers = iter([False, False, True])
    with pytest.raises(StoppedError):
        train(photos, overrides=changes, out=tmp_path / "run", should_stop=lambda: next(answers))
    resumed = resume(tmp_path / "run").run
    assert (resumed / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
    report = (resumed / "report.html").read_text(encoding="utf-8")
    assert "steps of 7 images in 3 pieces" in report and "gradients of a length of 0.5 at most" in report


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"optim.clip": 0}, "optim.clip is 0.0; it must be more than 0"),
        ({"optim.clip": "much"}, "optim.clip=much: not a number"),
        ({"accumulate": 0}, "accumulate is 0; it must be 1 or more"),
        ({"accumulate": 11, "batch_size": 10}, "accumulate is 11; batch_size is 10, so it is that at most"),
        (
            {"accumulate": 6, "batch_size": 10, "net.name": "resnet18"},
            "accumulate is 6, which leaves resnet18 pieces of one image, too few for its batch norm; .* is 5 at most",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], refusal: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=refusal):
        train("digits", overrides=changes, out=tmp_path / "run")
    assert not list(tmp_path.iterdir())

"""The same numbers whatever the batch size of an evaluation, its loader processes, its readers, kernels and layout."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from plusx.data.batches import EvalBatches
from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess, fit_preprocess
from plusx.engine.losses import make_loss
from plusx.engine.task import Classification
from plusx.nets.densenet import cifar_net as densenet
from plusx.nets.resnet import cifar_net as resnet
from plusx.placement.kernels.native import vector_level
from plusx.placement.place import Placement
from plusx.recipes.data import PreprocessSpec
from plusx.recipes.loss import CrossEntropy

LOSS = make_loss(CrossEntropy())

NETS = {
    "resnet": lambda: resnet(8, "A"),
    "resnet, some survive": lambda: resnet(8, "B", survival=0.5),
    "densenet": lambda: densenet(10, 4, bottleneck=False),
}
KERNELS = ("plain", "fused") if vector_level() else ("plain",)
Kept = tuple[ImageSet, Preprocess]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    files = tuple(folder / f"{number}.png" for number in range(37))
    for file in files:
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(file)
    found = ImageSet(torch.arange(37) % 10, tuple("abcdefghij"), files=files)
    return found, fit_preprocess(found, PreprocessSpec(size=12))


@cache
def trained(name: str) -> nn.Module:
    """A net whose running moments are not those of the start."""
    torch.manual_seed(0)
    net = NETS[name]().train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(8, 3, 12, 12))
    return net


def numbers(
    photos: Kept, name: str, placement: Placement, batch_size: int, *, readers: int = 1, flip: bool = False
) -> list[float]:
    batches = EvalBatches(*photos, batch_size, readers=readers)
    net = placement.place(copy.deepcopy(trained(name)))
    return [m.value for m in Classification(LOSS, flip).measure(net, batches, placement, split="test")]


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(list(NETS)),
    batch_size=st.sampled_from((1, 2, 3, 36, 37, 256)),
    readers=st.integers(1, 3),
    kernels=st.sampled_from(KERNELS),
    layout=st.sampled_from(("contiguous", "channels_last")),
    threads=st.integers(1, 2),
    recompute=st.booleans(),
    flip=st.booleans(),
)
def test_an_evaluation_has_the_same_numbers_however_it_runs(
    photos: Kept,
    name: str,
    batch_size: int,
    readers: int,
    kernels: str,
    layout: str,
    threads: int,
    recompute: bool,
    flip: bool,
) -> None:
    before = torch.get_num_threads()
    recompute = recompute and name != "resnet, some survive"  # which is refused
    placement = Placement("cpu", layout, "fp32", threads, kernels, recompute=recompute)
    found = numbers(photos, name, placement, batch_size, readers=readers, flip=flip)
    error, loss = numbers(photos, name, Placement("cpu", "contiguous", "fp32", 1), 37, flip=flip)
    torch.set_num_threads(before)
    assert found[0] == error and found[1] == pytest.approx(loss, rel=1e-5)


def test_loader_processes_change_no_number(photos: Kept) -> None:
    placement, net = Placement("cpu", "contiguous", "fp32", 1), trained("resnet")
    found = [
        list(Classification(LOSS).measure(net, EvalBatches(*photos, 16, workers), placement, split="test"))
        for workers in (0, 2)
    ]
    assert found[0] == found[1]

"""GoogLeNet against Table 1 and Sec. 5."""

import pytest
import torch
from torch import nn

from plusx.nets import build

TABLE_1 = {  # parameters counted from the filter table, biases included
    "stages.inception3.a": 163_696,
    "stages.inception3.b": 388_736,
    "stages.inception4.a": 376_176,
    "stages.inception4.b": 449_160,
    "stages.inception4.c": 510_104,
    "stages.inception4.d": 605_376,
    "stages.inception4.e": 868_352,
    "stages.inception5.a": 1_043_456,
    "stages.inception5.b": 1_444_080,
    "stem.conv1": 9_472,
    "stem.reduce2": 4_160,
    "stem.conv2": 110_784,
    "head.linear": 1_025_000,
    "aux.0": 3_188_840,
    "aux.1": 3_190_888,
}


def test_every_row_of_table_1_has_its_parameters() -> None:
    with torch.device("meta"):
        net = build("googlenet_paper")
    assert {name: sum(p.numel() for p in net.get_submodule(name).parameters()) for name in TABLE_1} == TABLE_1
    assert sum(TABLE_1.values()) == 13_378_280


def test_maps_have_the_sizes_of_table_1() -> None:
    with torch.device("meta"):
        net = build("googlenet_paper")
        x = net.stem(torch.zeros(1, 3, 224, 224))
        shapes = [tuple(x.shape[1:])]
        for stage in net.stages:
            for module in stage:
                x = module(x)
                shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        *((192, 28, 28), (256, 28, 28), (480, 28, 28), (480, 14, 14)),
        *((512, 14, 14), (512, 14, 14), (512, 14, 14), (528, 14, 14), (832, 14, 14), (832, 7, 7)),
        *((832, 7, 7), (1024, 7, 7)),
    ]


@pytest.mark.parametrize(("name", "size"), [("googlenet_paper", 5), ("googlenet", 3)])
def test_the_5x5_branch_is_5x5_in_the_paper_and_3x3_in_the_libraries(name: str, size: int) -> None:
    with torch.device("meta"):
        net = build(name)
    sizes = {net.get_submodule(f"stages.{m}.branch5x5.conv.conv").kernel_size for m in ("inception3.a", "inception5.b")}
    assert sizes == {(size, size)}


def test_the_main_logits_are_those_of_forward() -> None:
    torch.manual_seed(0)
    net, x = build("googlenet", num_classes=5).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        outputs = net.forward_with_aux(x)
        torch.testing.assert_close(outputs.main, net(x))
    assert [y.shape for y in outputs.aux] == [(2, 5), (2, 5)]
    assert build("googlenet", aux=False, num_classes=5).forward_with_aux(x).aux == ()


def test_auxiliary_heads_read_4a_and_4d() -> None:
    net, x = build("googlenet").eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net.forward_with_aux(x).aux
        for module, changed in (("inception4.b", [False, True]), ("inception4.e", [False, False])):
            weight = net.get_submodule(f"stages.{module}.branch1x1").conv.weight
            kept = weight.clone()
            weight.mul_(3)
            after = net.forward_with_aux(x).aux
            assert [not torch.equal(a, b) for a, b in zip(after, before, strict=True)] == changed
            weight.copy_(kept)


def test_only_the_papers_net_normalises_responses() -> None:
    with torch.device("meta"):
        counts = [
            [sum(isinstance(m, kind) for m in build(name).modules()) for kind in (nn.LocalResponseNorm, nn.BatchNorm2d)]
            for name in ("googlenet_paper", "googlenet")
        ]
    assert counts == [[2, 0], [0, 59]]

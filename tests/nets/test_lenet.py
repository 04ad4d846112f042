"""LeNet-5 against the tables of LeCun et al. (1998)."""

import torch
from torch import Tensor, nn

from plusx.nets import build
from plusx.nets.layers import ScaledTanh
from plusx.nets.lenet import C3_TABLE, bitmaps


def test_every_layer_has_the_papers_parameters() -> None:
    net = build("lenet5")
    parts = (net.stem.c1, net.stem.s2, net.stages.c3, net.stages.s4, net.head.c5, net.head.f6, net.head.output)
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [156, 12, 1_516, 32, 48_120, 10_164, 0]


def test_there_are_340908_connections() -> None:
    """Each use of a weight or a bias: C1 122,304, S2 5,880, C3 151,600, S4 2,000, C5 48,120, F6 10,164, output 840."""
    net = build("lenet5")
    maps: dict[str, Tensor] = {}
    for name in ("stem.c1", "stem.s2", "stages.c3", "stages.s4"):
        net.get_submodule(name).register_forward_hook(lambda m, i, y, name=name: maps.__setitem__(name, y))
    net(torch.zeros(1, 1, 32, 32))
    places = {name: y[0, 0].numel() for name, y in maps.items()}
    counts = {
        "C1": places["stem.c1"] * 156,
        "S2": places["stem.s2"] * 6 * 5,  # four inputs and a bias a unit
        "C3": places["stages.c3"] * 1_516,
        "S4": places["stages.s4"] * 16 * 5,
        "C5": 48_120,
        "F6": 10_164,
        "output": net.head.output.bitmaps.numel(),
    }
    assert counts["C1"] == 122_304 and counts["S2"] == 5_880 and counts["C3"] == 151_600 and counts["S4"] == 2_000
    assert sum(counts.values()) == 340_908


def test_c3_reads_what_the_table_says() -> None:
    assert sum(map(len, C3_TABLE)) == 60 and len(set(C3_TABLE)) == 16
    c3, x = build("lenet5").stages.c3, torch.randn(1, 6, 14, 14)
    before = c3(x)
    for read in range(6):
        changed = x.clone()
        changed[:, read] += 1
        moved = (c3(changed) - before).abs().amax((0, 2, 3)) > 1e-4
        assert moved.tolist() == [read in row for row in C3_TABLE]


def test_subsampling_is_a_sum_of_four_times_a_coefficient_plus_a_bias() -> None:
    s2, x = build("lenet5").stem.s2, torch.randn(2, 6, 4, 4)
    nn.init.uniform_(s2.coefficient)
    nn.init.uniform_(s2.bias)
    sums = x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]
    torch.testing.assert_close(s2(x), sums * s2.coefficient + s2.bias)


def test_the_output_is_the_distance_to_the_bitmaps() -> None:
    net, x = build("lenet5"), torch.randn(3, 84)
    torch.testing.assert_close(
        net.head.output(x), -torch.cdist(x, net.head.output.bitmaps).square(), rtol=1e-4, atol=1e-3
    )
    assert sum(isinstance(m, ScaledTanh) for m in net.modules()) == 6


def test_bitmaps_are_black_and_white_and_all_different() -> None:
    drawn = bitmaps(12)
    assert drawn.shape == (12, 84) and set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert (torch.cdist(drawn, drawn) + 100 * torch.eye(12)).min() > 4
    assert torch.equal(bitmaps(12), drawn)


def test_weights_begin_within_2_4_over_the_fan_in() -> None:
    net = build("lenet5")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 2.4 / module.weight[0].numel()
            assert 0.9 * bound < module.weight.abs().max() <= bound

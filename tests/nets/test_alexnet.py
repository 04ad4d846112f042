"""AlexNet against Sec. 3.5 and Fig. 2."""

import torch
from torch import nn

from plusx.nets import build


def test_every_layer_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        net = build("alexnet_two_tower")
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [m.weight.numel() for m in weighted] == [
        *(34_848, 307_200, 884_736, 663_552, 442_368),
        *(37_748_736, 16_777_216, 4_096_000),
    ]
    assert [m.bias.numel() for m in weighted] == [96, 256, 384, 384, 256, 4096, 4096, 1000]
    assert [m.groups for m in weighted[:5]] == [1, 2, 1, 2, 2]


def test_without_groups_it_would_have_62_million() -> None:
    with torch.device("meta"):
        net = build("alexnet_two_tower")
    dense = sum(m.weight.numel() * m.groups if isinstance(m, nn.Conv2d) else 0 for m in net.modules())
    grouped = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
    assert sum(p.numel() for p in net.parameters()) - grouped + dense == 62_378_344


def test_maps_have_the_sizes_of_figure_2() -> None:
    with torch.device("meta"):
        net, x = build("alexnet_two_tower").eval(), torch.zeros(1, 3, 227, 227)
        neurons = [net.stem.relu(net.stem.conv(x)).numel()]
        x = net.stem(x)
        for stage in net.stages:
            neurons.append(stage.conv(x).numel())
            x = stage(x)
    # Fig. 2 prints 253,440 for the first, which is 48 x 55 x 96; its other numbers are these.
    assert neurons == [55 * 55 * 96, 186_624, 64_896, 64_896, 43_264]
    assert x.shape == (1, 256, 6, 6)


def test_pooling_overlaps_and_follows_normalisation() -> None:
    net = build("alexnet_two_tower")
    assert [type(m).__name__ for m in net.stem] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    pools = [m for m in net.modules() if isinstance(m, nn.MaxPool2d)]
    assert len(pools) == 3 and all((m.kernel_size, m.stride) == (3, 2) for m in pools)


def test_weights_begin_as_section_5_says() -> None:
    torch.manual_seed(0)
    net = build("alexnet_two_tower")
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [m.bias.unique().tolist() for m in weighted] == [[b] for b in (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)]
    assert all(abs(m.weight.std().item() - 0.01) < 1e-4 for m in weighted)


def test_dropout_is_on_outputs_in_the_paper_and_on_inputs_in_the_libraries() -> None:
    for name, order in (
        ("alexnet_two_tower", ["fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]),
        ("alexnet", ["drop6", "fc6", "relu6", "drop7", "fc7", "relu7", "fc8"]),
    ):
        with torch.device("meta"):
            assert [n for n, _ in build(name).head.named_children()][2:] == order

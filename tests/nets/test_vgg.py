"""VGG: receptive fields, the great matrix, dense evaluation."""

import pytest
import torch
from torch import nn

from plusx.nets import build


def test_one_matrix_holds_102760448_weights_and_linear_layers_89_percent() -> None:
    with torch.device("meta"):
        net = build("vgg16")
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert linear[0].weight.numel() == 102_760_448
    assert sum(m.weight.numel() for m in linear) == 123_633_664
    share = sum(p.numel() for m in linear for p in m.parameters()) / 138_357_544
    assert round(100 * share, 1) == 89.4


def test_config_c_ends_three_blocks_with_1x1() -> None:
    with torch.device("meta"):
        net = build("vgg16_c")
    kernels = [m.kernel_size[0] for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]


def test_only_a_lrn_normalises_responses_and_once() -> None:
    with torch.device("meta"):
        assert [
            sum(isinstance(m, nn.LocalResponseNorm) for m in build(n).modules()) for n in ("vgg11", "vgg11_lrn")
        ] == [0, 1]


def test_dense_evaluation_is_forward_at_224_and_the_mean_over_places_above() -> None:
    torch.manual_seed(0)
    net = build("vgg11", num_classes=10).eval()
    with torch.no_grad():
        x = torch.randn(1, 3, 224, 224)
        torch.testing.assert_close(net.forward_dense(x), net(x), rtol=1e-4, atol=1e-5)
        larger = torch.randn(1, 3, 256, 288)
        maps = net.stages(net.stem(larger))
        windows = maps.unfold(2, 7, 1).unfold(3, 7, 1)  # 1 x 512 x 2 x 3 x 7 x 7
        scores = [net.head(windows[:, :, i, j]) for i in range(2) for j in range(3)]
        torch.testing.assert_close(net.forward_dense(larger), torch.stack(scores).mean(0), rtol=1e-4, atol=1e-5)


def test_with_global_pooling_forward_is_dense_already() -> None:
    net = build("vgg11", head="gap").eval()
    x = torch.zeros(1, 3, 96, 64)
    assert net(x).shape == (1, 1000) and torch.equal(net.forward_dense(x), net(x))


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head is 'mean'; choose paper, gap or linear"):
        build("vgg16", head="mean")

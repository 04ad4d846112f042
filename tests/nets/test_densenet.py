"""DenseNet: its equation, its widths, and the path that saves memory."""

import copy

import pytest
import torch
from torch import nn

from plusx.nets import build
from plusx.nets.densenet import DenseLayer, cifar_net


def test_a_layer_computes_its_equation() -> None:
    torch.manual_seed(0)
    layer = DenseLayer(8, 4, bottleneck=True, dropout=0.0).eval()
    x = torch.randn(2, 8, 6, 6)
    reduce, conv = layer.branch.reduce, layer.branch.conv
    h = conv.conv(conv.norm(reduce.conv(reduce.norm(x).clamp(min=0))).clamp(min=0))
    torch.testing.assert_close(layer(x), torch.cat([x, h], 1))
    assert reduce.conv.out_channels == 16 and conv.conv.out_channels == 4


def test_layer_l_reads_k0_plus_k_times_l_minus_1_maps() -> None:
    with torch.device("meta"):
        net = build("densenet121")
    first = net.get_submodule("stages.0.block")
    assert [layer.branch.reduce.conv.in_channels for layer in first] == [64 + 32 * i for i in range(6)]
    assert net.get_submodule("stages.1.transition.conv").out_channels == (64 + 6 * 32) // 2


def test_without_compression_a_transition_keeps_every_map() -> None:
    with torch.device("meta"):
        conv = build("densenet_40_12").get_submodule("stages.1.transition.conv")
    assert conv.in_channels == conv.out_channels == 16 + 12 * 12


def saved_bytes(net: nn.Module, x: torch.Tensor) -> int:
    storages: dict[int, int] = {}

    def note(t: torch.Tensor) -> torch.Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        output = net(x)
    assert output.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize(("name", "side"), [("densenet121", 64), ("densenet_bc_100_12", 16), ("densenet_40_12", 16)])
def test_saving_memory_changes_no_number(name: str, side: int) -> None:
    torch.manual_seed(0)
    plain = build(name, num_classes=10)
    frugal = build(name, num_classes=10, save_memory=True)
    frugal.load_state_dict(plain.state_dict())
    x, labels = torch.randn(4, 3, side, side), torch.arange(4)
    for net in (plain, frugal):
        for _ in range(2):
            net.zero_grad()
            nn.functional.cross_entropy(net(x), labels).backward()
    for (key, a), b in zip(plain.state_dict().items(), frugal.state_dict().values(), strict=True):
        assert torch.equal(a, b), key  # running statistics, and how often they were updated
    for (key, p), q in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=key)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), frugal.eval()(x))


def test_saving_memory_saves_memory() -> None:
    plain = build("densenet_bc_100_12")
    frugal = copy.deepcopy(plain)
    for module in frugal.modules():
        if hasattr(module, "save_memory"):
            module.save_memory = True
    x = torch.randn(2, 3, 32, 32)
    assert saved_bytes(frugal, x) < 0.5 * saved_bytes(plain, x)


def test_a_depth_that_does_not_fit_is_refused() -> None:
    for depth, bottleneck in ((41, False), (40 + 1, True), (43, True), (4, False)):
        with pytest.raises(ValueError, match="n \\+ 4"):
            cifar_net(depth, 12, bottleneck=bottleneck)

"""Costs by layer, held against counts by hand, against the story's facts and against real runs."""

import json

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.analysis.cost import Cost, compare, cost, summarise
from plusx.nets import build, entry


def count(name: str) -> Cost:
    return summarise(name)[1]


# ---- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "lenet5", "dpn68"])
def test_layers_sum_to_the_total(name: str) -> None:
    total = count(name)
    assert sum(layer.params for layer in total.layers) == total.params == entry(name).params
    assert sum(layer.macs for layer in total.layers) == total.macs == entry(name).macs
    assert sum(layer.flops for layer in total.layers) == total.flops == 2 * total.macs
    assert sum(layer.saved_bytes for layer in total.layers) == total.saved_bytes
    channels, height, width = total.input_shape
    written = sum(layer.activation_values for layer in total.layers)
    assert written + channels * height * width == total.activation_values == total.activation_bytes / 4


def test_a_layer_is_counted_by_hand() -> None:
    layers = {x.name: x for x in count("resnet20").layers}
    conv = layers["stages.1.0.branch.conv1.conv"]
    assert conv.output_shape == (32, 16, 16) and conv.params == 32 * 16 * 9
    assert conv.macs == conv.params * 16 * 16 and conv.activation_bytes == 32 * 16 * 16 * 4
    assert layers["stem.relu"].activation_values == 0  # in place


def test_a_block_is_charged_for_what_it_adds_between_its_layers() -> None:
    layers = {x.name: x for x in count("resnet20").layers}
    addition = layers["stages.1.0"]
    assert (addition.kind, addition.output_shape) == ("Block: add", (32, 16, 16))
    assert (addition.activation_values, addition.macs, addition.params) == (32 * 16 * 16, 0, 0)


class Odd(nn.Module):
    """Weights of its own, a layer that runs twice, and one that does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
        self.twice = nn.Conv2d(4, 4, 1)
        self.auxiliary = nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.twice(self.twice(F.conv2d(x, self.weight)))


def test_every_parameter_has_a_row_and_counts_once() -> None:
    total = cost(Odd(), (3, 5, 5))
    rows = [(x.name, x.output_shape, x.params, x.macs) for x in total.layers]
    assert rows == [
        ("net", (4, 3, 3), 108, 108 * 9),
        ("twice", (4, 3, 3), 20, 16 * 9),
        ("twice", (4, 3, 3), 0, 16 * 9),
        ("auxiliary", None, 35, 0),
    ]
    assert total.params == 108 + 20 + 35 and total.largest_matrix == 108 and total.linear_params == 35


def test_a_transposed_convolution_is_counted_by_its_input() -> None:
    assert cost(nn.Sequential(nn.ConvTranspose2d(2, 3, 4, stride=2)), (2, 5, 5)).macs == 25 * 2 * 3 * 16


def test_a_run_is_summarised_with_its_own_input(digits_run) -> None:  # type: ignore[no-untyped-def]
    name, total = summarise(str(digits_run))
    assert name == "resnet20" and total.layers[0].output_shape == (16, 8, 8)


def test_options_and_size_are_taken() -> None:
    _, total = summarise("resnet20", options={"num_classes": 5, "shortcut": "B"}, size=64)
    assert total.layers[0].output_shape == (16, 64, 64) and total.layers[-1].output_shape == (5,)


def test_a_comparison_gives_an_option_to_the_nets_that_have_it() -> None:
    (_, resnet), (_, plain) = compare(["resnet20", "plain20"], options={"shortcut": "B", "num_classes": 5})
    assert resnet.params - plain.params == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    with pytest.raises(ValueError, match="resnet20 has no option 'shortcutt'; did you mean 'shortcut'?"):
        compare(["resnet20", "plain20"], options={"shortcutt": "B"})


@pytest.mark.parametrize(("name", "shape"), [("resnet20", (5, 8, 8)), ("vgg16", (3, 8, 8)), ("mlp", (1, 8, 8))])
def test_a_net_that_does_not_take_the_shape_says_so(name: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"does not take images of {' x '.join(map(str, shape))}: [^\n]+$"):
        cost(build(name), shape)


def test_the_net_is_not_touched() -> None:
    net = build("resnet20").train()
    before, draws = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    cost(net, (3, 32, 32))
    assert net.training and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(draws, torch.get_rng_state())


def test_half_precision_and_frozen_nets_are_counted_in_fp32() -> None:
    net = build("resnet20")
    whole = cost(net, (3, 32, 32))
    assert cost(net.bfloat16(), (3, 32, 32)).activation_bytes == whole.activation_bytes
    assert cost(net.requires_grad_(False), (3, 32, 32)).saved_bytes == 0


# ---- the story's facts -----------------------------------------------------------------------------------------------


def test_vgg16_is_mostly_one_matrix() -> None:
    vgg = count("vgg16")
    assert vgg.params == 138_357_544 and vgg.largest_matrix == 102_760_448 == 7 * 7 * 512 * 4096
    assert vgg.linear_params == 123_642_856 and f"{vgg.linear_params / vgg.params:.1%}" == "89.4%"


def test_vgg16_writes_fifteen_million_activation_values() -> None:
    """CS231n's notes say 24 million; the rows listed there sum to this."""
    input_, convs, pools, linear = 150_528, 13_547_520, 1_530_368, 9_192
    assert count("vgg16").activation_values == 15_237_608 == input_ + convs + pools + linear


def test_plain34_needs_a_fifth_of_the_macs_of_vgg19() -> None:
    (_, plain), (_, vgg) = compare(["plain34", "vgg19"])
    assert f"{plain.macs / 1e9:.1f} {vgg.macs / 1e9:.1f}" == "3.6 19.6"


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_activations_are_those_that_the_layers_allocate() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    assert cost(net, (3, 10, 10)).activation_values == 300 + 800 + 800 + 0 + 200


def saved_in_truth(net: nn.Module, x: Tensor) -> int:
    """Bytes that autograd keeps on the CPU, each storage once, without parameters and buffers."""
    storages = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = net.train()(x)
    assert y.requires_grad
    known = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers())}
    return sum(storage.nbytes() for address, storage in storages.items() if address not in known)


@pytest.mark.more
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("lenet5", 32),
        ("alexnet", 64),
        ("alexnet_two_tower", 67),
        ("vgg11", 32),
        ("vgg11_lrn", 32),
        ("googlenet", 64),
        ("highway_a", 32),
        ("resnet18", 64),
        ("resnet20", 32),
        ("preact_resnet110", 16),
        ("densenet121", 64),
        ("dpn68", 64),
    ],
)
def test_saved_bytes_are_those_that_a_real_step_keeps(name: str, size: int) -> None:
    net, shape = build(name), (entry(name).input_shape[0], size, size)
    total = cost(net, shape)
    for batch in (2, 5):
        predicted = batch * total.saved_bytes + total.saved_bytes_per_batch
        assert predicted == pytest.approx(saved_in_truth(net, torch.rand(batch, *shape)), rel=0.001)


class Lottery(nn.Module):
    """Leaves its branch out of random training steps."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training and bool(torch.rand(()) < 0.9) else x + self.branch(x)


def test_saved_bytes_count_branches_that_training_leaves_out_by_lot() -> None:
    nets = nn.Sequential(*(Lottery() for _ in range(8)))
    assert cost(nets, (3, 4, 4)).saved_bytes == 8 * 4 * 3 * 4 * 4  # each convolution's input


def test_bytes_on_disk_are_those_of_the_file_behind_its_header() -> None:
    net = build("resnet20")
    raw = save(net.state_dict())
    header = int.from_bytes(raw[:8], "little")
    assert cost(net, (3, 32, 32)).disk_bytes == len(raw) - 8 - header
    assert json.loads(raw[8 : 8 + header])["stem.conv.norm.num_batches_tracked"]["dtype"] == "I64"

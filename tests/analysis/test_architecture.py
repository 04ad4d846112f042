"""A net as blocks: nothing is lost or counted twice, shapes chain, and each family's block is seen for what it is."""

import functools
import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from plusx.analysis import architecture
from plusx.analysis.architecture import Block, blocks_of
from plusx.analysis.cost import cost
from plusx.nets import build, entry, names
from tests.contracts.test_every_net import COUNTED

blocks_of_net = functools.cache(architecture.blocks_of_net)


NAMES = [
    name if name in COUNTED else pytest.param(name, marks=pytest.mark.more)
    for name in names()
    if entry(name).layers < 1000
]


@pytest.mark.parametrize("name", NAMES)
def test_the_blocks_sum_to_the_facts_of_the_catalog(name: str) -> None:
    blocks, facts = blocks_of_net(name), entry(name)
    assert sum(block.params for block in blocks) == facts.params
    assert sum(block.macs for block in blocks) == facts.macs
    assert len({block.name for block in blocks}) == len(blocks)
    assert all(any(branch) for block in blocks for branch in block.branches), "a block without a layer in words"


@pytest.mark.parametrize("name", NAMES)
def test_each_block_reads_what_the_one_before_it_puts_out(name: str) -> None:
    running = [block for block in blocks_of_net(name) if block.output is not None]
    shape: tuple[int, ...] | None = entry(name).input_shape
    for block in running:
        assert block.input == shape, block.name
        shape = block.output
    assert shape == (entry(name).num_classes,)


@pytest.mark.parametrize("name", ["resnet20", "densenet_40_12", "dpn68", "highway_b", "googlenet", "vgg11", "lenet5"])
def test_memory_is_that_of_the_cost(name: str) -> None:
    whole = cost(build(name), entry(name).input_shape)
    image = 4 * math.prod(entry(name).input_shape)
    assert sum(block.activation_bytes for block in blocks_of_net(name)) + image == whole.activation_bytes


def kinds(name: str) -> Counter[tuple[str, str | None]]:
    return Counter((block.kind, block.shortcut) for block in blocks_of_net(name) if block.kind != "layer")


def test_each_family_is_seen_for_what_it_is() -> None:
    assert kinds("plain50") == {("plain", None): 16}
    assert kinds("resnet50") == {("residual", "identity"): 12, ("residual", "projection"): 4}
    assert kinds("resnet20") == {("residual", "identity"): 9}  # option A: zeros, no parameters
    assert kinds("wrn_28_10") == {("residual", "identity"): 9, ("residual", "projection"): 3}
    assert kinds("densenet121") == {("dense", "concatenation"): 58}
    assert kinds("dpn92") == {("dual-path", "identity"): 26, ("dual-path", "projection"): 4}
    assert kinds("highway_b") == {("highway", "gate"): 14}
    assert kinds("googlenet") == {("inception", None): 9, ("auxiliary", None): 2}
    assert kinds("vgg16") == {}


def test_depth_that_the_name_states_is_there() -> None:
    def layers(blocks: list[Block]) -> int:
        return sum("pool" not in words for b in blocks if b.output for words in max(b.branches, key=len))

    for name in ("resnet20", "plain34", "resnet101", "vgg16", "highway_b", "densenet121"):
        assert layers(blocks_of_net(name)) == entry(name).layers, name


def test_a_concatenation_grows_by_what_is_new() -> None:
    for block in blocks_of_net("densenet_40_12"):
        if block.kind == "dense":
            assert block.input is not None and block.output is not None and block.growth is not None
            assert block.output[0] == block.input[0] + block.growth
    dual = [block for block in blocks_of_net("dpn68") if block.kind == "dual-path" and block.shortcut == "identity"]
    for block in dual:
        assert block.input is not None and block.output is not None and block.growth is not None
        assert block.output[0] == block.input[0] + block.growth


def test_stages_are_counted_where_they_are_stages() -> None:
    assert [b.stage for b in blocks_of_net("resnet18")] == [None, None, 0, 0, 1, 1, 2, 2, 3, 3, None, None]
    assert {b.stage for b in blocks_of_net("mlp") if b.kind == "plain"} == {0}  # whose stages are blocks


class Odd(nn.Module):
    """A net of no form that is known here: an addition in its own forward, a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((x + self.first(self.first(x))).mean((2, 3)))


def test_a_net_of_ones_own_is_counted_whole_and_left_as_it_was() -> None:
    net = Odd().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    blocks, whole = blocks_of(net, (3, 8, 8)), cost(net, (3, 8, 8))
    assert sum(b.params for b in blocks) == whole.params and sum(b.macs for b in blocks) == whole.macs
    assert net.training and all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not net.first._forward_hooks


def test_images_that_do_not_fit_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="does not take images of 1 x 28 x 28"):
        blocks_of(build("resnet20"), (1, 28, 28))

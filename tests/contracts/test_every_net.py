"""What every net of the catalog must be, held against its entry."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from plusx.analysis.cost import cost
from plusx.nets import Entry, build, entry, names

ENTRIES = [entry(name) for name in names()]
each = pytest.mark.parametrize("facts", ENTRIES, ids=lambda e: e.name)
DEEP = 300  # layers: such nets are counted here, and run by `make test-slow`
each_that_runs = pytest.mark.parametrize(
    "facts",
    [pytest.param(e, marks=[pytest.mark.slow] if e.layers > DEEP else [], id=e.name) for e in ENTRIES],
)


def on_meta(facts: Entry) -> nn.Module:
    with torch.device("meta"):
        return facts.builder()


def smallest_input(facts: Entry, batch: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """32 pixels is the smallest picture whose five halvings leave one."""
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, facts.input_shape[0], 32, 32, generator=generator, dtype=dtype)


@each
def test_parameters_are_those_declared(facts: Entry) -> None:
    assert sum(p.numel() for p in on_meta(facts).parameters()) == facts.params


@each
def test_macs_are_those_declared_by_two_counts(facts: Entry) -> None:
    net = on_meta(facts).eval()
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *facts.input_shape, device="meta"))
    assert counter.get_total_flops() == 2 * facts.macs
    assert cost(net, facts.input_shape).macs == facts.macs


@each
def test_layers_are_those_declared(facts: Entry) -> None:
    weighted = [
        name
        for name, module in on_meta(facts).named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(weighted) == facts.layers


@each
def test_a_net_is_a_stem_stages_and_a_head(facts: Entry) -> None:
    assert [name for name, _ in on_meta(facts).named_children()] == ["stem", "stages", "head"]


@each_that_runs
@pytest.mark.parametrize("batch", [1, 3])
def test_logits_have_one_row_per_image(facts: Entry, batch: int) -> None:
    net = facts.builder(num_classes=7).eval()
    with torch.no_grad():
        assert net(smallest_input(facts, batch)).shape == (batch, 7)


@each_that_runs
def test_a_finite_gradient_reaches_every_parameter(facts: Entry) -> None:
    # At its initialisation, batch norm lets a plain net's gradients grow with every layer: 1,202 of them overflow fp32.
    dtype = torch.float64 if facts.layers > DEEP else torch.float32
    torch.manual_seed(0)
    net = facts.builder(num_classes=5).train().to(dtype)
    nn.functional.cross_entropy(net(smallest_input(facts, 3, dtype)), torch.tensor([0, 1, 2])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@each_that_runs
def test_an_image_does_not_depend_on_its_batch_mates(facts: Entry) -> None:
    torch.manual_seed(0)
    net = facts.builder().eval().double()  # fresh running statistics let 1,202 layers grow beyond fp32
    x = smallest_input(facts, 3, torch.float64)
    with torch.no_grad():
        together, alone = net(x), torch.cat([net(x[i : i + 1]) for i in range(3)])
    assert together.isfinite().all()
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5 * together.abs().max().item())


@each_that_runs
def test_a_state_dict_makes_the_same_net(facts: Entry) -> None:
    torch.manual_seed(0)
    net, other = facts.builder().eval().double(), facts.builder().eval().double()
    other.load_state_dict(net.state_dict())
    x = smallest_input(facts, 1, torch.float64)
    with torch.no_grad():
        assert torch.equal(net(x), other(x))


def test_a_misspelt_net_is_named_with_its_nearest() -> None:
    with pytest.raises(ValueError, match="unknown net 'resnet2O'; did you mean .*resnet20"):
        build("resnet2O")


def test_a_misspelt_option_is_named_with_its_nearest() -> None:
    with pytest.raises(ValueError, match="no option 'shorcut'; did you mean 'shortcut'"):
        build("resnet20", shorcut="B")

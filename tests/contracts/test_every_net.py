"""What every net of the catalog must be, held against its entry."""

import copy
import dataclasses
import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from plusx.analysis.attention import explain_pixels
from plusx.analysis.cost import cost
from plusx.engine.training import train
from plusx.nets import Entry, all_options, build, entry, names
from plusx.nets.net import AuxiliaryHeads, Net
from plusx.recipes import folder
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD
from plusx.runs.store import load_run
from plusx.weights.translate import translate

ENTRIES = [entry(name) for name in names()]

SMALLEST = {"alexnet": 63, "alexnet_two_tower": 67, "googlenet_paper": 224}
"""Sides of the smallest image that a net takes; else the catalog's, or 32, whose five halvings leave one pixel."""

ONE_A_FAMILY = ("mlp", "lenet5", "alexnet", "vgg11", "googlenet", "highway_b", "resnet20", "preact_resnet18_cifar")
ONE_A_FAMILY += ("densenet_40_12", "dpn68", "res_airbench94")
"""`make test-more` computes with these and with all nets that are not dear, `make test-slow` with the others."""
QUICK = {*ONE_A_FAMILY, "vgg16_cifar"} - {"vgg11"}
"""`make test` computes with these."""
COUNTED = {*QUICK, "wrn_28_10", "resnext50_32x4d"}
"""And counts these; the families of the last two share their blocks with others."""

OTHER_DEPTHS = ("resnet32", "resnet44", "plain18", "plain32", "plain44", "plain50", "plain101", "plain110")
OTHER_DEPTHS += ("densenet161", "densenet169", "densenet_100_12", "densenet_100_24", "highway_c", "resnet101")
"""Nets that differ in depth alone from others that `make test` runs."""


def dear(facts: Entry) -> bool:
    """Nets that take seconds to build or to run, or that tell nothing new."""
    return facts.layers > 150 or facts.params > 30_000_000 or facts.name in OTHER_DEPTHS


def params(light: Any, *, first: Any = lambda e: True) -> list[Any]:
    """All nets: those that are light, of which those that do not come first are marked more; the others slow."""
    marks = {e.name: [pytest.mark.slow] if not light(e) else [] if first(e) else [pytest.mark.more] for e in ENTRIES}
    return [pytest.param(e, id=e.name, marks=marks[e.name]) for e in ENTRIES]


@pytest.fixture(scope="module", params=params(lambda e: e.layers < 1000, first=lambda e: e.name in COUNTED))
def facts(request: pytest.FixtureRequest) -> Entry:
    """Every net, to be counted and not computed."""
    return request.param


@pytest.fixture(scope="module")
def on_meta(facts: Entry) -> nn.Module:
    with torch.device("meta"):
        return facts.builder()


@pytest.fixture(
    scope="module",
    params=params(lambda e: not dear(e) or e.name in ONE_A_FAMILY, first=lambda e: e.name in QUICK),
)
def ready(request: pytest.FixtureRequest) -> Iterator[tuple[Entry, nn.Module]]:
    """Every net with weights, built once for all checks; they leave it as it was."""
    torch.manual_seed(0)
    yield request.param, request.param.builder()


def smallest_input(facts: Entry, batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    channels, own, _ = facts.input_shape
    side = SMALLEST.get(facts.name, min(own, 32))
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(batch), dtype=dtype)


def wide_enough(facts: Entry) -> torch.dtype:
    """At their initialisation, batch norm lets nets of a thousand layers grow beyond fp32, forwards or backwards."""
    return torch.float64 if facts.layers > 150 else torch.float32


def logits(net: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Of the net and of its auxiliary heads."""
    if not isinstance(net, AuxiliaryHeads):
        return (net(x),)
    main, aux = net.forward_with_aux(x)
    return (main, *aux)


# ---- counted on the meta device --------------------------------------------------------------------------------------


def test_parameters_are_those_declared(facts: Entry, on_meta: nn.Module) -> None:
    assert sum(p.numel() for p in on_meta.parameters()) == facts.params


@pytest.mark.more
def test_macs_are_those_declared_by_two_counts(facts: Entry, on_meta: nn.Module) -> None:
    on_meta.eval()
    with FlopCounterMode(display=False) as counter:
        on_meta(torch.zeros(1, *facts.input_shape, device="meta"))
    assert counter.get_total_flops() == 2 * facts.macs
    assert cost(on_meta, facts.input_shape).macs == facts.macs


def test_layers_are_those_on_the_longest_path(facts: Entry, on_meta: nn.Module) -> None:
    output = on_meta.eval()(torch.zeros(1, *facts.input_shape, device="meta"))
    assert longest_path(output.grad_fn) == facts.layers


def longest_path(last: Any) -> int:
    """Convolutions and matrix products on the longest way back from a node of the autograd graph."""
    depth: dict[Any, int] = {}
    waiting = [last]
    while waiting:
        node = waiting[-1]
        before = [parent for parent, _ in node.next_functions if parent is not None]
        unknown = [parent for parent in before if parent not in depth]
        if unknown:
            waiting += unknown
        else:
            weighted = node.name() in ("ConvolutionBackward0", "AddmmBackward0", "MmBackward0")
            depth[node] = max((depth[parent] for parent in before), default=0) + weighted
            waiting.pop()
    return depth[last]


def test_a_net_is_a_stem_stages_and_a_head(facts: Entry, on_meta: nn.Module) -> None:
    children = [name for name, _ in on_meta.named_children()]
    assert children[:3] == ["stem", "stages", "head"] and children[3:] in ([], ["aux"])
    source = inspect.getsource(type(on_meta).forward)
    assert source.splitlines()[1].strip() == "return self.head(self.stages(self.stem(x)))"


def test_the_entry_says_where_its_numbers_are_from(facts: Entry) -> None:
    assert facts.paper and facts.table
    assert (facts.top1_error is None) == (facts.top1_source is None)
    assert facts.top1_error is None or 0 < facts.top1_error < 0.6


def test_the_last_maps_are_those_that_a_net_declares(facts: Entry, on_meta: nn.Module) -> None:
    assert isinstance(on_meta, Net)
    if on_meta.last_maps is None:
        assert not any(isinstance(module, nn.Conv2d) for module in on_meta.modules())
        return
    maps: list[Tensor] = []
    pooled: list[Tensor] = []
    handles = [on_meta.get_submodule(on_meta.last_maps).register_forward_hook(lambda module, x, y: maps.append(y))]
    pools = [module for module in on_meta.head.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    handles += [pool.register_forward_pre_hook(lambda module, x: pooled.append(x[0])) for pool in pools]
    on_meta.eval()(torch.zeros(1, *facts.input_shape, device="meta"))
    for handle in handles:
        handle.remove()
    assert len(maps) == 1 and maps[0].dim() == 4 and min(maps[0].shape[2:]) > 1
    linears = [module for module in on_meta.head.modules() if isinstance(module, nn.Linear)]
    if len(linears) == 1 and pooled and facts.family != "vgg":  # in which a pooling comes between
        assert pooled[0] is maps[0]  # so that Grad-CAM is the class activation map


# ---- computed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_logits_have_one_row_per_image(ready: tuple[Entry, nn.Module], batch: int) -> None:
    facts, net = ready
    with torch.no_grad():
        for y in logits(net.eval(), smallest_input(facts, batch)):
            assert y.shape == (batch, facts.num_classes)


def test_a_finite_gradient_reaches_every_parameter(ready: tuple[Entry, nn.Module]) -> None:
    facts, net = ready
    dtype = wide_enough(facts)
    torch.manual_seed(0)
    net = copy.deepcopy(net).train().to(dtype)
    found = logits(net, smallest_input(facts, 3, dtype))
    sum(nn.functional.cross_entropy(y, torch.tensor([0, 1, 2])) for y in found).backward()
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_an_image_does_not_depend_on_its_batch_mates(ready: tuple[Entry, nn.Module]) -> None:
    facts, net = ready
    net = copy.deepcopy(net).eval().double()
    x = smallest_input(facts, 3, torch.float64)
    with torch.no_grad():
        together, alone = net(x), torch.cat([net(x[i : i + 1]) for i in range(3)])
    assert together.isfinite().all()
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5 * together.abs().max().item())


def test_every_net_explains(ready: tuple[Entry, nn.Module]) -> None:
    facts, net = ready
    assert isinstance(net, Net)
    if facts.layers > 150:  # they grow beyond fp32, see `wide_enough`
        return
    net, x = copy.deepcopy(net), smallest_input(facts, 1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    if net.last_maps is None:
        with pytest.raises(ValueError, match="has no maps for cam"):
            explain_pixels(net, x)
    else:
        found = explain_pixels(net, x)
        assert found.values_HW.isfinite().all() and found.values_HW.numel() > 1
        declared = [name for name, module in net.named_modules() if name == net.last_maps]
        assert found.layer in (*declared, *(name for name, _ in net.stages.named_modules(prefix="stages")), "stem")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_state_dict_makes_the_same_net(ready: tuple[Entry, nn.Module]) -> None:
    facts, net = ready
    torch.manual_seed(1)
    dtype = wide_enough(facts)
    net, other = copy.deepcopy(net).eval().to(dtype), facts.builder().eval().to(dtype)
    x = smallest_input(facts, 1, dtype)
    with torch.no_grad():
        before = other(x)
        other.load_state_dict(net.state_dict())
        assert torch.equal(net(x), other(x)) and not torch.equal(before, other(x))


def test_without_classes_a_net_gives_its_features(facts: Entry, on_meta: nn.Module) -> None:
    with torch.device("meta"):
        net, x = build(facts.name, num_classes=0).eval(), torch.zeros(2, *facts.input_shape)
    assert all(y.dim() == 2 and y.shape[0] == 2 and y.shape[1] >= 50 for y in logits(net, x))
    lacking = on_meta.state_dict().keys() - net.state_dict().keys()
    assert lacking and all(name.startswith(("head.", "aux.")) for name in lacking)


def test_all_options_of_a_net_come_back_from_a_card(facts: Entry, on_meta: nn.Module) -> None:
    options = json.loads(json.dumps(all_options(facts.name, {})))
    assert "num_classes" in options and "in_channels" in options
    with torch.device("meta"):
        again = build(facts.name, **options)
    shapes = [{name: t.shape for name, t in net.state_dict().items()} for net in (again, on_meta)]
    assert shapes[0] == shapes[1]


CHEAP = ("mlp", "lenet5", "lenet5_dense", "highway_mnist_16", "resnet20", "densenet_40_12", "res_airbench94")
CHEAP += ("googlenet",)


@pytest.mark.parametrize("name", CHEAP)
def test_features_are_what_the_last_layer_reads(name: str) -> None:
    facts = entry(name)
    torch.manual_seed(0)
    net, features = build(name).eval(), build(name, num_classes=0).eval()
    found = translate(name, net.state_dict(), num_classes=0)
    features.load_state_dict(found.tensors)
    last = net.get_submodule(found.dropped[0].rpartition(".")[0])
    read: list[Tensor] = []
    last.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    x = smallest_input(facts, 2)
    with torch.no_grad():
        net(x)
        assert torch.equal(features(x), read[0])


@pytest.mark.more
def test_a_net_takes_other_classes_and_channels(facts: Entry) -> None:
    with torch.device("meta"):
        net = facts.builder(num_classes=7, in_channels=2)
        x = torch.zeros(2, 2, *facts.input_shape[1:])
        assert [y.shape for y in logits(net, x)] == [(2, 7)] * len(logits(net, x))


@pytest.mark.more
@pytest.mark.parametrize("facts", params(lambda e: e.name in ONE_A_FAMILY))
def test_a_net_is_exported_with_equal_logits(facts: Entry) -> None:
    torch.manual_seed(0)
    dtype = wide_enough(facts)
    net, x = facts.builder().eval().to(dtype), smallest_input(facts, 2, dtype)
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},)).module()
    more = smallest_input(facts, 3, dtype)
    with torch.no_grad():
        expected = net(more)
        torch.testing.assert_close(exported(more), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.more
@pytest.mark.parametrize("facts", params(lambda e: e.name in ONE_A_FAMILY))
def test_a_net_is_captured_whole_by_compile(facts: Entry) -> None:
    torch.compiler.reset()  # blocks of nets before it count towards a limit of recompilations
    torch.manual_seed(0)
    net = facts.builder().train()
    compiled = torch.compile(copy.deepcopy(net), backend="eager", fullgraph=True)
    x = smallest_input(facts, 2)
    outputs = []
    for either in (net, compiled):
        torch.manual_seed(0)  # for dropout
        y = either(x)
        nn.functional.cross_entropy(y, torch.tensor([0, 1])).backward()
        outputs.append((y.detach(), next(p.grad for p in either.parameters() if p.requires_grad)))
    for eager, traced in zip(*outputs, strict=True):
        torch.testing.assert_close(traced, eager, rtol=1e-4, atol=1e-4 * eager.abs().max().item())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="the compiler's kernels need c++")
@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_a_compiled_net_computes_the_same(name: str) -> None:
    facts = entry(name)
    torch.compiler.reset()
    torch.manual_seed(0)
    net, x = facts.builder().eval(), smallest_input(facts, 2)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net)(x), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.more
@pytest.mark.parametrize("facts", params(lambda e: e.name in QUICK))
def test_a_net_trains_by_the_smoke_recipe(facts: Entry, tmp_path: Path, class_folder: Callable[..., Path]) -> None:
    recipe = folder().smoke()
    side = SMALLEST.get(facts.name, min(facts.input_shape[1], 32))
    recipe = dataclasses.replace(
        recipe,
        net=NetSpec(facts.name),
        preprocess=dataclasses.replace(recipe.preprocess, size=side),
        optim=SGD(lr=1e-3),  # the recipe's own is for nets with batch norm
    )
    photos = class_folder(["train", "val"], {"ant": 8, "bee": 8})
    trained = train(photos, recipe=recipe, out=tmp_path / "run")
    assert trained.card.results["steps"] == 6
    net, _ = load_run(trained.run)
    assert net(torch.zeros(1, 3, side, side)).shape == (1, 2)


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_misspelt_net_is_named_with_its_nearest() -> None:
    with pytest.raises(ValueError, match="unknown net 'resnet2O'; did you mean .*resnet20"):
        build("resnet2O")


def test_a_misspelt_option_is_named_with_its_nearest() -> None:
    with pytest.raises(ValueError, match="no option 'shorcut'; did you mean 'shortcut'"):
        build("resnet20", shorcut="B")


def test_an_option_of_the_wrong_kind_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="resnet20 cannot be built with"):
        build("resnet20", num_classes="ten")

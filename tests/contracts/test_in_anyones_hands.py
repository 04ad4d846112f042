"""A net that is traced, cut up, copied, averaged or cast computes what it computes in eager PyTorch, or refuses."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim.swa_utils import AveragedModel
from torchvision.models.feature_extraction import create_feature_extractor

from plusx.nets import build
from plusx.nets.densenet import cifar_net as densenet
from plusx.nets.layers import StochasticPool2d
from plusx.nets.net import AuxiliaryHeads, DenseEvaluation, FittedStem
from plusx.nets.preact import cifar_net as preact
from plusx.nets.resnet import cifar_net as resnet
from plusx.nets.wide_resnet import cifar_net as wide

NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "mlp": (lambda: build("residual_mlp", width=16, depth=6, image_size=8), (1, 8, 8)),
    "lenet5": (lambda: build("lenet5"), (1, 32, 32)),
    "lenet5, stochastic pooling": (lambda: build("lenet5_dense", pooling="stochastic", dropout=0.5), (1, 32, 32)),
    "vgg": (lambda: build("vgg11_bn", head="linear", num_classes=10), (3, 32, 32)),
    "googlenet": (lambda: build("googlenet", num_classes=10), (3, 33, 32)),
    "highway": (lambda: build("highway_a"), (3, 32, 32)),
    "plain": (lambda: resnet(14, None), (3, 16, 16)),
    "resnet": (lambda: resnet(14, "A"), (3, 16, 16)),
    "resnet, some survive": (lambda: resnet(14, "B", survival=0.5), (3, 16, 16)),
    "preact resnet, some survive": (lambda: preact(20, survival=0.5), (3, 16, 16)),
    "densenet": (lambda: densenet(16, 6, bottleneck=True, dropout=0.2), (3, 16, 16)),
    "densenet, less memory": (lambda: densenet(10, 6, bottleneck=False, save_memory=True), (3, 16, 16)),
    "dpn": (lambda: build("dpn68", num_classes=10), (3, 33, 33)),
    "airbench": (lambda: build("res_airbench94"), (3, 32, 32)),
}
"""One or more of each family, as small as it comes, and the image that it takes."""


def extracted(net: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = create_feature_extractor(net, ["stages", "head"]).train(net.training)(x)["head"]
    return found


def averaged(net: nn.Module, x: Tensor) -> Tensor:
    mean = AveragedModel(net, use_buffers=True).train(net.training)
    mean.update_parameters(net)
    found: Tensor = mean(x)
    return found


def loaded(net: nn.Module, x: Tensor) -> Tensor:
    file, other = io.BytesIO(), copy.deepcopy(net)
    torch.save(net.state_dict(), file)
    for tensor in other.state_dict().values():
        tensor.zero_()
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    found: Tensor = other(x)
    return found


def in_parts(net: nn.Module, x: Tensor) -> Tensor:
    for part in ("stem", "stages", "head"):
        x = net.get_submodule(part)(x)
    return x


def functional(net: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = torch.func.functional_call(net, {name: p * 1 for name, p in net.named_parameters()}, (x,))
    return found


def by_image(net: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = torch.func.vmap(net, randomness="different")(x[:, None])
    return found[:, 0]


WAYS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "torch.fx": lambda net, x: fx.symbolic_trace(net)(x),
    "torch.fx, recorded in the other mode": lambda net, x: fx.symbolic_trace(net.train(not net.training)).train(
        not net.training
    )(x),
    "feature extractor": extracted,
    "torch.jit.trace": lambda net, x: torch.jit.trace(net, x, check_trace=False)(x),
    "deepcopy": lambda net, x: copy.deepcopy(net)(x),
    "pickle": lambda net, x: pickle.loads(pickle.dumps(net))(x),
    "state dict": loaded,
    "stem, stages, head": in_parts,
    "AveragedModel": averaged,
    "functional_call": functional,
    "channels last": lambda net, x: net.to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last)
    ),
    "vmap": by_image,
}

DRAW = {name for name in NETS if "some survive" in name}
"""Nets whose forward takes another way at random, which `torch.jit.trace` cannot keep."""


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(NETS)), way=st.sampled_from(list(WAYS)), training=st.booleans(), batch=st.integers(2, 3)
)
def test_a_net_computes_the_same_in_anyones_hands(name: str, way: str, training: bool, batch: int) -> None:
    make, image = NETS[name]
    if training and way in ("vmap", "torch.jit.trace"):
        return  # PyTorch's batch norm refuses the one; the other draws once more, to record: see below
    torch.manual_seed(0)  # in double: over two images of few pixels, batch norm makes much of rounding
    net, x = make().double().train(training), torch.rand(batch, *image, dtype=torch.float64)
    masks = any(isinstance(module, nn.Dropout | StochasticPool2d) for module in net.modules())
    if training and way == "channels last" and masks:
        return  # PyTorch draws a mask in the order of memory
    torch.manual_seed(1)
    expected = copy.deepcopy(net)(x)
    torch.manual_seed(1)  # what is drawn in training is drawn in the same order
    actual = WAYS[way](net, x)
    assert actual.isfinite().all()
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8 * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("name", sorted(set(NETS) - {"dpn", "googlenet"}))
def test_a_net_traced_by_jit_in_training_draws_anew_or_is_refused(name: str) -> None:
    make, image = NETS[name]
    torch.manual_seed(0)
    net, x = make().train(), torch.rand(2, *image)
    if name in DRAW:
        with pytest.raises(ValueError, match="survival is below 1: .* torch.jit.trace would keep the first draw"):
            torch.jit.trace(net, x)
        return
    traced = torch.jit.trace(copy.deepcopy(net), x, check_trace=False)
    assert torch.equal(net(x), net(x)) == torch.equal(traced(x), traced(x))


DRAWING: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "stochastic depth": (lambda: resnet(8, "A", survival=0.5), (3, 8, 8)),
    "stochastic depth, pre-activation": (lambda: preact(8, survival=0.5), (3, 8, 8)),
    "stochastic pooling": (lambda: build("lenet5_dense", pooling="stochastic"), (1, 32, 32)),
    "dropout": (lambda: build("lenet5_dense", dropout=0.5), (1, 32, 32)),
    "dropout in blocks": (lambda: wide(10, 1, dropout=0.5), (3, 8, 8)),
}
RECORDERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "torch.fx": fx.symbolic_trace,
    "torch.fx, recorded in evaluation": lambda net: fx.symbolic_trace(net.eval()).train(),
    "feature extractor": lambda net: Head(create_feature_extractor(net, ["head"])),
    "torch.compile": lambda net: torch.compile(net, backend="eager"),  # type: ignore[dict-item]
}


class Head(nn.Module):
    """The logits of a feature extractor."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.extractor(x)["head"]
        return logits


@pytest.mark.parametrize(
    ("recorder", "draw"),
    [(recorder, draw) for recorder in RECORDERS for draw in DRAWING if recorder != "torch.compile"]
    + [pytest.param("torch.compile", draw, marks=pytest.mark.slow) for draw in DRAWING],
)
def test_a_recorded_net_draws_anew_in_each_step_and_not_at_all_in_evaluation(draw: str, recorder: str) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    make, image = DRAWING[draw]
    net, x = make().train(), torch.rand(4, *image)
    recorded = RECORDERS[recorder](net)
    seen = [recorded(x) for _ in range(8)]
    assert any(not torch.equal(seen[0], y) for y in seen)
    recorded.eval()
    assert torch.equal(recorded(x), recorded(x)) and torch.allclose(recorded(x), net.eval()(x), atol=1e-5)


@pytest.mark.parametrize("draw", ["stochastic depth", "stochastic depth, pre-activation"])
def test_a_way_that_would_keep_one_draw_is_refused(draw: str) -> None:
    make, image = DRAWING[draw]
    net, x = make().train(), torch.rand(2, *image)
    for way in (lambda: torch.export.export(net, (x,)), lambda: make_fx(net)(x), lambda: torch.jit.trace(net, x)):
        with pytest.raises((RuntimeError, ValueError)):
            way()


SCRIPTED = ("mlp", "plain", "resnet", "resnet, some survive", "preact resnet, some survive", "vgg", "googlenet")
SCRIPTED += ("highway", "airbench")


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_net_is_scripted(name: str) -> None:
    make, image = NETS[name]
    torch.manual_seed(0)
    net, x = make(), torch.rand(2, *image)
    for mode in (True, False):
        torch.manual_seed(1)
        expected = copy.deepcopy(net).train(mode)(x)
        torch.manual_seed(1)
        torch.testing.assert_close(torch.jit.script(copy.deepcopy(net)).train(mode)(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.more
@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="gloo is not built in")
@pytest.mark.parametrize("name", NETS)
def test_a_net_is_sharded_by_stage_and_declares_what_it_did(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        make, image = NETS[name]
        torch.manual_seed(0)
        net, x = make().eval(), torch.rand(2, *image)
        expected, abilities = net(x), [isinstance(net, each) for each in (AuxiliaryHeads, DenseEvaluation, FittedStem)]
        mesh = init_device_mesh("cpu", (1,))
        for stage in net.get_submodule("stages").children():
            fully_shard(stage, mesh=mesh)
        fully_shard(net, mesh=mesh)
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
        assert [isinstance(net, each) for each in (AuxiliaryHeads, DenseEvaluation, FittedStem)] == abilities
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(("dtype", "least"), [(torch.float64, 1 - 1e-6), (torch.bfloat16, 0.99)])
@pytest.mark.parametrize("name", ["vgg", "resnet", "densenet", "highway"])
def test_a_net_in_another_type_computes_the_same_within_its_precision(
    name: str, dtype: torch.dtype, least: float
) -> None:
    make, image = NETS[name]
    torch.manual_seed(0)
    net, x = make().eval(), torch.rand(4, *image)
    with torch.no_grad():
        expected, actual = net(x), net.to(dtype)(x.to(dtype)).float()
    assert nn.functional.cosine_similarity(actual, expected).min() > least


@pytest.mark.slow
def test_memory_is_saved_and_nothing_else_changed_where_a_compiler_computes_again() -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    net, x = densenet(10, 4, bottleneck=False, save_memory=True).train(), torch.rand(3, 3, 8, 8)
    compiled = copy.deepcopy(net)
    compiled.compile(backend="aot_eager", fullgraph=True)
    for either in (net, compiled):
        either(x).square().sum().backward()
    for ours, theirs in zip(compiled.parameters(), net.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(compiled.buffers(), net.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)

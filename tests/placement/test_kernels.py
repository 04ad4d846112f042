"""The native operators beside PyTorch in double precision, and the nets that use them beside those that do not."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.nets import build, entry
from plusx.placement.graph import trace
from plusx.placement.kernels import memory, native, norm
from plusx.placement.kernels.fuse import fuse
from plusx.placement.kernels.norm import FusedNorm, zero_padded
from plusx.placement.place import Placement, choose_placement
from plusx.recipes.placement import PlacementSpec

needs_library = pytest.mark.skipif(native.vector_level() == 0, reason="built without a C compiler, or no AVX2")
LEVELS = [level for level in (1, 2) if level <= native.vector_level()]
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-8}
"""What a result may differ by, as a share of the largest: a few units in the last place."""


def images(*shape: int, dtype: torch.dtype = torch.bfloat16, mean: float = 0.0) -> Tensor:
    return (torch.randn(shape) + mean).to(dtype).contiguous(memory_format=torch.channels_last)


def close(ours: Tensor, reference: Tensor, share: float) -> bool:
    return bool((ours.double() - reference).abs().max() <= share * reference.abs().max())


# ---- batch norm ------------------------------------------------------------------------------------------------------


@needs_library
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 7, 12, 16, 64, 342])
@pytest.mark.parametrize("shortcut", ["none", "no relu", "identity", "padded"])
def test_norm_and_its_gradients_are_those_of_double_precision(
    level: int, dtype: torch.dtype, channels: int, shortcut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm, "vector_level", lambda: level)
    torch.manual_seed(0)
    x = images(5, channels, 9, 7, dtype=dtype, mean=3.0).requires_grad_()
    module = FusedNorm(nn.BatchNorm2d(channels))
    nn.init.uniform_(module.weight, 0.5, 1.5)
    nn.init.normal_(module.bias)
    residual, stride, relu = None, 0, shortcut != "no relu"
    if shortcut == "identity":
        residual = images(5, channels, 9, 7, dtype=dtype).requires_grad_()
    elif shortcut == "padded":
        residual, stride = images(5, max(channels // 2, 1), 18, 14, dtype=dtype).requires_grad_(), 2
    y = module(x, residual, stride, relu)
    dy = images(5, channels, 9, 7, dtype=dtype)
    y.backward(dy)

    X, R = (None if t is None else t.detach().double().requires_grad_() for t in (x, residual))
    assert X is not None
    reference = nn.BatchNorm2d(channels).double()
    reference.load_state_dict(FusedNorm(nn.BatchNorm2d(channels)).state_dict() | dict(module.named_parameters()))
    Y = reference(X) if R is None else reference(X) + (zero_padded(R, channels, stride) if stride else R)
    kept = y.detach() > 0  # where rounding decides the sign, both go the same way
    (torch.where(kept, Y, 0) if relu else Y).backward(dy.double())

    assert close(y, Y.relu() if relu else Y, ROUNDING[dtype])
    assert x.grad is not None and X.grad is not None and close(x.grad, X.grad, ROUNDING[dtype])
    for ours, theirs in ((module.weight, reference.weight), (module.bias, reference.bias)):
        assert ours.grad is not None and theirs.grad is not None and close(ours.grad, theirs.grad, 1e-5)
    if residual is not None and R is not None:
        assert residual.grad is not None and R.grad is not None and close(residual.grad, R.grad, ROUNDING[dtype])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(getattr(module, name).double(), getattr(reference, name).double(), rtol=1e-6), name


@needs_library
@pytest.mark.parametrize("level", LEVELS)
def test_norm_in_evaluation_uses_the_running_moments(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norm, "vector_level", lambda: level)
    module = FusedNorm(nn.BatchNorm2d(24)).eval()
    nn.init.normal_(module.running_mean)
    nn.init.uniform_(module.running_var, 0.5, 2)
    x, residual = images(3, 24, 5, 5, dtype=torch.float32), images(3, 24, 5, 5, dtype=torch.float32)
    with torch.no_grad():
        ours = module(x, residual, 0, True)
    expected = F.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps)
    assert torch.allclose(ours, F.relu(expected + residual), atol=1e-6)


@needs_library
@pytest.mark.parametrize(
    ("residual_shape", "stride"),
    [
        ((3, 8, 9, 13), 2),  # five and seven strides of 2, of which the last begins one
        ((3, 8, 9, 14), 2),
        ((3, 16, 1, 1), 0),
        ((3, 1, 5, 7), 0),
        ((1, 16, 5, 7), 0),
        ((3, 8, 5, 7), 1),
    ],
)
def test_residuals_of_other_shapes_are_pytorchs(residual_shape: tuple[int, ...], stride: int) -> None:
    module = FusedNorm(nn.BatchNorm2d(16))
    x, residual = images(3, 16, 5, 7, dtype=torch.float32), images(*residual_shape, dtype=torch.float32)
    residual.requires_grad_()
    ours = module(x, residual, stride, True)
    ours.sum().backward()
    twin = residual.detach().clone().requires_grad_()
    added = F.pad(twin[:, :, :: stride or 1, :: stride or 1], (0, 0, 0, 0, 0, 16 - twin.shape[1])) if stride else twin
    theirs = F.relu(F.batch_norm(x, None, None, training=True) + added)
    theirs.sum().backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert residual.grad is not None and twin.grad is not None
    torch.testing.assert_close(residual.grad, twin.grad)


@needs_library
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("side", [(27, 30), (30, 27), (9, 11)])
def test_a_fused_net_takes_odd_sides(precision: str, side: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = build("resnet20")
    twin = copy.deepcopy(net)
    where = Placement("cpu", "channels_last", precision, 2, kernels="fused")
    x, labels = torch.randn(4, 3, *side), torch.arange(4)
    found = []
    for placement, one in ((where, net), (dataclasses.replace(where, kernels="plain"), twin)):
        placed = placement.place(one).train()
        with placement.autocast():
            loss = F.cross_entropy(placed(placement.place_images(x)).float(), labels)
        loss.backward()
        stem = placed.get_parameter("stem.conv.conv.weight").grad
        assert stem is not None
        found.append((loss.item(), stem))
    tolerance = 1e-4 if precision == "fp32" else 0.15
    assert found[0][0] == pytest.approx(found[1][0], rel=tolerance)
    assert float((found[0][1] - found[1][1]).norm() / found[1][1].norm()) < 3 * tolerance


@needs_library
def test_a_mean_that_dwarfs_the_deviation_costs_no_digits() -> None:
    x = images(64, 16, 8, 8, dtype=torch.float32) * 1e-2 + 1e3
    _, mean, variance = torch.ops.plusx.norm(x, torch.ones(16), torch.zeros(16), None, 1, 1e-5, False)
    exact = x.double()
    assert close(mean, exact.mean((0, 2, 3)), 1e-7)
    assert close(variance, exact.var((0, 2, 3), unbiased=False), 1e-5)


@needs_library
def test_a_number_that_is_none_stays_one() -> None:
    x = images(2, 16, 4, 4)
    x[1, 3, 2, 1] = float("nan")
    y, mean, _ = torch.ops.plusx.norm(x, torch.ones(16), torch.zeros(16), None, 1, 1e-5, True)
    assert y[:, 3].isnan().all() and mean[3].isnan() and not y[:, :3].isnan().any()


# ---- the operators ---------------------------------------------------------------------------------------------------


def alike(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two gradients."""
    return float(F.cosine_similarity(a.double().flatten(), b.double().flatten(), 0))


def operators() -> list[Any]:
    x, w = images(2, 16, 6, 6), torch.randn(16, 16, 3, 3)
    vector = torch.rand(16) + 0.5
    calls: list[Any] = [
        (torch.ops.plusx.norm, (x, vector, vector, None, 1, 1e-5, True)),
        (torch.ops.plusx.norm, (x, vector, vector, images(2, 8, 12, 12), 2, 1e-5, True)),
        (torch.ops.plusx.norm_apply, (x, vector, vector, vector, vector, None, 1, 1e-5, True)),
        (torch.ops.plusx.moments, (x,)),
        (torch.ops.plusx.norm_first, (images(2, 24, 6, 6), vector, vector, vector, vector, 1e-5)),
        (
            torch.ops.plusx.norm_first_backward,
            (x, images(2, 24, 6, 6), vector, vector, vector, vector, 1e-5, images(2, 24, 6, 6)),
        ),
    ]
    for dtype in (torch.float32, torch.bfloat16):
        if native.engine(dtype):
            y = x.to(dtype)
            calls.append((torch.ops.plusx.convolution, (y, w, 1, 1)))
            for shortcut in (None, y):
                calls.append((torch.ops.plusx.block, (y, w, vector, vector, w, vector, vector, shortcut, 1e-5, 1e-5)))
    return calls


@needs_library
@pytest.mark.parametrize("number", range(len(operators()) if native.vector_level() else 0))
def test_operators_are_what_autograd_compile_and_export_expect(number: int) -> None:
    operator, arguments = operators()[number]
    differentiable = operator in (torch.ops.plusx.norm, torch.ops.plusx.convolution, torch.ops.plusx.block)
    arguments = tuple(a.detach().requires_grad_(differentiable) if isinstance(a, Tensor) else a for a in arguments)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(operator.default, arguments, test_utils=checks)


@needs_library
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_repeated_to_the_bit(precision: str) -> None:
    def step() -> list[Tensor]:
        torch.manual_seed(0)
        placement = choose_placement(PlacementSpec(device="cpu", precision=precision))
        net = placement.place(build("resnet20"))
        with placement.autocast():
            net(images(6, 3, 32, 32, dtype=torch.float32)).sum().backward()
        return [p.grad for p in net.parameters() if p.grad is not None]

    assert all(torch.equal(a, b) for a, b in zip(step(), step(), strict=True))


# ---- nets ------------------------------------------------------------------------------------------------------------


def step_of(net: nn.Module, name: str, placement: Placement) -> tuple[Tensor, Tensor]:
    """Logits in training, and the gradients of all parameters one after another."""
    torch.manual_seed(1)
    x = torch.randn(4, *entry(name).input_shape)
    with placement.autocast():
        y = net.train()(placement.place_images(x)).float()
    y.square().mean().backward()
    return y.detach(), torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


@needs_library
@pytest.mark.parametrize(
    ("name", "precision"),
    [("resnet20", "fp32"), ("resnet20", "bf16"), ("plain20", "bf16"), ("densenet_40_12", "bf16")],
)
def test_a_net_on_our_kernels_is_the_net(name: str, precision: str) -> None:
    """As near to the net in fp32 as PyTorch's own operators in that precision are."""
    ways = [choose_placement(PlacementSpec(device="cpu", precision="fp32", kernels="plain"))]
    ways += [
        choose_placement(PlacementSpec(device="cpu", precision=precision, kernels=kernels))
        for kernels in ("plain", "fused")
    ]
    torch.manual_seed(0)
    start = build(name)
    nets = [way.place(copy.deepcopy(start)) for way in ways]
    assert list(nets[2].state_dict()) == list(start.state_dict())
    (y, gradient), plain, fused = (step_of(net, name, way) for net, way in zip(nets, ways, strict=True))
    tolerance = 1e-4 if precision == "fp32" else 0.02
    assert alike(fused[0], y) >= alike(plain[0], y) - tolerance
    assert alike(fused[1], gradient) >= alike(plain[1], gradient) - tolerance
    with torch.no_grad(), ways[2].autocast():
        x = ways[2].place_images(torch.randn(2, *entry(name).input_shape))
        a, b = nets[1].eval()(x).float(), nets[2].eval()(x).float()
    assert alike(a, b) > 1 - tolerance


# ---- dense blocks ----------------------------------------------------------------------------------------------------


class Dense(nn.Module):
    """Three layers of odd widths, and the norm that follows a block."""

    def __init__(self) -> None:
        super().__init__()
        widths = (10, 17, 24, 31)
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, widths))
        self.convs = nn.ModuleList(nn.Conv2d(width, 7, 3, padding=1, bias=False) for width in widths[:-1])

    def forward(self, x: Tensor) -> Tensor:
        for layer, conv in enumerate(self.convs):
            x = torch.cat([x, conv(F.relu(self.norms[layer](x)))], 1)
        return F.relu(self.norms[-1](x))


@needs_library
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_dense_block_in_one_tensor_is_the_block_in_double_precision(
    level: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm, "vector_level", lambda: level)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = Dense().to(memory_format=torch.channels_last)
    reference = copy.deepcopy(net).double()
    assert fuse(net, trace(net)) == 4 and [name for name in vars(net) if name.startswith("dense_")]
    x = images(5, 10, 9, 7, dtype=torch.float32, mean=1.0)
    inputs = [x.clone().requires_grad_(), x.double().requires_grad_()]
    for _ in range(2):  # the second time on other running moments, and adding to the gradients
        ours, theirs = (each(input) for each, input in zip((net, reference), inputs, strict=True))
        dy = torch.randn(ours.shape)
        ours.backward(dy, retain_graph=True)
        ours.backward(dy)
        theirs.backward(2 * dy.double())
        assert close(ours, theirs, 1e-5)
    torch.set_num_threads(before)
    assert inputs[0].grad is not None and inputs[1].grad is not None and close(inputs[0].grad, inputs[1].grad, 1e-5)
    for (name, p), q in zip(net.named_parameters(), reference.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None and close(p.grad, q.grad, 1e-5), name
    for (name, b), c in zip(net.named_buffers(), reference.buffers(), strict=True):
        assert torch.allclose(b.double(), c.double(), rtol=1e-5, atol=1e-6), name


@needs_library
def test_a_dense_block_with_a_norm_that_rests_is_concatenated() -> None:
    net = Dense().to(memory_format=torch.channels_last)
    same = copy.deepcopy(net)
    fuse(net, trace(net))
    x = images(3, 10, 5, 5, dtype=torch.float32)
    for mode in (False, True):
        for each in (net, same):
            each.train(mode)
            each.norms[1].eval()
        assert torch.allclose(net(x), same(x), atol=1e-5)
    assert all(map(torch.equal, (b for b in net.norms[1].buffers()), same.norms[1].buffers()))


def test_maps_that_others_read_are_left_where_they_are() -> None:
    class Read(Dense):
        def forward(self, x: Tensor) -> Tensor:
            joined = torch.cat([x, self.convs[0](F.relu(self.norms[0](x)))], 1)
            return F.relu(self.norms[1](joined)) + joined

    net = Read()
    fuse(net, trace(net))
    assert not [name for name in vars(net) if name.startswith("dense_")]


@needs_library
def test_submodules_called_one_by_one_stay_what_they_were() -> None:
    net = build("resnet20").to(memory_format=torch.channels_last)
    fused = copy.deepcopy(net)
    assert fuse(fused, trace(fused)) == 19
    x = images(2, 3, 32, 32, dtype=torch.float32)
    block, same = net.stages[0][0], fused.stages[0][0]
    assert torch.allclose(block.branch(net.stem(x)), same.branch(fused.stem(x)), atol=1e-4)


def test_what_draws_random_numbers_or_depends_on_the_mode_is_not_traced() -> None:
    assert trace(build("resnet20", survival=0.5)) is None
    assert trace(build("resnet20")) is not None

    class Moody(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if self.training else x

    assert trace(Moody()) is None


def test_without_the_library_everything_works(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Callable[[], Any] = lambda: None  # noqa: E731
    monkeypatch.setattr(norm, "vector_level", lambda: 0)
    monkeypatch.setattr("plusx.placement.place.vector_level", lambda: 0)
    monkeypatch.setattr("plusx.placement.kernels.convolution.engine", lambda dtype: None)
    monkeypatch.setattr(native, "library", nothing)
    placement = choose_placement(PlacementSpec(device="cpu"))
    assert placement.kernels == "plain" and "C compiler" in placement.reasons["kernels"]
    with pytest.raises(ValueError, match="placement.kernels is 'fused'"):
        choose_placement(PlacementSpec(device="cpu", kernels="fused"))
    recorded = Placement("cpu", "channels_last", "fp32", 1, "fused")  # a run from a machine that had it
    step_of(recorded.place(build("resnet20")), "resnet20", recorded)


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_a_freed_block_is_taken_again_and_a_held_one_never() -> None:
    shape, where = (64, 16, 32, 32), set()
    for _ in range(5):
        x = memory.empty(shape, torch.bfloat16)
        where.add(x.data_ptr())
        del x
    assert len(where) == 1
    view = memory.empty(shape, torch.bfloat16)[3:5, 2]
    other = memory.empty(shape, torch.bfloat16)
    view.fill_(1.0)
    other.fill_(2.0)
    assert (view == 1).all() and other.is_contiguous(memory_format=torch.channels_last)


# ---- recomputing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["auto", "plain"])
@pytest.mark.parametrize("name", ["resnet20", "densenet_40_12"])
def test_recomputing_changes_no_bit(name: str, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Maps in one tensor, which a net that is cut does without, take their means in another order.
    monkeypatch.setattr("plusx.placement.kernels.fuse._fuse_concatenations", lambda net, graph: None)
    torch.manual_seed(0)
    net = build(name)
    results = []
    for recompute in (False, True):
        placement = choose_placement(PlacementSpec(device="cpu", kernels=kernels, recompute=recompute))
        placed = placement.place(copy.deepcopy(net))
        results.append((*step_of(placed, name, placement), *placed.buffers()))
    assert all(map(torch.equal, *results))


def test_recomputing_needs_somewhere_to_cut() -> None:
    with pytest.raises(ValueError, match=r"placement.recompute is true; this net's forward cannot be cut"):
        choose_placement(PlacementSpec(device="cpu", recompute=True)).place(build("resnet20", survival=0.5))


def test_the_compiler_takes_what_the_library_says_as_constant() -> None:
    """`_constant` marks a function as PyTorch does."""

    def ours() -> None: ...

    def theirs() -> None: ...

    assert vars(native._constant(ours)) == vars(torch.compiler.assume_constant_result(theirs)) != {}

"""Recording and replaying: the same numbers as calling, on any device; the CPU stands in for a graph."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from plusx.engine.losses import make_loss
from plusx.engine.optim import make_optimizer
from plusx.engine.step import Step
from plusx.engine.task import Classification
from plusx.nets import build
from plusx.placement.capture import MOST_SHAPES, WARM_UP_CALLS, Captured, Replay
from plusx.placement.place import Placement, choose_placement
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.optim import SGD, Adam, Muon, Optim, Penalty, RMSprop
from plusx.recipes.placement import PlacementSpec

CPU = Placement("cpu", "contiguous", "fp32", 1)


class Recorder:
    """Records the operators of a call, and replays them on the same tensors with the same numbers, as a graph does."""

    def __init__(self) -> None:
        self.recordings, self.replays = 0, 0

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        self.recordings += 1
        with _Tape() as tape:
            result = call()

        def replay() -> None:
            self.replays += 1
            tape.replay()

        return replay, result


class _Tape(TorchDispatchMode):
    """Every operator that ran, with its arguments: tensors as they are, numbers as they were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ran: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.ran.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.ran:
            again = func(*args, **kwargs)
            for mine, new in zip(_tensors(result), _tensors(again), strict=True):
                if mine.data_ptr() != new.data_ptr():
                    mine.copy_(new)


def _tensors(found: Any) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, tuple | list):
        for item in found:
            yield from _tensors(item)


def doubled(record: Recorder | None) -> tuple[Captured, Tensor]:
    """A callable that adds up what it was given, and the sum."""
    total = torch.zeros(())

    def call(x: Tensor) -> Tensor:
        total.add_(x.sum())
        return 2 * x

    return Captured(call, lambda: [total], record, "cpu"), total


def test_a_replay_reads_new_arguments_and_gives_what_a_call_gives() -> None:
    record = Recorder()
    captured, total = doubled(record)
    for number in range(4):
        x = torch.full((3,), float(number))
        assert captured(x).tolist() == [2.0 * number] * 3
        x.fill_(-1)  # the recording has its own copy
    assert (record.recordings, record.replays, total.item()) == (1, 4, 18.0)


def test_the_warm_up_leaves_tensors_and_random_numbers_as_they_were() -> None:
    calls, state, made = 0, torch.ones(2), []

    def call(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if not made:
            made.append(torch.zeros(2))
        made[0].add_(1)
        return state.add_(x)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    captured = Captured(call, lambda: [state, *made], lambda call: (lambda: None, torch.zeros(2)), "cpu")
    captured(torch.ones(2))
    assert calls == WARM_UP_CALLS  # neither recording nor replay calls it here
    assert state.tolist() == [1.0, 1.0] and made[0].tolist() == [0.0, 0.0]
    assert torch.equal(before, torch.get_rng_state())


def test_each_shape_is_recorded_once_and_too_many_are_called() -> None:
    record = Recorder()
    captured, _ = doubled(record)
    for size in (*range(1, MOST_SHAPES + 3), *range(1, MOST_SHAPES + 3)):
        assert captured(torch.ones(size)).tolist() == [2.0] * size
    assert (record.recordings, record.replays) == (MOST_SHAPES, 2 * MOST_SHAPES)


def test_what_draws_on_the_cpu_is_called_and_says_why() -> None:
    captured = Captured(lambda x: x + torch.rand(()), lambda: [], Recorder(), "cpu")
    torch.manual_seed(0)
    first, second = captured(torch.zeros(1)).item(), captured(torch.zeros(1)).item()
    torch.manual_seed(0)
    assert [first, second] == [torch.rand(()).item(), torch.rand(()).item()]
    assert captured.refused is not None and "draws random numbers on the CPU" in captured.refused


def test_what_cannot_be_recorded_is_called_and_says_why() -> None:
    def record(call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    captured, total = doubled(None)
    captured.record = record
    assert captured(torch.ones(3)).tolist() == [2.0] * 3
    assert total.item() == 3.0
    assert captured.refused == "operation not permitted when stream is capturing"


def test_a_mistake_in_the_callable_is_no_reason_to_go_on() -> None:
    captured = Captured(lambda x: x @ x, lambda: [], Recorder(), "cpu")
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        captured(torch.ones(3, 2))


OPTIMIZERS: list[Optim] = [SGD(lr=0.1, nesterov=True), Adam(lr=0.01), Muon(lr=0.1, head_lr=0.1, vector_lr=0.1)]


def trained(spec: Optim, record: Recorder | None, *, mixed: bool = False) -> tuple[nn.Module, Step, list[float]]:
    """Five steps, each with other images and another rate; in double, where what a step rounds stays small."""
    torch.manual_seed(0)
    net = build("resnet20").double().train()
    optimizer, task = make_optimizer(spec, net), Classification(make_loss(CrossEntropy()))

    class Recording(Placement):
        def captured(self, call: Any, changed: Any) -> Captured:
            return Captured(call, changed, record, "cpu")

    step = Step(net, optimizer, task, Penalty(l1=1e-5), Recording("cpu", "contiguous", "fp32", 1))
    losses = []
    for number in range(5):
        images, labels = torch.randn(4, 3, 32, 32).double(), torch.arange(4)
        batch = images, torch.rand(4, 10).softmax(1) if mixed else labels
        losses.append(step(batch, 1 - number / 5).item())
    return net, step, losses


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("spec", OPTIMIZERS, ids=lambda spec: type(spec).__name__)
def test_a_recorded_step_learns_what_a_called_one_learns(spec: Optim, mixed: bool) -> None:
    called, _, losses = trained(spec, None, mixed=mixed)
    record = Recorder()
    recorded, step, losses_recorded = trained(spec, record, mixed=mixed)
    assert step.not_captured is None and (record.recordings, record.replays) == (1, 5)
    assert losses_recorded == pytest.approx(losses, rel=1e-6)
    for (name, mine), theirs in zip(recorded.state_dict().items(), called.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6, msg=name)


def test_an_optimizer_that_counts_on_the_cpu_is_not_recorded() -> None:
    record = Recorder()
    _, step, _ = trained(RMSprop(), record)
    assert record.recordings == 0 and step.not_captured == "RMSprop counts its steps on the CPU"


def test_the_cpu_is_not_recorded_and_says_so() -> None:
    placement = choose_placement(PlacementSpec(device="cpu"))
    assert not placement.capture and placement.reasons["capture"] == "only CUDA records steps"
    assert Placement.from_dict(placement.to_dict()) == placement
    assert not placement.holds(0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs; this machine has no CUDA")
def test_a_cuda_graph_learns_and_draws_what_the_called_step_does() -> None:
    losses = []
    for capture in (False, True):
        placement = dataclasses.replace(choose_placement(PlacementSpec(device="cuda")), capture=capture)
        torch.manual_seed(0)
        net = placement.place(build("densenet_40_12", dropout=0.2)).train()
        optimizer, task = make_optimizer(SGD(lr=0.01), net), Classification(make_loss(CrossEntropy()))
        step = Step(net, optimizer, task, Penalty(), placement)
        for number in range(4):
            torch.manual_seed(number)
            losses.append(float(step((torch.randn(8, 3, 32, 32), torch.arange(8)), 1 - number / 5)))
        assert step.not_captured is None
    assert losses[:4] == losses[4:]

"""The sweep over learning rates: it changes nothing that it was given, and finds the rate of a problem that has one."""

import dataclasses
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from plusx.data.balance import images_of_classes
from plusx.data.batches import TrainBatches
from plusx.data.sources import load_source
from plusx.engine.optim import optimizer_tensors
from plusx.engine.rate import find_lr, sweep
from plusx.engine.state import TrainState, fresh_state
from plusx.engine.step import Step
from plusx.engine.task import Task, task_of
from plusx.engine.training import train, train_batches
from plusx.placement.place import Placement
from plusx.recipes import Recipe, digits, override_all
from plusx.runs.metrics import read_metrics
from plusx.runs.store import read_card
from tests.cli.commands import plusx, refused, result

FEW = {"steps": 4, "data.limit": 60, "batch_size": 10, "evaluation.count": 2, "log_every": 1}


def hashed(state: TrainState) -> str:
    """Of weights, buffers, gradients, modes, the optimizer's state and rates, and every random generator."""
    digest = hashlib.sha256()
    optimizer, net = state.optimizer, state.net
    for tensors in (net.state_dict(), optimizer_tensors(optimizer, net)):
        for name, tensor in tensors.items():
            digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    for parameter in net.parameters():
        grad = parameter.grad
        digest.update(b"none" if grad is None else grad.contiguous().numpy().tobytes())
        digest.update(bytes([parameter.requires_grad]))
    digest.update(bytes(module.training for module in net.modules()))
    digest.update(repr([{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]).encode())
    digest.update(torch.get_rng_state().numpy().tobytes())
    digest.update(repr(random.getstate()).encode() + repr(np.random.get_state()).encode())
    return digest.hexdigest()


def begun(run: Path, recipe: Recipe) -> tuple[TrainState, Task, TrainBatches, Placement]:
    """The state of a run before its first step."""
    card = dataclasses.replace(read_card(run), recipe=recipe)
    placement, images = Placement.from_dict(card.placement), load_source("digits").splits["train"].take(range(60))
    state = fresh_state(card, placement, None, images)
    task = task_of(recipe, images_of_classes(images), "cpu")
    return state, task, train_batches(recipe, images, card.preprocess, placement), placement


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("digits", overrides=FEW, out=tmp_path_factory.mktemp("runs") / "run").run


@given(
    optim=st.sampled_from(["SGD", "AdamW", "RMSprop", "Muon"]),
    options=st.sampled_from(
        [{}, {"net.freeze": "stem"}, {"accumulate": 2, "optim.clip": 0.1}, {"balance": "loss"}, {"augment": "MixUp"}]
    ),
    steps_before=st.integers(0, 2),
    seed=st.integers(0, 9),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sweep_leaves_everything_as_it_was(
    optim: str, options: dict[str, object], steps_before: int, seed: int, run: Path
) -> None:
    recipe = override_all(digits(), {**FEW, "optim": optim, "seed": seed, **options})
    with torch.random.fork_rng():
        state, task, batches, placement = begun(run, recipe)
        step = Step(state.net, state.optimizer, task, recipe.penalty, placement)
        for batch in batches.steps(0, steps_before):
            step(batch, 1.0)
        state.step = steps_before
        before = hashed(state)
        rates, losses = sweep(state, recipe, task, batches, placement, steps=10, progress=lambda done, total: None)
        assert hashed(state) == before
        assert len(rates) == len(losses) >= 2 and rates == sorted(rates)


def test_a_hash_sees_a_step(run: Path) -> None:
    """What the law above rests on."""
    recipe = override_all(digits(), FEW)
    with torch.random.fork_rng():
        state, task, batches, placement = begun(run, recipe)
        before = hashed(state)
        Step(state.net, state.optimizer, task, recipe.penalty, placement)(batches[0], 1e-9)
        assert hashed(state) != before


def test_a_run_is_the_same_with_a_sweep_before_it_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    found = find_lr("digits", overrides=FEW, steps=12)
    assert torch.equal(before, torch.get_rng_state()) and not list(tmp_path.iterdir())
    assert find_lr("digits", overrides=FEW, steps=12) == found
    with_sweep = train("digits", overrides=FEW, out=tmp_path / "with").run
    monkeypatch.setattr("plusx.engine.rate.sweep", None)
    without = train("digits", overrides=FEW, out=tmp_path / "without").run
    logs = [[{**r, "seconds": 0} for r in read_metrics(each)] for each in (with_sweep, without)]
    assert logs[0] == logs[1]
    assert (with_sweep / "weights.safetensors").read_bytes() == (without / "weights.safetensors").read_bytes()


class Bowl(nn.Module):
    """curvature / 2 |w - t|^2 for targets t that differ from batch to batch; rates from 2 / curvature on diverge."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(20))


@pytest.mark.parametrize("curvature", [0.1, 1.0, 30.0])
def test_the_suggestion_is_somewhat_below_the_rate_at_which_a_known_loss_grows(curvature: float, run: Path) -> None:
    class Fit:
        def loss(self, net: Bowl, batch: Any) -> torch.Tensor:
            return curvature * (net.w - batch[0].flatten()).square().sum() / 2

    class Targets:
        def planned(self, step_at: object) -> Any:
            return self

        def steps(self, start: int, stop: int, *, workers: int = 0) -> Any:
            rng = torch.Generator().manual_seed(0)
            return ((0.1 * torch.randn(1, 20, 1, 1, generator=rng),) for _ in range(start, stop))

    plain = {"optim.nesterov": False, "optim.momentum": 0.0, "optim.weight_decay": 0.0, "optim.lr": 1 / curvature}
    net, cpu = Bowl(), Placement("cpu", "contiguous", "fp32", 1)
    state = TrainState(net, torch.optim.SGD(net.parameters()), torch.zeros(()))
    of: Any = (state, override_all(digits(), plain), Fit(), Targets(), cpu)
    rates, losses = sweep(*of, steps=100, progress=lambda *_: None)
    suggested = rates[losses.index(min(losses))] / 10
    assert 0.02 / curvature < suggested < 2 / curvature
    assert rates[-1] < 20 / curvature  # it ended when the loss grew


def test_the_command_prints_a_table_and_what_to_type_and_writes_nothing(tmp_path: Path) -> None:
    few = [item for key, value in FEW.items() for item in ("--set", f"{key}={value}")]
    done = plusx("train", "digits", *few, "--find-lr", "--quiet", cwd=tmp_path)
    assert done.returncode == 0 and not list(tmp_path.iterdir()), done
    assert "learning rate" in done.stdout and ("suggested: --set optim.lr=" in done.stdout or "no rate" in done.stdout)
    told = result("train", "digits", *few, "--find-lr", cwd=tmp_path)
    assert told["optim.lr"] == 0.1 and len(told["rates"]) == len(told["losses"])
    assert json.dumps(told["suggested"])


def test_what_does_not_go_with_a_sweep_is_refused(tmp_path: Path) -> None:
    for options in (["--out", "run"], ["--max-time", "1m"], ["--quick"]):
        assert f"--find-lr and {options[0]} do not go together" in refused(
            "train", "digits", "--find-lr", *options, cwd=tmp_path
        )
    assert "takes no step" in refused("train", "digits", "--find-lr", "--set", "steps=0", cwd=tmp_path)
    with pytest.raises(ValueError, match="steps is 3; a sweep takes 10 or more"):
        find_lr("digits", steps=3)


def test_a_sweep_sees_images_as_a_run_begins_with(run: Path) -> None:
    recipe = override_all(digits(), {**FEW, "progressive": "Progressive", "progressive.scale": "0.5"})
    sizes: set[int] = set()
    with torch.random.fork_rng():
        state, task, batches, placement = begun(run, recipe)
        state.net.register_forward_pre_hook(lambda net, inputs: sizes.add(inputs[0].shape[-1]))
        sweep(state, recipe, task, batches, placement, steps=10, progress=lambda done, total: None)
    assert len(sizes) == 1 and sizes == {round(0.5 * batches.preprocess.size[0])}

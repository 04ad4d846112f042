"""What must be equal: replayed steps and called ones, the device's batches and the CPU's, killed runs and a whole one.

`python -m benchmarks.cuda.check RUN STEP` is the run that is killed: it kills itself after a step, never if that is 0,
and is resumed by the same command.
"""

import dataclasses
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.cuda.contenders import WholeStep, optim_of, rules_placement
from benchmarks.cuda.device import free
from benchmarks.cuda.records import Records, in_short
from plusx.engine.training import resume, train
from plusx.recipes.optim import Adam, Optim


def check(record: Records, asked: Namespace, deadline: float) -> None:
    """All three, in turn."""
    check_captured(record, asked.smoke)
    there = WholeStep("resnet20", 16, rules_placement()).batches
    here = WholeStep("resnet20", 16, rules_placement("cpu")).batches
    same = all(torch.equal(a.cpu(), b) for n in range(5) for a, b in zip(there[n], here[n], strict=True))
    record(check="batches", on=there[0][0].device.type, equal_to_the_cpu=same)
    check_kills(record, asked.smoke)


def check_captured(record: Records, smoke: bool) -> None:
    """Losses and weights of steps that are replayed, and of the same steps called."""
    placement = rules_placement()
    steps, batch_size = (2, 4) if smoke else (30, 128)
    cases: list[tuple[str, Optim | None, dict[str, Any]]] = [("resnet20", None, {})]
    if not smoke:
        cases += [("resnet20", Adam(lr=0.001), {}), ("res_airbench94", None, {})]
        cases += [("densenet_40_12", None, {"dropout": 0.2}), ("resnet20", None, {"survival": 0.5})]
    for net, optim, options in cases:
        try:
            called = WholeStep(net, batch_size, dataclasses.replace(placement, capture=False), optim, **options)
            replayed = WholeStep(net, batch_size, placement, optim, **options)
            losses = [[float(step()) for _ in range(steps)] for step in (called, replayed)]
            pairs = list(zip(called.net.parameters(), replayed.net.parameters(), strict=True))
            record(check="captured", net=net, options=options, optim=type(optim or optim_of(net)).__name__,
                   steps=steps,
                   first_losses_equal=losses[0][0] == losses[1][0],
                   largest_loss_difference=max(abs(a - b) for a, b in zip(*losses, strict=True)),
                   weights_equal=all(torch.equal(a, b) for a, b in pairs),
                   weights_relative=max(((a - b).norm() / (a.norm() + 1e-12)).item() for a, b in pairs),
                   refused=replayed.step.not_captured)  # fmt: skip
        except Exception as fault:
            record(check="captured", net=net, options=options, failed=in_short(fault))
        free()


def check_kills(record: Records, smoke: bool) -> None:
    """The hashes of runs that were killed and resumed, and of the one that was not."""
    with TemporaryDirectory() as folder:
        runs = {kill: Path(folder) / f"run-{kill}" for kill in ((0, 3) if smoke else (0, 3, 11, 17))}
        began = time.perf_counter()
        for again in (False, True):
            children = [
                subprocess.Popen([sys.executable, "-m", "benchmarks.cuda.check", str(run), str(0 if again else kill)])
                for kill, run in runs.items()
                if kill or not again
            ]
            codes = [child.wait(timeout=150) for child in children]
        hashes = {
            kill: hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest() for kill, run in runs.items()
        }
        record(check="kills", at_steps=[kill for kill in runs if kill], codes=codes, sha256=hashes[0],
               equal=len(set(hashes.values())) == 1, seconds=time.perf_counter() - began)  # fmt: skip


def main(run: Path, kill: int) -> None:
    """Train a net with dropout, or resume it; kill the process after a step, before that step can be saved."""
    steps = itertools.count(1)

    def die_in_time() -> bool:
        if next(steps) == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    if (run / "card.json").exists():
        trained = resume(run, progress=False, should_stop=die_in_time)
    else:
        overrides = {"net.name": "densenet_40_12", "net.options.dropout": 0.2, "steps": 20, "batch_size": 16,
                     "save_seconds": 0, "log_every": 5, "data.limit": 64, "placement.threads": 1}  # fmt: skip
        trained = train("digits", seed=3, overrides=overrides, out=run, progress=False, should_stop=die_in_time)
    assert "not_captured" not in trained.card.results, trained.card.results


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

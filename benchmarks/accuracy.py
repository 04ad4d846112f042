"""Time to an accuracy on CIFAR-10's test images, from scratch; results/time-to-accuracy.json.

A run is `plusx train cifar10 --recipe NAME --seed S` in a process of its own, timed from its start to its end: imports,
reading the images, measuring ways to run (nothing is cached), training, evaluation and report are included. The unit of
its time is one epoch of ResNet-20 at batch 128 in plain PyTorch, eager, fp32, contiguous,
measured before and after every run. PLUSX_DATA has the images.

`python -m benchmarks accuracy RECIPE...` runs only these, and writes nothing.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import data_folder, write
from benchmarks.training import contender
from plusx.benchmark.apart import Apart
from plusx.placement.turns import take_turns
from plusx.runs.store import read_card

TARGETS = {"cifar10-94": 0.94, "cifar10-resnet20-fast": 0.9125}
"""Recipe, and the accuracy that it aims at."""
SEEDS = (0, 1, 2)
EPOCH, BATCH_SIZE, STEPS = 50_000, 128, 12
"""Images in an epoch; images in a step of the unit; the fewest steps in a measurement of the unit."""


def main(recipes: Sequence[str] = ()) -> None:
    """Run every recipe with every seed, print each run and the summary, and write all."""
    for recipe in recipes:
        if recipe not in TARGETS:
            raise ValueError(f"{recipe} is not timed here; choose from {', '.join(TARGETS)}")
    data_folder("CIFAR-10")
    runs: list[dict[str, Any]] = []
    unit = unit_seconds()
    print(f"unit: {unit:.1f} s per epoch", flush=True)
    for seed in SEEDS:  # the recipes in turn: a slow hour slows all of them
        for recipe in recipes or TARGETS:
            run = timed_run(recipe, seed)
            before, unit = unit, unit_seconds()
            runs.append({**run, "unit_seconds": [before, unit], "units": run["seconds"] / mean((before, unit))})
            print(in_words(runs[-1]), flush=True)
    summary = {recipe: summary_of(recipe, runs) for recipe in recipes or TARGETS}
    for recipe, numbers in summary.items():
        print(
            f"{recipe}: {100 * numbers['test_accuracy_mean']:.2f} ± {100 * numbers['test_accuracy_std']:.2f} % of "
            f"{100 * numbers['target']:.2f} % in {numbers['units_mean']:.2f} units, {numbers['seconds_mean']:.0f} s"
        )
    if not recipes:
        write("time-to-accuracy", {"recipes": summary, "runs": runs})


def unit_seconds() -> float:
    """Seconds of one epoch in plain PyTorch now."""
    with Apart(contender, "eager fp32", "resnet20", BATCH_SIZE) as step:
        seconds = take_turns({"unit": step}, rounds=5, at_least=STEPS * 0.25).seconds["unit"]
    return sorted(seconds)[len(seconds) // 2] * EPOCH / BATCH_SIZE


def timed_run(recipe: str, seed: int) -> dict[str, Any]:
    """One training, from the start of its process to the end.

    Raises:
        RuntimeError: It failed; it has printed why.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        called = [sys.executable, "-m", "plusx", "train", "cifar10", "--recipe", recipe, "--seed", str(seed)]
        began = time.perf_counter()
        done = subprocess.run(
            [*called, "--out", str(out)],
            env={**os.environ, "PLUSX_CACHE": str(Path(folder) / "cache")},
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{' '.join(called)} ended with code {done.returncode}")
        results = read_card(out).results
    return {
        "recipe": recipe,
        "seed": seed,
        "seconds": seconds,
        **{key: results[key] for key in ("net", "test_accuracy", "images_per_s", "peak_memory_bytes")},
    }


def summary_of(recipe: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over the runs of a recipe."""
    own = [run for run in runs if run["recipe"] == recipe]
    accuracies = [run["test_accuracy"] for run in own]
    return {
        "target": TARGETS[recipe],
        "n": len(own),
        "test_accuracy_mean": mean(accuracies),
        "test_accuracy_std": stdev(accuracies),
        "reached": mean(accuracies) >= TARGETS[recipe],
        "seconds_mean": mean(run["seconds"] for run in own),
        "units_mean": mean(run["units"] for run in own),
    }


def in_words(run: Mapping[str, Any]) -> str:
    """A run as a line of text."""
    return (
        f"{run['recipe']}, seed {run['seed']}: {100 * run['test_accuracy']:.2f} % in {run['seconds']:.0f} s, "
        f"{run['units']:.2f} units of {mean(run['unit_seconds']):.1f} s"
    )

"""Whether our kernels change what a net learns: test accuracy on CIFAR-10; results/kernels-accuracy.json.

One recipe is trained with our kernels and with PyTorch's, in bf16 and in fp32, from the same seeds: the weights that a
run begins with, its batches and its augmentation are equal, so that only arithmetic differs. On processors without a
matrix unit our 3x3 convolutions are Winograd's, whose rounding errors are larger than a direct convolution's. Each run
is `plusx train` in a process of its own. PLUSX_DATA has the images. No time is measured: the machine may be busy.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import write
from plusx.placement.machine import cpu_flags, multiplies_bf16
from plusx.runs.store import read_card

RECIPE, EPOCHS = "cifar10-resnet20-fast", 3
SEEDS = (0, 1, 2)
KERNELS = {"fused": "plusx", "plain": "PyTorch"}
"""Values of `placement.kernels`, and whose kernels they are."""


def main(nets: Sequence[str] = ()) -> None:
    """Train every arm with every seed and print each run; what has been trained is written after each.

    Raises:
        ValueError: Nets are named: the recipe has its own; or PLUSX_DATA is not set.
    """
    if nets:
        raise ValueError("kernels takes no nets: it trains the net of its recipe")
    if "PLUSX_DATA" not in os.environ:
        raise ValueError("set PLUSX_DATA to the folder that contains CIFAR-10")
    precisions = ("bf16", "fp32") if multiplies_bf16(cpu_flags()) else ("fp32",)
    runs: list[dict[str, Any]] = []
    for seed, precision, kernels in product(SEEDS, precisions, KERNELS):
        runs.append({"seed": seed, "precision": precision, "kernels": kernels, **trained(seed, precision, kernels)})
        print(in_words(runs[-1]), flush=True)
        write("kernels-accuracy", {"recipe": RECIPE, "epochs": EPOCHS, "summary": summary(runs), "runs": runs})


def trained(seed: int, precision: str, kernels: str) -> dict[str, Any]:
    """What one training ended with.

    Raises:
        RuntimeError: It failed; it has printed why.
    """
    settings = {"epochs": EPOCHS, "placement.precision": precision, "placement.kernels": kernels}
    settings["placement.choose"] = "rules"
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "plusx", "train", "cifar10", "--recipe", RECIPE, "--seed", str(seed)]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run([*command, "--out", str(out), "--quiet"], stdout=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")
        results = read_card(out).results
    return {key: results[key] for key in ("net", "test_accuracy", "test_loss")}


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and deviation of each arm that has two runs or more."""
    arms = dict.fromkeys((run["precision"], run["kernels"]) for run in runs)
    found = []
    for precision, kernels in arms:
        accuracies = [r["test_accuracy"] for r in runs if (r["precision"], r["kernels"]) == (precision, kernels)]
        if len(accuracies) > 1:
            spread = {"test_accuracy_mean": mean(accuracies), "test_accuracy_std": stdev(accuracies)}
            found.append({"precision": precision, "kernels": kernels, "n": len(accuracies), **spread})
    return found


def in_words(run: Mapping[str, Any]) -> str:
    """A run as a line of text."""
    return f"{run['precision']}, {KERNELS[run['kernels']]}, seed {run['seed']}: {100 * run['test_accuracy']:.2f} %"

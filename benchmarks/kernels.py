"""Whether our kernels change what a net learns: test accuracy on CIFAR-10; results/kernels-accuracy.json.

One recipe is trained with our kernels and with PyTorch's, in bf16 and in fp32, from the same seeds: the weights that a
run begins with, its batches and its augmentation are equal, so that only arithmetic differs. On processors without a
matrix unit our 3x3 convolutions are Winograd's, whose rounding errors are larger than a direct convolution's. Each run
is `plusx train` in a process of its own. PLUSX_DATA has the images. No time is measured: the machine may be busy.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import data_folder, has_case, write_case
from plusx.placement.machine import cpu_flags, multiplies_bf16
from plusx.recipes import RECIPES
from plusx.runs.store import read_card

RECIPE, EPOCHS = "cifar10-resnet20-fast", 3
SEEDS = (0, 1, 2)
KERNELS = {"fused": "plusx", "plain": "PyTorch"}
"""Values of `placement.kernels`, and whose kernels they are."""


def main(nets: Sequence[str] = ()) -> None:
    """Train every arm with every seed; print and write each run. Runs that results/ has are not repeated.

    Raises:
        ValueError: Nets are named: the recipe has its own; or PLUSX_DATA is not set.
    """
    if nets:
        raise ValueError("kernels takes no nets: it trains the net of its recipe")
    data_folder("CIFAR-10")
    precisions = ("bf16", "fp32") if multiplies_bf16(cpu_flags()) else ("fp32",)
    recipe = RECIPES[RECIPE]()
    of_all = {"net": recipe.net.name, "batch_size": recipe.batch_size, "recipe": RECIPE, "epochs": EPOCHS}
    for seed, precision, kernels in product(SEEDS, precisions, KERNELS):
        arm = of_all | {"precision": precision, "kernels": kernels, "seed": seed}
        if not has_case("kernels-accuracy", arm):
            case = arm | trained(seed, precision, kernels)
            write_case("kernels-accuracy", case)
            print(in_words(case), flush=True)


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
    return {key: results[key] for key in ("test_accuracy", "test_loss")}


def in_words(run: Mapping[str, Any]) -> str:
    """A run as a line of text."""
    return f"{run['precision']}, {KERNELS[run['kernels']]}, seed {run['seed']}: {100 * run['test_accuracy']:.2f} %"

"""Fine-tuning beside training from random weights for the same time; results/finetune.json.

PLUSX_DATA has tiny-imagenet-half/ and ants-bees/. A tenth of the classes of the first is held back: ResNet-18 is
trained on the others (`imagenet-small`), and then meets two folders that it has not seen, ants-bees and photographs of
the classes that were held back. Each command is `plusx train` in a process of its own. Training from random weights
gets the time that fine-tuning took, by --max-time. The last weights are measured, so no image chooses among them.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.harness import data_folder, has_case, write_case
from plusx.runs.store import read_card

SEEDS = (0, 1, 2)
HELD_BACK_EVERY = 10
"""Of the classes in alphabetical order, each tenth is held back,"""
TRAIN_IMAGES = 25
"""with so many training images of each; all of its validation images are kept."""
WAYS = {"quick": ("--quick",), "finetune": (), "scratch": ("--set", "evaluation.keep=last")}


def main(nets: Sequence[str] = ()) -> None:
    """Train the weights if they are not there, then every way with every seed; print and write each run.

    Raises:
        ValueError: Nets are named: the recipes have their own; or PLUSX_DATA is not set.
    """
    if nets:
        raise ValueError("finetune takes no nets: its recipes train ResNet-18")
    there = data_folder("tiny-imagenet-half and ants-bees")
    work = there / "finetune"
    lay_out(there / "tiny-imagenet-half", work)
    weights = pretrained(work)
    about = {f"weights_{key}": read_card(weights).results[key] for key in ("val_error", "seconds")}
    for data, seed in product((there / "ants-bees", work / "held-back"), SEEDS):
        arms = [{"data": data.name, "way": way, "seed": seed} for way in WAYS]
        if all(has_case("finetune", arm) for arm in arms):
            continue
        seconds = 0.0
        for way, options in WAYS.items():  # all of them, so that equal times are times of one hour
            begin = ("--max-time", f"{seconds:.0f}s") if way == "scratch" else ("--from", str(weights))
            case = trained(data, way, seed, (*begin, *options), work / "run") | about
            seconds = case["seconds"]
            write_case("finetune", case)
            print(in_words(case), flush=True)


def lay_out(tiny: Path, work: Path) -> None:
    """Folders of links to the classes that the weights see, and to the photographs of those that they do not."""
    if work.exists():
        return
    names = sorted(path.name for path in (tiny / "train").iterdir())
    for place, name in enumerate(names):
        for split in ("train", "val"):
            if place % HELD_BACK_EVERY:
                (work / "seen" / split).mkdir(parents=True, exist_ok=True)
                (work / "seen" / split / name).symlink_to((tiny / split / name).resolve())
                continue
            folder = work / "held-back" / split / name
            folder.mkdir(parents=True)
            files = sorted((tiny / split / name).iterdir())
            for file in files if split == "val" else files[:TRAIN_IMAGES]:
                (folder / file.name).symlink_to(file.resolve())


def pretrained(work: Path) -> Path:
    """The run whose weights the others begin with; it is trained, or resumed, if it is not there."""
    out = work / "weights"
    if out.exists() and read_card(out).status != "finished":
        plusx("train", "--resume", str(out))
    elif not out.exists():
        plusx("train", str(work / "seen"), "--recipe", "imagenet-small", "--out", str(out))
    return out


def trained(data: Path, way: str, seed: int, options: Sequence[str], out: Path) -> dict[str, Any]:
    """What one training ended with, and the seconds of its process."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    plusx("train", str(data), *options, "--seed", str(seed), "--out", str(out))
    seconds = time.perf_counter() - began
    results = read_card(out).results
    about = {"data": data.name, "way": way, "seed": seed, "seconds": seconds}
    return about | {key: results[key] for key in ("val_error", "steps")}


def plusx(*arguments: str) -> None:
    """Run a command of plusx.

    Raises:
        RuntimeError: It failed; it has printed why.
    """
    done = subprocess.run([sys.executable, "-m", "plusx", *arguments], stdout=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"plusx {' '.join(arguments)} ended with code {done.returncode}")


def in_words(run: Mapping[str, Any]) -> str:
    """A run as a line of text."""
    error, seconds = 100 * run["val_error"], run["seconds"]
    return f"{run['data']}, {run['way']}, seed {run['seed']}: {error:.2f} % error, {seconds:.0f} s"

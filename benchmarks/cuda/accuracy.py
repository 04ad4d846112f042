"""Time to an accuracy: `cifar10-94`, alone on the device."""

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cuda.records import Records
from plusx.engine.events import Event
from plusx.engine.training import train

RECIPE = "cifar10-94"
SEEDS = 12


def accuracy(record: Records, asked: Namespace, deadline: float) -> None:
    """Seed after seed, captured and compiled; the first run of the process also reads the compiler's cache."""
    for seed in range(1 if asked.smoke else SEEDS):
        if time.monotonic() > deadline:
            return
        marks: list[tuple[int, float]] = []

        def mark(event: object, marks: list[tuple[int, float]] = marks) -> None:
            if isinstance(event, Event) and event.loss is not None:
                marks.append((event.step, time.perf_counter()))

        overrides: dict[str, Any] = {"placement.compile": not asked.smoke}
        if asked.smoke:
            overrides |= {"data.limit": 20, "batch_size": 2, "steps": 3, "log_every": 1, "placement.threads": 1}
        began = time.perf_counter()
        with TemporaryDirectory() as folder:
            results = train(
                "cifar10", recipe=RECIPE, seed=seed, overrides=overrides, out=Path(folder) / "run",
                data_dir=os.environ["PLUSX_DATA"], progress=mark,
            ).card.results  # fmt: skip
        total = time.perf_counter() - began
        (first, since), (last, until) = marks[0], marks[-1]
        steady = (until - since) / max(last - first, 1) * results["steps"]
        record(recipe=RECIPE, seed=seed, test_accuracy=results["test_accuracy"],
               training_seconds=results["seconds"], steps_seconds=steady, whole_seconds=total,
               refused=results.get("not_captured"))  # fmt: skip


def command(record: Records, asked: Namespace, deadline: float) -> None:
    """`plusx train cifar10 --recipe cifar10-94` in a process of its own, with and without the compiler."""
    for compiled in (False,) if asked.smoke else (False, True):
        if time.monotonic() > deadline:
            return
        with TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            settings = [f"placement.compile={str(compiled).lower()}"]
            if asked.smoke:
                settings += ["steps=4", "data.limit=20", "batch_size=2", "placement.threads=1"]
            words = [sys.executable, "-m", "plusx", "train", "cifar10", "--recipe", RECIPE, "--out", str(out)]
            words += [word for setting in settings for word in ("--set", setting)]
            began = time.perf_counter()
            code = subprocess.run(words, stdout=subprocess.DEVNULL, timeout=120).returncode
            seconds = time.perf_counter() - began
            results = json.loads((out / "card.json").read_text()).get("results", {}) if out.exists() else {}
            record(command=RECIPE, compiled=compiled, code=code, whole_seconds=seconds,
                   training_seconds=results.get("seconds"), test_accuracy=results.get("test_accuracy"))  # fmt: skip

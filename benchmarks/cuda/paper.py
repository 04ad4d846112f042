"""He et al. (2015), Table 6, at the paper's budget: several trainings side by side on one device."""

import os
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.cuda.device import own_stream, together
from benchmarks.cuda.records import Records, in_short
from plusx.data.sources import Source
from plusx.engine import plan
from plusx.engine.events import Event
from plusx.engine.training import train
from plusx.placement.place import Placement

NETS = ("resnet56", "resnet44", "resnet32", "resnet20")
"""The longest first."""
AT_ONCE = 4
"""Trainings side by side; on an H100 eight together are no faster than four."""


def paper(record: Records, asked: Namespace, deadline: float) -> None:
    """The first four trainings at once; as one ends, the next begins, if one like it has fitted into the time left."""
    queue = [(net, int(seed)) for net, _, seed in (job.partition(":") for job in asked.trainings)]
    turnstile, lock = Turnstile(), threading.Lock()
    sys.setswitchinterval(0.0005)
    vars(plan)["load_source"] = ReadOnce(vars(plan)["load_source"])
    eager = EagerEvaluation()
    Placement.evaluating = lambda self: eager  # type: ignore[method-assign]
    took: dict[str, float] = {}

    def one(net: str, seed: int) -> None:
        begun, began, last = False, time.monotonic(), time.monotonic()

        def should_stop() -> bool:
            nonlocal begun
            if not begun:
                begun = True
                turnstile.begun()
            turnstile.step()
            return time.monotonic() > deadline

        def progress(event: object) -> None:
            nonlocal last
            if not isinstance(event, Event) or event.loss is None:
                return
            if time.monotonic() - last > 20 or asked.smoke:
                last = time.monotonic()
                record(progress=net, seed=seed, step=event.step, loss=event.loss, at_seconds=last - began)

        overrides: dict[str, Any] = {"net.name": net, "save_seconds": 1_000_000, "evaluation.batch_size": 1000}
        overrides |= {"placement.compile": not asked.smoke}
        overrides |= {"data.limit": 50, "batch_size": 2, "steps": 4, "log_every": 2} if asked.smoke else {}
        turnstile.begin()
        try:
            with TemporaryDirectory() as folder, own_stream():
                card = train(
                    "cifar10", recipe="cifar10-paper", seed=seed, overrides=overrides, out=Path(folder) / "run",
                    data_dir=os.environ["PLUSX_DATA"], progress=progress, should_stop=should_stop,
                ).card  # fmt: skip
            took[net] = time.monotonic() - began
            record(paper=net, took_seconds=took[net], **{k: v for k, v in card.results.items() if k != "machine"})
        except Exception as fault:
            record(paper=net, seed=seed, failed=in_short(fault), at=time.monotonic() - began)
        finally:
            turnstile.end(begun)

    def work() -> None:
        while True:
            with lock:
                fits = [job for job in queue if time.monotonic() + took.get(job[0], 0) < deadline]
                if not fits:
                    return
                queue.remove(fits[0])
            one(*fits[0])

    together([work] * AT_ONCE)


class Turnstile:
    """Lets a run begin only while the others stand still: its random draws and its recording must not be disturbed."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running, self.beginners, self.busy = 0, 0, False

    def begin(self) -> None:
        """Wait until every other run stands still."""
        with self.changed:
            self.beginners += 1
            self.changed.wait_for(lambda: self.running == 0 and not self.busy)
            self.beginners, self.busy = self.beginners - 1, True

    def begun(self) -> None:
        """From now on other runs may go on beside this one."""
        with self.changed:
            self.busy, self.running = False, self.running + 1
            self.changed.notify_all()

    def step(self) -> None:
        """Stand still while another run begins."""
        if not (self.beginners or self.busy):
            return
        with self.changed:
            self.running -= 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: not (self.beginners or self.busy))
            self.running += 1

    def end(self, begun: bool) -> None:
        """Leave: the run is over, whether or not it had begun."""
        with self.changed:
            self.busy, self.running = (self.busy, self.running - 1) if begun else (False, self.running)
            self.changed.notify_all()


class EagerEvaluation:
    """What `Placement.evaluating` returns, for threads: the compiler's stance is one for the whole process."""

    def __init__(self) -> None:
        self.lock, self.within = threading.Lock(), 0

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(self, *fault: object) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        with self.lock:
            self.within += change
            torch.compiler.set_stance("force_eager" if self.within else "default")


class ReadOnce:
    """`load_source`, which reads the same images once for all runs of the process; they begin one at a time."""

    def __init__(self, load: Callable[..., Source]) -> None:
        self.load, self.sources = load, dict[tuple[Any, ...], Source]()

    def __call__(self, name: str, *, progress: Callable[[int, int], None] | None = None, **asked: Any) -> Source:
        key = (name, *sorted(asked.items()))
        if key not in self.sources:
            self.sources[key] = self.load(name, progress=progress, **asked)
        return self.sources[key]

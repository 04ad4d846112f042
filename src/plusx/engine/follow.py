"""What follows a training on request: a page that is rewritten, and TensorBoard's files. Neither can end it."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from plusx.engine.events import Event
from plusx.report.live import load_figures, write_live

SHARE = 0.02
"""Of a run's time, the most that rewriting its page may take."""


class Follower(Protocol):
    """Hears of the training as it goes on, and once when it ends, for whatever reason."""

    def __call__(self, event: Event) -> None:
        """How far it has come."""

    def close(self, *, finished: bool) -> None:
        """It ended."""


class LivePage:
    """Rewrites report.html at evaluations, as often as `SHARE` allows.

    Args:
        run: Run directory.
        progress: Hears in a note where the page is, or the first time that it cannot be written, why.
        clock: Seconds.
    """

    def __init__(
        self, run: Path, progress: Callable[[Event], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        with contextlib.suppress(Exception):
            load_figures()
        self.run, self.progress, self.clock = run, progress, clock
        self.not_before, self.event, self.failed = clock(), Event(0, 0), False

    def __call__(self, event: Event) -> None:
        """Rewrite the page, if there is something new and time for it."""
        first, self.event = self.event.total_steps != event.total_steps, event
        if (first or event.measurements) and self.clock() >= self.not_before:
            began = self.clock()
            self._write(goes_on=True)
            if first and not self.failed:
                self._say(f"{self.run / 'report.html'} follows the training")
            self.not_before = self.clock() + (self.clock() - began) / SHARE

    def close(self, *, finished: bool) -> None:
        """Have an open page read itself no more; that of a finished run is written with its results."""
        if not finished:
            self._write(goes_on=False)

    def _write(self, *, goes_on: bool) -> None:
        try:
            write_live(self.run, self.event.step, self.event.total_steps, goes_on=goes_on)
        except Exception as fault:  # whatever it is, the training is worth more than its page
            if not self.failed:
                self._say(f"{self.run / 'report.html'} was not written, and training goes on: {fault}")
            self.failed = True

    def _say(self, note: str) -> None:
        self.progress(Event(self.event.step, self.event.total_steps, notes=(note,)))


class EventFiles:
    """Writes what metrics.jsonl gets, and no more, as TensorBoard's event files to RUN/tensorboard.

    Args:
        run: Run directory.
        step: The step that the run begins or resumes at.
    """

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.metrics = run / "metrics.jsonl"
        self.read = self.metrics.stat().st_size if step else 0
        # What a run that is resumed wrote after its resume point is struck out.
        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def __call__(self, event: Event) -> None:
        """Write the records that are new."""
        with contextlib.suppress(OSError):  # the training is worth more than its curves
            with self.metrics.open("rb") as file:
                file.seek(self.read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            for line in whole.decode().splitlines():
                record = json.loads(line)
                self.writer.add_scalar(record["name"], record["value"], record["step"])
            self.read += len(whole)
            if event.measurements:
                self.writer.flush()

    def close(self, *, finished: bool) -> None:
        """Write what is left."""
        self(Event(0, 0))
        with contextlib.suppress(OSError):
            self.writer.close()


def require_tensorboard() -> None:
    """Raises ValueError when TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise ValueError(
            "--tensorboard needs TensorBoard, which is not installed: pip install 'plusx[track]'"
        ) from None

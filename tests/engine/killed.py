"""A training process that kills itself, for test_resume: `python killed.py RUN KIND NUMBER WORKERS FOLDER`.

KIND is where it dies: at the NUMBER-th step, or at the NUMBER-th write, rename or removal under the run directory, half
done. Without RUN in existence it starts the run, else it resumes it.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from plusx.engine.step import Step
from plusx.engine.training import resume, train
from plusx.recipes import RECIPES, Recipe, override
from plusx.runs import files, store


def recipe(workers: int) -> Recipe:
    """Sixteen steps, an evaluation every fourth, a resume point at every step."""
    changed = RECIPES["folder"]()
    for key, value in {
        "net.name": "resnet20",
        "preprocess.size": "12",
        "augment": "RandomResizedCrop,FlipLR,RandAugment,RandomErasing,MixUp,CutMix",
        "steps": "16",
        "batch_size": "6",
        "data.workers": str(workers),
        "evaluation.count": "4",
        "log_every": "3",
        "save_seconds": "0",
        "placement.threads": "1",
    }.items():
        changed = override(changed, key, value)
    return changed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kind: str, number: int) -> None:
    """Make the NUMBER-th call of that kind the last."""
    calls = 0

    def counted() -> bool:
        nonlocal calls
        calls += 1
        return calls == number

    if kind == "step":
        step = Step.__call__

        def dying_step(*args: Any) -> Any:
            if counted():
                die()
            return step(*args)

        Step.__call__ = dying_step
    elif kind == "write":
        write = store.write_synced

        def dying_write(path: Path, content: bytes) -> None:
            if counted():
                path.write_bytes(content[: len(content) // 2])
                die()
            write(path, content)

        files.write_synced = store.write_synced = dying_write
    elif kind == "log":
        log = store.Run.log

        def dying_log(self: store.Run, step: int, measurements: Any, *, seconds: float) -> None:
            log(self, step, measurements, seconds=seconds)
            if counted():
                self._metrics.write(b'{"step": 9, "na')  # a line cut in the middle
                self._metrics.flush()
                die()

        store.Run.log = dying_log  # type: ignore[method-assign]
    elif kind == "rename":
        rename, replace = Path.rename, Path.replace

        def dying(move: Any) -> Any:
            def moved(self: Path, target: Path) -> Path:
                if counted():
                    die()
                result: Path = move(self, target)
                if counted():
                    die()
                return result

            return moved

        Path.rename, Path.replace = dying(rename), dying(replace)  # type: ignore[method-assign]
    elif kind == "remove":
        rmtree = shutil.rmtree

        def dying_rmtree(path: Path, ignore_errors: bool = False) -> None:
            if Path(path).exists() and counted():
                (Path(path) / "state.json").unlink(missing_ok=True)
                die()
            rmtree(path, ignore_errors=ignore_errors)

        store.shutil.rmtree = dying_rmtree  # type: ignore[assignment]


if __name__ == "__main__":
    run, kind, number, workers, folder = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    arm(kind, number)
    if (run / "card.json").exists():
        resume(run)
    else:
        train(folder, recipe=recipe(workers), out=run)

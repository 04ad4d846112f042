"""The results of one part of the benchmark: a line of JSON for each number at once, one file at the end."""

import json
import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.cuda.device import DEVICE
from benchmarks.harness import evidence

FILES = {"paper": "cifar10-paper"}
"""What a part's file is called where it is not gpu-PART."""


class Records:
    """The lines of DIR/gpu-PART.jsonl, printed as well. Call it with what was measured; threads may share it.

    Args:
        out: Folder, made if it is not there.
        part: The part of the benchmark.
    """

    def __init__(self, out: Path, part: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.file, self.lock = out / f"{FILES.get(part, f'gpu-{part}')}.jsonl", threading.Lock()
        self.file.unlink(missing_ok=True)
        gpu = torch.cuda.get_device_name() if DEVICE == "cuda" else None
        self.evidence = {**evidence(), "gpu": gpu, "cudnn": torch.backends.cudnn.version()}

    def __call__(self, **measured: Any) -> None:
        with self.lock, self.file.open("a") as lines:
            lines.write(json.dumps({**measured, "evidence": self.evidence}) + "\n")
        print(" ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in measured.items()), flush=True)

    def gather(self) -> None:
        """Replace the lines by one JSON file that states the evidence once."""
        rows = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        rows = [{key: value for key, value in row.items() if key != "evidence"} for row in rows]
        content = json.dumps({**self.evidence, "rows": [row for row in rows if "progress" not in row]}, indent=1)
        self.file.with_suffix(".json").write_text(content + "\n")
        self.file.unlink(missing_ok=True)


Part = Callable[[Records, Namespace, float], None]
"""Measures one part. Called with where it records, the command's options, and the monotonic second at which it ends."""


def in_short(fault: Exception) -> str:
    """An error as a record keeps it."""
    return f"{type(fault).__name__}: {fault}"[:300]

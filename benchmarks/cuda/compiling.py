"""Filling torch's cache on disk with the compiled code of every case, in processes side by side.

`python -m benchmarks.cuda.compiling NET BATCH WHO` is one of these processes.
"""

import subprocess
import sys
import time
from argparse import Namespace

from benchmarks.cuda.contenders import CASES, contenders
from benchmarks.cuda.device import allow_recompilations, wait
from benchmarks.cuda.records import Records


def compile_all(record: Records, asked: Namespace, deadline: float) -> None:
    """Take one step of each case's compiled contenders, in a process each; what they leave is the cache."""
    children: dict[tuple[str, int, str], tuple[float, subprocess.Popen[bytes]]] = {}
    for net, batch_size in () if asked.smoke else CASES:
        for who in ("plusx, compiled", "compiled graph bf16"):
            command = [sys.executable, "-m", "benchmarks.cuda.compiling", net, str(batch_size), who]
            children[net, batch_size, who] = time.perf_counter(), subprocess.Popen(command)
    for (net, batch_size, who), (began, child) in children.items():
        try:
            code: int | None = child.wait(timeout=max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            code = None
        record(compiled=who, net=net, batch=batch_size, code=code, within_seconds=time.perf_counter() - began)


def main(net: str, batch_size: str, who: str) -> None:
    """Make one contender and call it once."""
    allow_recompilations(fail_beyond=False)
    contenders(net, int(batch_size))[who]()()
    wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

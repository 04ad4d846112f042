"""`python -m benchmarks.training`: training speed beside plain PyTorch, written to results/training-speed.json.

Each case runs in a process of its own, so that oneDNN can be told to do without an instruction set: with
ONEDNN_MAX_CPU_ISA=AVX2 this machine stands in for one without bf16. Run it with nothing else running.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import evidence

RESULTS = Path(__file__).parents[1] / "results" / "training-speed.json"
CASES = [("resnet20", 128, 15, ""), ("resnet110", 128, 4, ""), ("resnet18", 16, 4, "")]
CASES += [("resnet20", 128, 15, "AVX2"), ("resnet20", 128, 15, "AVX512_CORE"), ("resnet18", 16, 4, "AVX2")]


def measure(net: str, batch: int, rounds: int, isa: str) -> dict[str, Any]:
    """One case: what `plusx benchmark train --json` says."""
    command = [sys.executable, "-m", "plusx", "benchmark", "train", "--json", "--quiet"]
    command += ["--net", net, "--batch", str(batch), "--rounds", str(rounds)]
    environ = {**os.environ, **({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    return {**json.loads(done.stdout.splitlines()[-1]), "onednn_max_cpu_isa": isa or "all"}


def main() -> None:
    """Measure every case, print each, write all."""
    measured = []
    for net, batch, rounds, isa in CASES:
        found = measure(net, batch, rounds, isa)
        low, high = found["ratio_range"]
        print(
            f"{net:10} batch {batch:4} isa {isa or 'all':12} {found['placement']['precision']}: "
            f"{found['images_per_s']:8.1f} images/s, {found['ratio_to_eager_fp32']:.2f}x ({low:.2f} to {high:.2f})",
            flush=True,
        )
        measured.append(found)
    RESULTS.write_text(json.dumps({**evidence(), "cases": measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What a CUDA machine makes of training: `python -m benchmarks gpu PART... [--out DIR] [--seconds N] [--smoke]`.

check     a captured step against the same step called; batches made on the device against those of the CPU; three
          kills
compile   fills torch's cache with the code of every net below, in processes side by side
speed     images/s of whole training steps: plusx, captured and also compiled, beside eager PyTorch, a CUDA graph of it,
          and a CUDA graph of what torch.compile makes. plusx makes and augments its batches within; the others have one
          batch ready on the device
side      several captured runs at once on one device, each on a stream and a thread of its own: images/s together
accuracy  `cifar10-94`, seed after seed, alone on the device: accuracy, seconds of training, seconds of all
command   the same as a command in a process of its own, from its start to its end
paper     He et al. (2015), Table 6, at the paper's budget, several nets side by side; nothing is chosen on test images

Every number is written at once, as a line of DIR/gpu-PART.jsonl with its evidence, so that a machine that goes away
takes nothing with it; a part that ends makes DIR/gpu-PART.json of its lines. Without PART it runs the first four, which
need no data: accuracy, command and paper need PLUSX_DATA. `--smoke` shrinks everything and runs on a CPU too.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.cuda.accuracy import accuracy, command
from benchmarks.cuda.check import check
from benchmarks.cuda.compiling import compile_all
from benchmarks.cuda.device import DEVICE, allow_recompilations
from benchmarks.cuda.paper import NETS, paper
from benchmarks.cuda.records import Part, Records
from benchmarks.cuda.side import side
from benchmarks.cuda.speed import speed
from benchmarks.harness import RESULTS

PARTS: Mapping[str, Part] = {
    "check": check,
    "compile": compile_all,
    "speed": speed,
    "side": side,
    "accuracy": accuracy,
    "command": command,
    "paper": paper,
}
WITHOUT_DATA = ("check", "compile", "speed", "side")


def main(arguments: Sequence[str]) -> None:
    """Run some parts, or, if none is named, those that need no data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=3600.0, help="after this many, nothing new is begun")
    parser.add_argument("--trainings", nargs="*", metavar="NET:SEED", help="of the part paper",
                        default=[f"{net}:{seed}" for seed in range(3) for net in NETS])  # fmt: skip
    parser.add_argument("--smoke", action="store_true", help="shrink everything, for a CPU")
    asked = parser.parse_args(arguments)
    if unknown := [part for part in asked.parts if part not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    if DEVICE != "cuda" and not asked.smoke:
        raise ValueError("this machine has no CUDA device; --smoke runs everything small on the CPU")
    if "PLUSX_DATA" not in os.environ and (needing := [part for part in asked.parts if part not in WITHOUT_DATA]):
        raise ValueError(f"{needing[0]} needs CIFAR-10; set PLUSX_DATA to the folder that has it")
    allow_recompilations(fail_beyond=True)
    deadline = time.monotonic() + asked.seconds
    for part in asked.parts or WITHOUT_DATA:
        began = time.perf_counter()
        record = Records(asked.out, part)
        PARTS[part](record, asked, deadline)
        record.gather()
        print(f"{part}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

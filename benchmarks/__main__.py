"""`python -m benchmarks NAME [NET...]`: measure, print, and write results/. Run it with nothing else running.

If nets are named, only these are measured. Training, profile, busy, inference, export, by_hand and serving write each
case as soon as it is measured, in the place of the same case on the same processor; rows of other processors stay.
There, a name may be narrower, as in `training resnet20:AVX2`, `inference resnet50:1` or `serving resnet20:peers`, and
export takes runs as well. The other benchmarks write nothing if nets are named. What follows gpu and unmoved are
options of their own.
"""

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

NAMES = {
    "training": "training steps beside plain PyTorch, torch.compile, torchvision and timm",
    "nets": "forward and backward of each net beside torchvision's or timm's",
    "profile": "where the time of a training step goes, and how far the machine's ceilings are",
    "busy": "training steps beside other busy programs, ours and plain PyTorch's",
    "depth": "time and memory of training steps from 20 to 1202 layers",
    "accuracy": "time from nothing to an accuracy on CIFAR-10; takes an hour",
    "finetune": "fine-tuning beside training from random weights for the same time; takes two hours",
    "kernels": "test accuracy on CIFAR-10 with our kernels and with PyTorch's; takes an hour",
    "gpu": "captured training steps on a CUDA machine; python -m benchmarks.gpu --help",
    "inference": "images classified in a second beside torchvision, torch.compile, ONNX Runtime and OpenVINO",
    "export": "size and largest difference of every net's exported files; for runs, what int8 costs",
    "by_hand": "exported files beside the same nets exported by hand, in ONNX Runtime and OpenVINO",
    "serving": "the server under load beside LitServe and a plain handler of FastAPI",
    "reading": "training batches out of image files beside torchvision's loader",
    "unmoved": "whether two commits train to the same weights; python -m benchmarks unmoved --help",
}
APART = ("gpu", "unmoved")
"""Not among `all`: the first needs a CUDA device, the second needs to know two commits."""


def main(arguments: Sequence[str]) -> None:
    """Run one benchmark, or all in turn. A user's mistake becomes one sentence and exit code 2."""
    if not arguments:
        for name, what in {**NAMES, "all": f"every one of these but {' and '.join(APART)}"}.items():
            print(f"{name:11}{what}")
        return
    name, *nets = arguments
    try:
        if name == "all" and nets:
            raise ValueError("all takes no nets; name one benchmark")
        for each in [n for n in NAMES if n not in APART] if name == "all" else [known(name)]:
            import_module(f"benchmarks.{each}").main(nets)
    except (ValueError, OSError) as fault:
        print(f"benchmarks: {' '.join(str(fault).split())}", file=sys.stderr)
        sys.exit(2)


def known(name: str) -> str:
    """The name, if there is such a benchmark."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, [*NAMES, "all"], n=1)
        raise ValueError(f"unknown benchmark {name!r}; " + (f"did you mean {near[0]!r}?" if near else ", ".join(NAMES)))
    return name


if __name__ == "__main__":
    main(sys.argv[1:])

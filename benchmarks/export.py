"""Every net of the catalog as an exported file; results/export.json. And runs in 8 bits; results/export-int8.json.

`python -m benchmarks export [NET...]` exports each net, at the catalog's input, to ONNX, OpenVINO and PyTorch, and
compares it on drawn images: the size of the file, the largest difference of a logit, and the seconds of it all. Weights
are random, and batch norm's statistics are those of drawn images, so that logits are of a trained net's size.

`python -m benchmarks export RUN...` exports trained runs, also in 8 bits, and measures what is lost of their accuracy
on their own validation images.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

import plusx
from benchmarks.harness import only, write_case
from plusx.data.preprocess import Preprocess
from plusx.deploy.export.forms import FORMS, Form, Run
from plusx.deploy.export.program import as_input, capture
from plusx.deploy.export.verify import SIZES, Verified, drawn_images, verify
from plusx.nets import build, entry
from plusx.weights.presets import IMAGENET_MEAN, IMAGENET_STD, channelwise

CASES = tuple((name,) for name in plusx.list_nets())
COMPARED = sum(SIZES)
"""Drawn images: a batch of each size."""
ALL = 100.0
"""Percentage points that int8 may cost here, where the cost is what is measured."""


def main(wanted: Sequence[str] = ()) -> None:
    """Measure every net, or the nets or the runs that are named; print and write each."""
    for name in [each for each in wanted if (Path(each) / "card.json").is_file()]:
        case = measure_run(Path(name))
        print(in_words(case), flush=True)
        write_case("export-int8", case)
    nets = [each for each in wanted if not (Path(each) / "card.json").is_file()]
    if nets or not wanted:
        for (net,) in only(CASES, nets):
            case = measure(net)
            print(in_words(case), flush=True)
            write_case("export", case)


def measure(name: str, forms: Mapping[str, Form] = FORMS, side: int | None = None) -> dict[str, Any]:
    """Export a net to each form, and compare each with it.

    Args:
        name: Catalog name.
        forms: Which.
        side: Of the images, in pixels; the catalog's if not given.
    """
    preprocess = ready_for(name, side)
    net = settled(build(name), preprocess)
    began = time.perf_counter()
    program = capture(net, preprocess, pixels="uint8", batch=None)
    seconds = {"capture": time.perf_counter() - began}
    found: dict[str, Any] = {}
    for what, form in forms.items():
        with TemporaryDirectory() as folder:
            file, began = Path(folder) / f"net{form.suffix}", time.perf_counter()
            form.save(form.make(program), file, {})
            seconds[what] = time.perf_counter() - began
            runtimes = {by: partial(_logits, run(file, None)) for by, run in form.installed()}
            verified = compare(net, preprocess, runtimes)
            size = sum(each.stat().st_size for each in form.files(file))
            found[what] = {"size_bytes": size, "largest_difference": verified.largest_difference}
            found[what]["runtimes"] = list(verified.runtimes)
            largest = verified.largest_logit
    return {"net": name, "side": preprocess.size[0], "largest_logit": largest, "forms": found, "seconds": seconds}


def compare(net: nn.Module, preprocess: Preprocess, runtimes: Mapping[str, Callable[[Tensor], Tensor]]) -> Verified:
    """Compare a file with a net on drawn images, in batches of 1, 3 and 8."""
    images = drawn_images((preprocess.channels, *preprocess.size), COMPARED)
    return verify(net, preprocess, runtimes, images, None, source="drawn images")


def ready_for(name: str, side: int | None = None) -> Preprocess:
    """A preprocessing of the size that a net takes, with ImageNet's mean and deviation."""
    channels, height, _ = entry(name).input_shape
    mean, std = (values if channels == 3 else values[:1] * channels for values in (IMAGENET_MEAN, IMAGENET_STD))
    return channelwise(side or height, mean, std, "ImageNet's")


@torch.no_grad()
def settled(net: nn.Module, preprocess: Preprocess) -> nn.Module:
    """The net in evaluation mode, with the statistics that its batch norms have of drawn images.

    Args:
        net: With random weights; it is changed.
        preprocess: The net's.
    """
    images = drawn_images((preprocess.channels, *preprocess.size))
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    net.eval()
    for norm in norms:
        norm.momentum = None  # the mean over the batches
        norm.reset_running_stats()
        norm.train()
    while batch := list(islice(images, SIZES[-1])):
        net(preprocess.normalise(torch.stack(batch)))
    return net.eval()


def measure_run(run: Path) -> dict[str, Any]:
    """Export a run to ONNX and OpenVINO, in fp32 and in 8 bits."""
    _, card = plusx.load(run)
    found: dict[str, Any] = {}
    accuracy, images, source = None, 0, ""
    for to in ("onnx", "openvino"):
        for int8 in (False, True):
            with TemporaryDirectory() as folder:
                out = Path(folder) / f"net{FORMS[to].suffix}"
                exported = plusx.export(run, to, out=out, int8=int8, max_drop=ALL, progress=False)
                verified = exported.verified
                accuracy, images, source = verified.accuracy, verified.images, verified.source
                found[f"{to} {'int8' if int8 else 'fp32'}"] = {
                    "size_bytes": exported.size_bytes,
                    "accuracy": verified.exported_accuracy,
                    "drop_points": verified.drop,
                    "largest_difference": verified.largest_difference,
                }
    about = {"net": card.recipe.net.name, "data": Path(str(card.source["name"])).name}
    return {**about, "images": images, "split": source, "accuracy": accuracy, "forms": found}


def in_words(case: Mapping[str, Any]) -> str:
    """A case as lines of text."""
    lines = [case["net"]]
    for what, found in case["forms"].items():
        line = f"  {what:14}{found['size_bytes'] / 2**20:8.1f} MB, differs by {found['largest_difference']:.1e}"
        if found.get("accuracy") is not None:
            line += f", accuracy {100 * found['accuracy']:.2f} % ({-found['drop_points']:+.2f} points)"
        lines.append(line)
    return "\n".join(lines)


def _logits(run: Run, pixels_BCHW: Tensor) -> Tensor:
    return torch.from_numpy(run(as_input(pixels_BCHW, "uint8").numpy()))

"""What exported files cost: ours beside the same net exported by hand; results/by-hand.json.

By hand is what the documentation of PyTorch and of OpenVINO shows: the net alone, which is given normalised floats.
Ours are given pixels, and scale and normalise them. All files are run by the same runtime, with its defaults, in one
process, in turns. `python -m benchmarks by_hand resnet50:1` measures one case.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.export import ready_for, settled
from benchmarks.harness import has_case, only, write_case
from plusx.deploy.export.forms import FORMS
from plusx.deploy.export.metadata import Pixels
from plusx.deploy.export.program import as_input, capture
from plusx.deploy.export.verify import drawn_images
from plusx.nets import build
from plusx.placement.inference.openvino import core, without_reports
from plusx.placement.turns import take_turns

CASES = tuple((net, batch) for net in ("resnet20", "resnet50") for batch in (1, 8))
ROUNDS = 15
PIXELS: tuple[Pixels, ...] = ("uint8", "float")
BY_HAND = "by hand"
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


def main(wanted: Sequence[str] = ()) -> None:
    """Measure every case that results/ does not have yet, or those that are named; print and write each."""
    for net, batch in only(CASES, wanted):
        about = {"net": net, "batch": batch}
        if not wanted and has_case("by-hand", about):
            continue
        case = {**about, "rounds": ROUNDS, "runtimes": {to: measure(net, batch, to) for to in RUNTIMES}}
        print(json.dumps(case, indent=1), flush=True)
        write_case("by-hand", case)


def measure(name: str, batch: int, to: str) -> dict[str, Any]:
    """Milliseconds of a call of each file, and how many times as fast ours are as that by hand."""
    with TemporaryDirectory() as folder:
        turns = take_turns(contenders(name, batch, to, Path(folder)), rounds=ROUNDS)
    found: dict[str, Any] = {who: {"ms": [1e3 * each for each in turns.seconds[who]]} for who in turns.seconds}
    for pixels in PIXELS:
        ratio = turns.ratio(pixels, BY_HAND)
        found[pixels]["as_fast"] = [ratio.median, ratio.low, ratio.high]
    return found


def contenders(name: str, batch: int, to: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Calls that give the logits of the same images, of files in a folder."""
    preprocess = ready_for(name)
    net = settled(build(name), preprocess)
    pixels_BCHW = torch.stack(list(drawn_images((preprocess.channels, *preprocess.size), batch)))
    calls = {BY_HAND: by_hand(net, preprocess.normalise(pixels_BCHW), to, folder)}
    for pixels in PIXELS:
        file = folder / f"{pixels}{FORMS[to].suffix}"
        FORMS[to].save(FORMS[to].make(capture(net, preprocess, pixels=pixels, batch=None)), file, {})
        run = FORMS[to].runtimes[RUNTIMES[to]](file, None)
        calls[pixels] = partial(run, as_input(pixels_BCHW, pixels).numpy())
    return calls


def by_hand(net: nn.Module, x_BCHW: Tensor, to: str, folder: Path) -> Callable[[], Any]:
    """A call of the net, as somebody exports and runs it who has its input normalised."""
    if to == "openvino":
        openvino = without_reports("openvino")
        model, file = openvino.convert_model(net, example_input=x_BCHW), folder / "hand.xml"
        openvino.save_model(model, file, compress_to_fp16=False)
        request = core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
        return lambda: request.infer([x_BCHW.numpy()])[0]
    import onnxruntime

    shapes = ({0: torch.export.Dim("batch", min=1)},)
    example = torch.cat([x_BCHW] * 2)  # a size of 1 would be taken for one that never changes
    torch.onnx.export(
        net, (example,), folder / "hand.onnx", input_names=["x"], dynamic_shapes=shapes, dynamo=True, verbose=False
    )
    session = onnxruntime.InferenceSession(folder / "hand.onnx", providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x_BCHW.numpy()})[0]

"""The short script that comes with an exported file: it answers as `plusx predict` does, and needs no plusx.

It reads an image, brings it to the input's size as the run's `Preprocess` does, asks the file, and prints the likeliest
classes. What it leaves out is what `plusx.data.decode` does for rare files: CMYK, 16 bits, and damaged metadata.
"""

from plusx.data.preprocess import Preprocess
from plusx.deploy.export.metadata import FOLDER, INPUT, OUTPUT, Metadata

_HEAD = """# Classifies images with {file}: python {script} IMAGE...
# Needs numpy, Pillow and {runtime}, not plusx.
import json
import sys
from pathlib import Path

import numpy as np
{imports}
from PIL import Image, ImageOps

file = str(Path(__file__).with_name({quoted}))
{opening}
classes, temperature = json.loads(facts["class_names"]), json.loads(facts["temperature"])


def predict(image_file):
    image = Image.open(image_file)
    image.draft(None, [int(side * min(1, {detail} / min(image.size))) for side in image.size])
    image = ImageOps.exif_transpose(image).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("{mode}")
{fitting}
    pixels = np.array(image, dtype=np.uint8).reshape(1, {height}, {width}, {channels})
{running}
    logits = logits.astype(np.float64) / temperature
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return [(classes[k], float(probabilities[k])) for k in np.argsort(-probabilities, kind="stable")[:5]]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        best = predict(name)
        {answer}
        print(f"{{name}}: {{unknown}}" + ", ".join(f"{{c}} {{100 * p:.1f}} %" for c, p in best))
"""
_OPENING = {
    "onnx": (
        "onnxruntime",
        "import onnxruntime",
        'net = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])\n'
        "facts = net.get_modelmeta().custom_metadata_map",
    ),
    "openvino": (
        "openvino",
        "import openvino",
        "net = openvino.Core().read_model(file)\n"
        f'facts = {{key: value.astype(str) for key, value in net.get_rt_info("{FOLDER}").astype(dict).items()}}\n'
        'net = openvino.Core().compile_model(net, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
    ),
    "torch": (
        "torch",
        "import torch",
        f'extra = {{"{FOLDER}.json": ""}}\n'
        "net = torch.export.load(file, extra_files=extra).module()\n"
        f'facts = json.loads(extra["{FOLDER}.json"])',
    ),
    "compiled": (
        "torch",
        "import zipfile\n\nimport torch\nfrom torch._inductor import aoti_load_package",
        "net = aoti_load_package(file)\n"
        "with zipfile.ZipFile(file) as package:\n"
        f'    named = next(each for each in package.namelist() if each.endswith("extra/{FOLDER}.json"))\n'
        "    facts = json.loads(package.read(named))",
    ),
    "torchvision": (
        "torchvision",
        "import torch\nimport torchvision\nfrom safetensors import safe_open\nfrom safetensors.torch import load_file",
        "net = torchvision.models.get_model({arguments}).eval()\n"
        "net.load_state_dict(load_file(file), strict=True)\n"
        'facts = safe_open(file, "pt").metadata()',
    ),
    "timm": (
        "timm",
        "import timm\nimport torch\nfrom safetensors import safe_open\nfrom safetensors.torch import load_file",
        "net = timm.create_model({arguments}).eval()\n"
        "net.load_state_dict(load_file(file), strict=True)\n"
        'facts = safe_open(file, "pt").metadata()',
    ),
}
_RUNNING = {
    "onnx": f'    logits = net.run(["{OUTPUT}"], {{"{INPUT}": pixels}})[0][0]',
    "openvino": "    logits = net([pixels])[0][0]",
    "torch": "    with torch.inference_mode():\n        logits = net(torch.from_numpy(pixels))[0].numpy()",
}
_STATE_DICT = """    spec = json.loads(facts["preprocess"])
    mean, std = (np.array(spec[key], np.float32) for key in ("mean", "std"))
    mean, std = (each.reshape(each.shape if each.ndim == 3 else (-1, 1, 1)) for each in (mean, std))
    x = (pixels.transpose(0, 3, 1, 2).astype(np.float32) - 255 * mean) / (255 * std)
    with torch.inference_mode():
        logits = net(torch.from_numpy(x))[0].numpy()"""


def script(to: str, file: str, name: str, metadata: Metadata, arguments: str = "") -> str:
    """A script of Python that predicts with an exported file beside it.

    Args:
        to: onnx, openvino, torch, compiled, torchvision or timm.
        file: The name of the exported file.
        name: The script's own.
        metadata: The file's.
        arguments: What a library's net is built with.
    """
    preprocess, calibration = metadata.preprocess, metadata.calibration
    runtime, imports, opening = _OPENING[to]
    running = _STATE_DICT
    if to in ("onnx", "openvino", "torch", "compiled"):
        running = _RUNNING["torch" if to == "compiled" else to]
        if metadata.input != "uint8":
            running = "    pixels = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255\n" + running
        if metadata.batch not in (None, 1):
            running = f"    pixels = np.repeat(pixels, {metadata.batch}, 0)\n" + running
    rejection = calibration.rejection if calibration else None
    answer = 'unknown = ""'
    if rejection is not None:
        answer = f'unknown = "unknown, perhaps " if best[0][1] < {rejection.threshold!r} else ""'
    height, width = preprocess.size
    return _HEAD.format(
        file=file,
        quoted=repr(file),
        script=name,
        runtime=runtime,
        imports=imports,
        opening=opening.format(arguments=arguments) if arguments else opening,
        detail=2 * max(height, width),  # as `decode` reads a JPEG
        mode="L" if preprocess.channels == 1 else "RGB",
        fitting="\n".join(f"    {line}" for line in _fitting(preprocess)),
        height=height,
        width=width,
        channels=preprocess.channels,
        running=running,
        answer=answer,
    )


def _fitting(preprocess: Preprocess) -> list[str]:
    """Lines that bring `image` to the size of the input."""
    (height, width), how = preprocess.size, f"Image.Resampling.{preprocess.interpolation.upper()}"
    match preprocess.fit:
        case "crop":
            share = "" if preprocess.crop_fraction == 1 else f"{preprocess.crop_fraction!r} * "
            return [
                f"scale = {share}min(image.width / {width}, image.height / {height})",
                f"left, upper = (image.width - scale * {width}) / 2, (image.height - scale * {height}) / 2",
                f"box = (left, upper, left + scale * {width}, upper + scale * {height})",
                f"image = image.resize(({width}, {height}), {how}, box=box)",
            ]
        case "pad":
            return [
                f"scale = min({width} / image.width, {height} / image.height)",
                "inside = [max(1, round(scale * side)) for side in image.size]",
                f"small, image = image.resize(inside, {how}), Image.new(image.mode, ({width}, {height}))",
                f"image.paste(small, (({width} - small.width) // 2, ({height} - small.height) // 2))",
            ]
        case _:
            return [f"image = image.resize(({width}, {height}), {how})"]

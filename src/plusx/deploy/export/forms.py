"""The forms of an exported graph: how each is written, and how what was written is run.

The numbers are computed in fp32 everywhere: OpenVINO, left to itself, takes bf16 where the processor has it.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import importlib
import io
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from plusx.deploy.export.metadata import FOLDER, INPUT, OUTPUT
from plusx.placement.inference.openvino import INSTALL, core, is_installed, without_reports

Run = Callable[[np.ndarray], np.ndarray]
"""A batch of images as the graph takes them to its float32 logits, B x K."""


@dataclass(frozen=True)
class Form:
    """One form of an exported graph."""

    suffix: str
    """Of the file that is opened."""
    needs: tuple[str, ...]
    """Packages, without which nothing is written."""
    make: Callable[[ExportedProgram], Any]
    """Makes of a graph what is saved; int8 is made of that."""
    save: Callable[[Any, Path, Mapping[str, str]], None]
    """Writes it with texts that a program reads."""
    runtimes: Mapping[str, Callable[[Path, int | None], Run]]
    """What runs the file, by the package's name, with so many threads or with all; the first is what it is made for."""
    beside: tuple[str, ...] = ()
    """Suffixes of further files, which belong to it."""

    def require_installed(self, *also: str) -> None:
        """Raises ValueError when a package is missing that it needs."""
        needed = tuple(dict.fromkeys([*self.needs, *also]))
        if not is_installed(*needed):
            raise ValueError(f"this export needs {_listed(needed)}; install them: {INSTALL}")

    def installed(self) -> Iterator[tuple[str, Callable[[Path, int | None], Run]]]:
        """The runtimes that are there; the first is what the form is made for."""
        return ((name, run) for name, run in self.runtimes.items() if is_installed(name))

    def files(self, file: Path) -> list[Path]:
        """All files of an export; the one that is opened comes last."""
        return [*(file.with_suffix(suffix) for suffix in self.beside), file]


def onnx_model(program: ExportedProgram) -> Any:
    """A graph as an ONNX model, with its input and its output named; batch norms are in the convolutions before them.

    Args:
        program: Of `capture`.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT], optimize=True
            )
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
    assert made is not None
    model = made.model_proto
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    if batch.dim_param:  # s77, from which nobody learns anything
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            for side in value.type.tensor_type.shape.dim[:1]:
                if side.dim_param:
                    side.dim_param = "batch"
    return model


def save_onnx(model: Any, file: Path, texts: Mapping[str, str]) -> None:
    """Write an ONNX model with its metadata.

    Args:
        model: Of `onnx_model`, or made of one.
        file: FILE.onnx.
        texts: The metadata.
    """
    for name, text in texts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, text
    file.write_bytes(model.SerializeToString())


def openvino_model(program: ExportedProgram) -> Any:
    """A graph as a model of OpenVINO, with its input and its output named.

    Args:
        program: Of `capture`.
    """
    openvino = without_reports("openvino")
    with warnings.catch_warnings(action="ignore"):
        model = openvino.convert_model(program)
    (sides,) = (node.meta["val"].shape for node in program.graph.nodes if node.name in _user_inputs(program))
    model.reshape([-1 if not isinstance(side, int) else side for side in sides])
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    return model


def save_openvino(model: Any, file: Path, texts: Mapping[str, str]) -> None:
    """Write a model of OpenVINO with its metadata: FILE.xml, and FILE.bin with the weights in fp32.

    Args:
        model: Of `openvino_model`, or made of one.
        file: FILE.xml.
        texts: The metadata.
    """
    for name, text in texts.items():
        model.set_rt_info(text, [FOLDER, name])
    try:
        without_reports("openvino").save_model(model, str(file), compress_to_fp16=False)
    except RuntimeError as fault:  # its only way to say that the disk is full
        raise OSError(f"OpenVINO cannot write {file.name}: {str(fault).splitlines()[0]}") from None


def as_it_is(program: ExportedProgram) -> ExportedProgram:
    """The graph itself, which PyTorch's packages hold.

    Args:
        program: Of `capture`.
    """
    return program


def save_torch(program: ExportedProgram, file: Path, texts: Mapping[str, str]) -> None:
    """Write a package of torch.export with its metadata.

    Args:
        program: Of `capture`.
        file: FILE.pt2.
        texts: The metadata.
    """
    written = io.BytesIO()
    torch.export.save(program, written, extra_files={f"{FOLDER}.json": json.dumps(dict(texts))})
    file.write_bytes(written.getvalue())


def save_compiled(program: ExportedProgram, file: Path, texts: Mapping[str, str]) -> None:
    """Write a package of AOTInductor: code for this kind of processor, with its weights and its metadata.

    Args:
        program: Of `capture`.
        file: FILE.pt2.
        texts: The metadata.

    Raises:
        ValueError: There is no C++ compiler, or it fails.
    """
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise ValueError("--compile needs a C++ compiler (g++ or clang++), and none is found; without it: --to torch")
    import zipfile

    from torch._inductor import aoti_compile_and_package

    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            aoti_compile_and_package(program, package_path=str(file))
    except Exception as fault:  # the compiler's, which are many
        reason = (str(fault) or type(fault).__name__).splitlines()[0]
        raise ValueError(f"AOTInductor cannot compile this net: {reason}; without --compile: --to torch") from None
    with zipfile.ZipFile(file, "a") as package:
        root = package.namelist()[0].partition("/")[0]
        package.writestr(f"{root}/extra/{FOLDER}.json", json.dumps(dict(texts)))


def run_onnxruntime(file: Path, threads: int | None) -> Run:
    """ONNX Runtime on the CPU.

    Args:
        file: FILE.onnx.
        threads: Processors; None leaves the number to the runtime.
    """
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        (logits_BK,) = session.run([OUTPUT], {INPUT: images})
        return np.asarray(logits_BK)

    return run


def run_openvino(file: Path, threads: int | None) -> Run:
    """OpenVINO on the CPU, in fp32.

    Args:
        file: FILE.xml or FILE.onnx.
        threads: As for `run_onnxruntime`.
    """
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    request = core().compile_model(core().read_model(str(file)), "CPU", settings).create_infer_request()

    def run(images: np.ndarray) -> np.ndarray:
        (logits_BK,) = request.infer([np.ascontiguousarray(images)]).values()
        return np.array(logits_BK)

    return run


def run_torch(file: Path, threads: int | None) -> Run:
    """PyTorch, operator by operator.

    Args:
        file: FILE.pt2.
        threads: Unused: they are a property of the calling thread.
    """
    module = torch.export.load(file).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits_BK: torch.Tensor = module(torch.from_numpy(images))
        return logits_BK.numpy()

    return run


def run_compiled(file: Path, threads: int | None) -> Run:
    """The code that AOTInductor made.

    Args:
        file: FILE.pt2.
        threads: As for `run_torch`.
    """
    from torch._inductor import aoti_load_package

    code = aoti_load_package(str(file))

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits_BK: torch.Tensor = code(torch.from_numpy(images))
        return logits_BK.numpy()

    return run


def _user_inputs(program: ExportedProgram) -> Sequence[str]:
    return program.graph_signature.user_inputs


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


FORMS: Mapping[str, Form] = {
    "onnx": Form(
        ".onnx",
        ("onnx", "onnxscript", "onnxruntime"),
        onnx_model,
        save_onnx,
        {"onnxruntime": run_onnxruntime, "openvino": run_openvino},
    ),
    "openvino": Form(
        ".xml",
        ("openvino",),
        openvino_model,
        save_openvino,
        {"openvino": run_openvino},
        (".bin",),
    ),
    "torch": Form(".pt2", (), as_it_is, save_torch, {"torch": run_torch}),
}
"""By what --to names."""
COMPILED = Form(".pt2", (), as_it_is, save_compiled, {"torch": run_compiled})
"""--to torch --compile."""

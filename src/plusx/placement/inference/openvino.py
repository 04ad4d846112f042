"""A trained net compiled by OpenVINO: fp32, bf16, or int8 calibrated on images.

OpenVINO is an extra. Where it is not installed, nothing here is used except for int8, which asks for it.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import importlib
import importlib.util
import io
import logging
import sys
import warnings
from collections import deque
from collections.abc import Iterable
from contextlib import redirect_stdout
from functools import cache
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16", "int8"]
INSTALL = "pip install 'plusx[export]'"
_MAKING = Lock()


def is_installed(*names: str) -> bool:
    """Whether packages are installed; none is imported.

    Example:
        >>> is_installed("torch"), is_installed("torch", "no_such_package")
        (True, False)
    """
    return all(importlib.util.find_spec(name) is not None for name in names)


def without_reports(name: str) -> Any:
    """A package of OpenVINO's, which would otherwise report its use to Google Analytics: plusx opens no connection."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
    return importlib.import_module(name)


def core() -> Any:
    """OpenVINO's `Core`, one for the life of the process.

    Each gives the thread that makes it another stack for signals, and takes it back in whichever thread frees it. Two
    that go in the order in which they came, or one that goes in another thread, leave a thread with a stack that is
    gone, and its next signal, such as Ctrl-C, ends the process with a segmentation fault.
    """
    with _MAKING:
        return _only_core()


@cache
def _only_core() -> Any:
    return without_reports("openvino").Core()


class OpenVino:
    """A net compiled by OpenVINO: float32 images in, float32 logits out. Any number of threads may call it.

    Args:
        net: In evaluation mode, on the CPU.
        input_shape: Channels, height and width.
        precision: fp32, bf16 or int8.
        threads: Processors; each is a stream of its own when as many threads call.
        batch: Images in most calls. Code is compiled for this number and for one image, since fixed shapes are faster;
            any other number is computed one by one.
        calibration: Normalised images, 1 x C x H x W each; their activations give the scales of int8.

    Raises:
        ValueError: OpenVINO, or for int8 NNCF, is not installed.
    """

    def __init__(
        self,
        net: nn.Module,
        input_shape: tuple[int, int, int],
        *,
        precision: Precision,
        threads: int,
        batch: int,
        calibration: Iterable[Tensor] = (),
    ) -> None:
        needed = ("openvino", "nncf") if precision == "int8" else ("openvino",)
        if not is_installed(*needed):
            raise ValueError(f"{precision} by OpenVINO needs {' and '.join(needed)}; install them: {INSTALL}")
        openvino = without_reports("openvino")
        with warnings.catch_warnings(action="ignore"):  # PyTorch's, on how OpenVINO traces
            model = openvino.convert_model(net, example_input=torch.zeros(1, *input_shape))
        model.reshape([-1, *input_shape])
        if precision == "int8":
            model = quantised(model, (x_1CHW.numpy() for x_1CHW in calibration))
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
        }

        @cache
        def requests(size: int) -> _Requests:
            model.reshape([size, *input_shape])
            return _Requests(core().compile_model(model, "CPU", settings))

        self._batch, self._requests, self._alone = batch, requests, Lock()

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        size = self._batch if len(x_BCHW) == self._batch else 1
        with self._alone:
            requests = self._requests(size)
        return torch.cat([requests(each) for each in x_BCHW.split(size)])


class _Requests:
    """The requests of a compiled model, each with memory for one batch; one thread at a time uses one."""

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._idle = compiled, deque[Any]()

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        (logits_BK,) = request.infer([x_BCHW.contiguous().numpy()], share_inputs=True).values()
        self._idle.append(request)
        return torch.from_numpy(logits_BK)


def quantised(model: Any, calibration: Iterable[np.ndarray]) -> Any:
    """A model of OpenVINO with weights and activations in 8 bits; NNCF chooses what stays in more.

    Args:
        model: Left as it is.
        calibration: What the model takes; the activations that it computes of these give the scales.
    """
    nncf = without_reports("nncf")
    for name in ("nncf", "torch.utils.cpp_extension"):  # the latter, on CUDA, which nothing here needs
        logging.getLogger(name).setLevel(logging.ERROR)
    images = list(calibration)
    with redirect_stdout(io.StringIO()):  # a progress bar in the midst of a program's results
        return nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))

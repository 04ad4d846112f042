"""Weights and activations of an exported graph in 8 bits.

Each runtime has its own quantiser: NNCF for OpenVINO, ONNX Runtime's for ONNX, which writes pairs of QuantizeLinear and
DequantizeLinear that every runtime reads. Scaling and normalisation stay in fp32, which cost nothing.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from plusx.deploy.export.metadata import INPUT
from plusx.placement.inference.openvino import quantised

NEEDS = {"onnx": ("onnxruntime",), "openvino": ("nncf",)}
"""By what --to names: the packages of the quantisers."""
_OPERATORS = ["Conv", "Gemm", "MatMul", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat"]


def quantise(to: str, model: Any, calibration: Iterable[np.ndarray]) -> Any:
    """A model in 8 bits.

    Args:
        to: onnx or openvino.
        model: In fp32, of that kind.
        calibration: Batches of images as the model takes them; what it computes of these gives the scales.
    """
    return quantised(model, calibration) if to == "openvino" else _quantised_onnx(model, calibration)


def _quantised_onnx(model: Any, calibration: Iterable[np.ndarray]) -> Any:
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({INPUT: batch} for batch in self.batches), None)

    log, level = logging.getLogger(), logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "int8.onnx"
        log.setLevel(logging.ERROR)  # it advises on the root logger
        try:
            quantization.quantize_static(
                model,
                file,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                per_channel=True,
                # 7 bits of a weight: without VNNI, sums of 8 bits overflow in silence on another machine.
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        finally:
            log.setLevel(level)
        return onnx.load(str(file))

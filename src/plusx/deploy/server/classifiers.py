"""What computes the classes: the net of a run, or the graph of an exported file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from plusx.analysis.cost import summarise
from plusx.data.preprocess import Preprocess
from plusx.deploy.predictor import Prediction, Predictor, ranked
from plusx.deploy.server.settings import Settings
from plusx.placement.inference.backend import BATCH
from plusx.placement.inference.openvino import INSTALL, is_installed
from plusx.runs.card import Card
from plusx.runs.metrics import name_of
from plusx.runs.store import load_run


class Classifier(Protocol):
    """What computes the classes of images; any number of threads may call it."""

    preprocess: Preprocess
    """How an image becomes pixels."""
    class_names: Sequence[str]
    batch_sizes: tuple[int, ...]
    """Numbers of images that it is prepared for, 1 among them."""
    facts: Mapping[str, Any]
    """What GET /v1/models says of it: net, params, macs, status and errors."""
    card: Card | None
    """Of a run."""
    about: Mapping[str, Any]
    """The card without paths of the machine that it was written on."""

    def predict_pixels(self, pixels: Sequence[Tensor], *, top_k: int) -> list[Prediction]:
        """The most probable classes of some images, uint8, C x H x W each."""

    def net(self) -> nn.Module | None:
        """The net itself, read from the disk, where there is one."""


def load_classifier(path: Path, settings: Settings) -> Classifier:
    """The classifier of a run directory or an exported file.

    Raises:
        ValueError: It cannot be used.
    """
    return OfFile(path) if path.suffix == ".onnx" else OfRun(path, settings)


class OfRun:
    """The classifier of a run directory."""

    def __init__(self, path: Path, settings: Settings) -> None:
        from plusx.deploy.export.metadata import shareable_card

        self._path, self._trust_code = path, settings.trust_code
        how: dict[str, Any] = {"precision": settings.precision, "device": settings.device}
        self._predictor = Predictor(path, **how, trust_code=self._trust_code)
        self.card: Card | None = self._predictor.card
        self.preprocess = self._predictor.card.preprocess
        self.class_names: Sequence[str] = self._predictor.card.class_names
        self.batch_sizes: tuple[int, ...] = self._predictor.batch_sizes
        self.about: Mapping[str, Any] = shareable_card(self._predictor.card)
        _, total = summarise(str(path), trust_code=self._trust_code)
        self.facts: Mapping[str, Any] = _facts(self.about, total.params, total.macs)

    def predict_pixels(self, pixels: Sequence[Tensor], *, top_k: int) -> list[Prediction]:
        """As for `Predictor`."""
        return self._predictor.predict_pixels(pixels, top_k=top_k)

    def net(self) -> nn.Module | None:
        """The net, on the CPU in evaluation mode."""
        return load_run(self._path, trust_code=self._trust_code)[0]


class OfFile:
    """The classifier of a file that `plusx export` wrote, computed by ONNX Runtime.

    Raises:
        ValueError: ONNX Runtime is not installed, or the file is not plusx's.
    """

    card: Card | None = None

    def __init__(self, path: Path) -> None:
        if not is_installed("onnx", "onnxruntime"):
            raise ValueError(f"{path} is computed by ONNX Runtime; install it: {INSTALL}")
        from plusx.deploy.export.forms import run_onnxruntime
        from plusx.deploy.export.metadata import read_metadata

        self._metadata = read_metadata(path)
        self._run = run_onnxruntime(path, 1)  # each thread that calls it is a processor by itself
        self.preprocess = self._metadata.preprocess
        self.class_names: Sequence[str] = self._metadata.class_names
        batch, self._pixels = self._metadata.batch, self._metadata.input or "uint8"
        self.batch_sizes: tuple[int, ...] = (1, 2, 4, BATCH) if batch is None else (1,) if batch == 1 else (1, batch)
        self.about: Mapping[str, Any] = self._metadata.card
        self.facts: Mapping[str, Any] = _facts(self.about, self.about["results"].get("params"), None)

    def predict_pixels(self, pixels: Sequence[Tensor], *, top_k: int) -> list[Prediction]:
        """As for `Predictor`."""
        from plusx.deploy.export.program import as_input

        size = self._metadata.batch or len(pixels)
        results: list[Prediction] = []
        for begin in range(0, len(pixels), size):
            batch = list(pixels[begin : begin + size])
            filled = torch.stack([*batch, *[batch[-1]] * (size - len(batch))])
            logits_BK = torch.from_numpy(self._run(as_input(filled, self._pixels).numpy()))[: len(batch)]
            results += ranked(logits_BK, self.class_names, self._metadata.calibration, top_k)
        return results

    def net(self) -> nn.Module | None:
        """A file has a graph only."""
        return None


def _facts(about: Mapping[str, Any], params: int | None, macs: int | None) -> Mapping[str, Any]:
    errors = {name_of(split, "error"): about["results"].get(name_of(split, "error")) for split in ("val", "test")}
    return {"net": about["net"], "params": params, "macs": macs, "status": about["status"], **errors}

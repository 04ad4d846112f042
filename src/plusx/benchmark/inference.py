"""How fast each form of a run predicts on this machine, in one interleaved run.

Every form has a process of its own, gets uint8 pixels of the input's size and gives logits; reading images is not
measured. One image is computed by all processors together. Of many, a runtime is given them at once and shares them out
as it likes; the `Predictor` takes a few at a time on each processor, as `plusx predict` does.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from plusx.benchmark.apart import Apart
from plusx.deploy.export.export import compared_images, export
from plusx.deploy.export.forms import FORMS, Run
from plusx.deploy.export.program import as_input
from plusx.deploy.predictor import Predictor
from plusx.placement.inference.backend import BATCH
from plusx.placement.machine import describe, memory_bytes, usable_cpus
from plusx.placement.turns import Spread
from plusx.progress import shown

SECONDS = 0.5
"""Of each measurement of a form, one of latency and one of throughput in every round."""
OURS = "plusx"
CONTENDERS = {
    "ONNX Runtime": ("onnx", False),
    "ONNX Runtime, int8": ("onnx", True),
    "OpenVINO": ("openvino", False),
    "OpenVINO, int8": ("openvino", True),
    "torch.export": ("torch", False),
}
"""Form to what is exported: where to, and whether in 8 bits."""


@dataclass(frozen=True)
class FormSpeed:
    """What was measured of one form."""

    precision: str
    p50_seconds: float
    """The median time of one image."""
    p99_seconds: float
    """The time that 99 of 100 images take at most."""
    images_per_s: Spread
    """At the batch size, over the rounds."""
    size_bytes: int
    """Of the files that are needed."""
    load_seconds: float
    memory_bytes: int
    """What loading and computing added to the process."""
    accuracy: float | None
    """On the images that the files were compared on; None where there is no labelled one at hand."""


@dataclass(frozen=True)
class InferenceSpeed:
    """The result of `benchmark_inference`."""

    run: Path
    batch_size: int
    rounds: int
    forms: Mapping[str, FormSpeed]
    left_out: Mapping[str, str]
    """Forms that could not be made, and why."""
    images: int
    source: str
    """Which images the accuracy was measured on."""
    machine: dict[str, str | int]

    def __repr__(self) -> str:
        fastest = max(self.forms, key=lambda name: self.forms[name].images_per_s.median)
        return f"<InferenceSpeed {self.run}: {fastest} is the fastest of {len(self.forms)} forms>"


def benchmark_inference(
    run: str | Path,
    *,
    batch_size: int = 32,
    rounds: int = 5,
    data_dir: str | Path | None = None,
    trust_code: bool = False,
    progress: bool | Callable[[int, int], None] = True,
) -> InferenceSpeed:
    """Export a run to every form, and time all of them and the `Predictor` in turn.

    What is int8 is measured whatever accuracy it costs; the result says how much that is. In a script of one's own, the
    call stands under `if __name__ == "__main__":`, as for anything that starts processes.

    Args:
        run: Run directory.
        batch_size: Images of a call, for the throughput.
        rounds: In each, every form is measured once, in alternating order.
        data_dir: Where the run's own images lie now, if not where they lay in training.
        trust_code: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the measurements done and the
            measurements in all.

    Raises:
        ValueError: The run cannot be used, or a number is below 1.
    """
    for name, value in (("batch", batch_size), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    path, where = Path(run), Path(data_dir) if data_dir is not None else None
    with ExitStack() as stack:
        report = stack.enter_context(shown(progress, f"{path.name}, batch {batch_size}", unit="measurements"))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        ours, images, source = _ours(path, where, trust_code)
        forms: dict[str, FormSpeed] = {OURS: ours}
        left_out: dict[str, str] = {}
        contenders = {OURS: Apart(_Timed, _predictor, str(path), trust_code)}
        shape = (0, 0, 0)
        for name, (to, int8) in CONTENDERS.items():
            out = folder / f"{to}-{int8}{FORMS[to].suffix}"
            how: dict[str, Any] = {"data_dir": where, "trust_code": trust_code, "progress": False}
            try:
                made = export(path, to, out=out, int8=int8, max_drop=100.0, **how)
            except ValueError as fault:  # a package or the images are missing
                left_out[name] = str(fault)
                continue
            preprocess = made.metadata.preprocess
            shape = (preprocess.channels, *preprocess.size)
            accuracy = made.verified.exported_accuracy
            forms[name] = replace(
                ours, precision=made.metadata.precision, size_bytes=made.size_bytes, accuracy=accuracy
            )
            contenders[name] = Apart(_Timed, _exported, to, str(made.file), shape)
        for each in contenders.values():
            stack.enter_context(each)
        loads = {name: each.ask(_Timed.loaded) for name, each in contenders.items()}
        latencies: dict[str, list[float]] = {name: [] for name in contenders}
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        done, total = 0, rounds * len(contenders)
        for number in range(rounds):
            for name in list(contenders) if number % 2 == 0 else reversed(contenders):
                latencies[name] += contenders[name].ask(_Timed.latency)
                rates[name].append(contenders[name].ask(partial(_rate, batch_size=batch_size)))
                done += 1
                report(done, total)
        for name, each in contenders.items():
            seconds = sorted(latencies[name])
            forms[name] = replace(
                forms[name],
                p50_seconds=seconds[len(seconds) // 2],
                p99_seconds=seconds[min(len(seconds) - 1, len(seconds) * 99 // 100)],
                images_per_s=Spread.of(rates[name]),
                load_seconds=loads[name],
                memory_bytes=each.ask(_Timed.memory),
            )
    return InferenceSpeed(path, batch_size, rounds, forms, left_out, images, source, describe())


def _ours(run: Path, data_dir: Path | None, trust_code: bool) -> tuple[FormSpeed, int, str]:
    """What is known of the `Predictor` without timing it; how many images its accuracy is of, and which."""
    with Predictor(run, trust_code=trust_code, device="cpu") as predictor:
        compared = compared_images(run, predictor.card, data_dir)
        right, seen, batch = 0, 0, []
        labels = torch.tensor(compared.labels or [])
        for number, pixels_CHW in enumerate(compared.pixels, start=1):
            batch.append(pixels_CHW)
            if compared.labels is not None and (len(batch) == BATCH or number == compared.count):
                guesses_B = predictor.logits(torch.stack(batch)).argmax(1)
                right += int((guesses_B == labels[seen : seen + len(batch)]).sum())
                seen, batch = seen + len(batch), []
        precision = predictor.placement.precision
    accuracy = right / seen if seen else None
    size = sum((run / file).stat().st_size for file in ("weights.safetensors", "card.json") if (run / file).exists())
    unknown = Spread(0.0, 0.0, 0.0)
    return FormSpeed(precision, 0.0, 0.0, unknown, size, 0.0, 0, accuracy), compared.count, compared.source


# ---- in the process of a form ----------------------------------------------------------------------------------------


class _Timed:
    """A form that was loaded in this process, and what can be asked of it."""

    def __init__(self, load: Callable[..., Any], *arguments: Any) -> None:
        before, began = memory_bytes(), time.perf_counter()
        self.one, self.many, self.image_CHW = load(*arguments)
        self.one(self.image_CHW[None])
        self.load_seconds, self._before = time.perf_counter() - began, before

    def loaded(self) -> float:
        """Seconds until the first answer was there, without importing packages of plusx."""
        return self.load_seconds

    def latency(self) -> list[float]:
        """Seconds of each of some calls with one image."""
        x_1CHW = self.image_CHW[None]
        seconds: list[float] = []
        for _ in range(3):
            self.one(x_1CHW)
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or not seconds:
            began = time.perf_counter()
            self.one(x_1CHW)
            seconds.append(time.perf_counter() - began)
        return seconds

    def rate(self, batch_size: int) -> float:
        """Images in a second, in batches of this size."""
        x_BCHW = self.image_CHW.expand(batch_size, -1, -1, -1).contiguous()
        self.many(x_BCHW)
        began, calls = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < SECONDS or not calls:
            self.many(x_BCHW)
            calls += 1
        return calls * batch_size / elapsed

    def memory(self) -> int:
        """Bytes that the process has grown by."""
        return max(0, memory_bytes() - self._before)


def _rate(timed: _Timed, batch_size: int) -> float:
    return timed.rate(batch_size)


def _predictor(run: str, trust_code: bool) -> tuple[Callable[[Tensor], object], Callable[[Tensor], object], Tensor]:
    predictor = Predictor(run, trust_code=trust_code, device="cpu")
    preprocess, streams = predictor.card.preprocess, predictor.streams

    def one(x_BCHW: Tensor) -> object:
        return streams.together(lambda: predictor.logits(x_BCHW))

    def many(x_BCHW: Tensor) -> object:
        return list(streams.apart(predictor.logits, x_BCHW.split(BATCH)))

    return one, many, _noise(preprocess.channels, *preprocess.size)


def _exported(
    to: str, file: str, shape: tuple[int, int, int]
) -> tuple[Callable[[Tensor], object], Callable[[Tensor], object], Tensor]:
    torch.set_num_threads(usable_cpus())
    run: Run = next(iter(FORMS[to].runtimes.values()))(Path(file), usable_cpus())

    def call(x_BCHW: Tensor) -> object:
        return run(as_input(x_BCHW, "uint8").numpy())

    return call, call, _noise(*shape)


def _noise(channels: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)

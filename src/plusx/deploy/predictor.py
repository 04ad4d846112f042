"""A run as a function from images to class probabilities.

On a CPU the net is frozen. One image is computed by all processors together; of many, each processor takes a few at a
time and does all there is to do with them, from reading the file to the probabilities. Only the images that are being
worked on are in memory, however many there are.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from plusx.data.decode import A_FOLDER, AnyImage, ImageLike, UndecodableError, as_source, name_of
from plusx.data.preprocess import Preprocess
from plusx.deploy.sample import training_sample
from plusx.placement.inference.backend import BATCH, Forward, choose_backend
from plusx.placement.inference.eager import Eager
from plusx.placement.inference.frozen import Frozen
from plusx.placement.inference.openvino import OpenVino
from plusx.placement.inference.streams import Streams
from plusx.placement.machine import tune_allocator
from plusx.placement.place import placement_after
from plusx.progress import shown
from plusx.runs.calibration import Calibration, calibrated
from plusx.runs.store import load_run, unfinished

PRECISIONS = ("auto", "fp32", "bf16", "int8")
MEASURED_FROM = 2_000
"""From this many images on, timing the backends pays for itself."""


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image, best first, with calibrated probabilities if the run is calibrated."""

    file: str
    """The image's file; empty where it is not known."""
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    unknown: bool = False
    """Whether the answer is `unknown`: the run has a threshold, and the first of the probabilities is below it."""


class Predictor:
    """A net, its preprocessing and its class names. Any number of threads may use one.

    The probabilities of an image do not depend on which images are predicted with it. In bf16 on AMX they do not depend
    on how many there are either; otherwise they may, in fp32 by some 1e-6.

    Args:
        run: Run directory. If the run was stopped, `note` says which weights are used.
        precision: fp32; bf16, which moves probabilities by some 1e-2 at most and hardly ever the most probable class;
            int8 by OpenVINO, calibrated on the run's own training images; or auto, the precision of the training: by
            default bf16 where the processor multiplies it in hardware.
        device: auto, cpu, cuda or mps; wherever the run was trained.
        images: About how many will be predicted; for many, the backends that are installed are timed first.
        trust_code: As for `load`.
        net: As for `load`.

    Raises:
        ValueError: The run cannot be used, or not in that precision.

    Example:
        >>> import plusx
        >>> run = plusx.train("digits", overrides={"steps": 2}, out="runs/digits", progress=False).run
        >>> with Predictor(run) as predictor:
        ...     prediction = predictor.predict(np.zeros((8, 8), dtype=np.uint8), top_k=3)
        >>> len(prediction.classes), sum(prediction.probabilities) < 1
        (3, True)
    """

    def __init__(
        self,
        run: str | Path,
        *,
        precision: str = "auto",
        device: str = "auto",
        images: int = 1,
        trust_code: bool = False,
        net: nn.Module | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
        net, self.card = load_run(Path(run), trust_code=trust_code, net=net)
        self.note = unfinished(Path(run), self.card)
        spec = self.card.recipe.placement
        asked: Any = {"auto": spec.precision, "int8": "fp32"}.get(precision, precision)
        self.placement = placement_after(
            dataclasses.replace(spec, precision=asked, kernels="plain"), "cpu" if precision == "int8" else device
        )
        self.streams = Streams(self.placement.threads)
        self._forward: Forward
        net = net.requires_grad_(False)
        input_shape = (self.card.preprocess.channels, *self.card.preprocess.size)
        if self.placement.device != "cpu":
            placed, its = self.placement.place(net), self.placement
            self.backend, self._forward = "eager", Eager(placed, device=its.device, precision=its.precision)
            return
        tune_allocator()
        if precision == "int8":
            normalise, threads = self.card.preprocess.normalise, self.placement.threads
            calibration = (normalise(pixels_CHW[None]) for pixels_CHW in training_sample(run, self.card))
            self._forward = OpenVino(
                net, input_shape, precision="int8", threads=threads, batch=BATCH, calibration=calibration
            )
            self.backend = "openvino"
        else:
            self.backend, self._forward = choose_backend(
                net,
                input_shape,
                precision="bf16" if self.placement.precision == "bf16" else "fp32",
                streams=self.streams,
                measure=images >= MEASURED_FROM,
            )

    def __repr__(self) -> str:
        return f"<Predictor of {self.card.in_words}: {self.backend}, {self.placement.precision}>"

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        """End its threads; they end as well when the predictor is no longer referred to."""
        self.streams.close()

    def predict(self, image: AnyImage, *, top_k: int = 5) -> Prediction:
        """The most probable classes of an image.

        Args:
            image: A file, the bytes of one, a PIL.Image, or a NumPy array: uint8, H x W x 3, H x W x 1 or H x W.
            top_k: How many classes; fewer when the net has fewer.

        Raises:
            UndecodableError: The image cannot be read.
            ValueError: It is no image, or an array of another type or shape.
        """
        k, source = _positive(top_k), as_source(image)
        (result,) = self.streams.together(lambda: self._predictions([source], k))
        if isinstance(result, UndecodableError):
            raise result
        return result

    def predict_many(
        self, images: AnyImage | Iterable[AnyImage], *, top_k: int = 5
    ) -> Iterator[Prediction | UndecodableError]:
        """The most probable classes of each image, in order; for one that cannot be read, the reason.

        Args:
            images: Images as `predict` takes them, which are taken as they are needed, or a single one.
            top_k: How many classes; fewer when the net has fewer.

        Raises:
            ValueError: One of them is no image, or an array of another type or shape.
        """
        threads, k, rest = self.placement.threads, _positive(top_k), map(as_source, _several(images))
        first = list(islice(rest, threads * BATCH))
        every = chain(first, rest)
        size = max(1, -(-len(first) // threads))  # every processor takes its share of a few images
        batches = iter(lambda: list(islice(every, size)), [])
        for results in self.streams.apart(lambda batch: self._predictions(batch, k), batches):
            yield from results

    def logits(self, pixels_BCHW: Tensor) -> Tensor:
        """What the net computes of images that went through the run's preprocessing, B x K in float32.

        Args:
            pixels_BCHW: uint8, as `card.preprocess.pixels` makes them.
        """
        return self._forward(self.card.preprocess.normalise(pixels_BCHW))

    def predict_pixels(self, pixels: Sequence[Tensor], *, top_k: int = 5) -> list[Prediction]:
        """The most probable classes of images that `card.preprocess.pixels` has read, computed in the caller's thread.

        Args:
            pixels: uint8, C x H x W each; at least one.
            top_k: How many classes; fewer when the net has fewer.
        """
        return self._computed(torch.stack(list(pixels)), _positive(top_k))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Numbers of images between which it changes at no cost; in between, fewer images or padding are faster."""
        if isinstance(self._forward, OpenVino):  # compiled for these
            return 1, BATCH
        if isinstance(self._forward, Frozen) and not self._forward.keeps_small_batches:
            return 1, BATCH
        return tuple(2**power for power in range(BATCH.bit_length()))

    def _predictions(self, sources: Sequence[ImageLike], top_k: int) -> list[Prediction | UndecodableError]:
        read = [_read(self.card.preprocess, source) for source in sources]
        pixels = [pixels_CHW for pixels_CHW in read if isinstance(pixels_CHW, Tensor)]
        computed = iter(self._computed(torch.stack(pixels), top_k) if pixels else ())
        return [
            each if isinstance(each, UndecodableError) else dataclasses.replace(next(computed), file=name_of(source))
            for source, each in zip(sources, read, strict=True)
        ]

    def _computed(self, pixels_BCHW: Tensor, top_k: int) -> list[Prediction]:
        return ranked(self.logits(pixels_BCHW), self.card.class_names, self.card.calibration, top_k)


def ranked(
    logits_BK: Tensor, class_names: Sequence[str], calibration: Calibration | None, top_k: int
) -> list[Prediction]:
    """What logits say of images whose files are not known.

    Args:
        logits_BK: float32.
        class_names: K of them.
        calibration: What turns them into probabilities to trust.
        top_k: How many classes; fewer when there are fewer.

    Example:
        >>> ranked(torch.tensor([[0.0, 9.0]]), ["cat", "dog"], None, 1)[0].classes
        ('dog',)
    """
    indices_BT = logits_BK.topk(min(top_k, len(class_names))).indices
    probabilities_BT = calibrated(logits_BK, calibration).gather(1, indices_BT).exp()
    rejection = calibration.rejection if calibration else None
    return [
        Prediction(
            "",
            tuple(class_names[index] for index in indices),
            tuple(probabilities),
            rejection is not None and probabilities[0] < rejection.threshold,
        )
        for probabilities, indices in zip(probabilities_BT.tolist(), indices_BT.tolist(), strict=True)
    ]


def predict(
    run: str | Path,
    images: AnyImage | Iterable[AnyImage],
    *,
    top_k: int = 5,
    precision: str = "auto",
    device: str = "auto",
    trust_code: bool = False,
    net: nn.Module | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> list[Prediction]:
    """The most probable classes of each image, as many predictions as images. `predict_files` takes folders as well.

    Args:
        run: Run directory.
        images: Files, the bytes of files, PIL.Images or NumPy arrays (uint8, H x W x 3, H x W x 1 or H x W), or a
            single one, for which the list has one element.
        top_k: How many classes; fewer when the net has fewer.
        precision: auto, fp32, bf16 or int8; see `Predictor`.
        device: auto, cpu, cuda or mps; wherever the run was trained.
        trust_code: As for `load`.
        net: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the images done and the images
            in all.

    Raises:
        ValueError: The run cannot be used, or an image cannot be read.

    Example:
        >>> import plusx
        >>> run = plusx.train("digits", overrides={"steps": 2}, out="runs/digits", progress=False).run
        >>> Image.new("L", (8, 8)).save("black.png")
        >>> one, other = predict(run, ["black.png", Image.new("L", (8, 8))])
        >>> one.file, one.probabilities == other.probabilities
        ('black.png', True)
    """
    every = list(_several(images))
    predictions = []
    with (
        shown(progress, "predicting", unit="images") as report,
        Predictor(
            run, precision=precision, device=device, images=len(every), trust_code=trust_code, net=net
        ) as predictor,
    ):
        for result in predictor.predict_many(every, top_k=top_k):
            if isinstance(result, UndecodableError):
                if result.reason == A_FOLDER:
                    raise ValueError(f"{result}; plusx.predict_files takes folders")
                raise result
            predictions.append(result)
            report(len(predictions), len(every))
    return predictions


def _several(images: AnyImage | Iterable[AnyImage]) -> Iterable[AnyImage]:
    if isinstance(images, str | Path | bytes | Image.Image | np.ndarray):
        return [images]
    if isinstance(images, Tensor) or not isinstance(images, Iterable):
        return [cast(AnyImage, images)]  # no image, which is refused when it is read
    return images


def _read(preprocess: Preprocess, source: ImageLike) -> Tensor | UndecodableError:
    try:
        return preprocess.pixels(source)
    except UndecodableError as fault:
        return fault


def _positive(top_k: int) -> int:
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be 1 or more")
    return top_k

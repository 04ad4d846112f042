"""A finished run as a function from pictures to class probabilities.

On a CPU the net is frozen. One picture is answered by all processors together; of many, each processor takes a few at a
time and does all there is to do with them, from reading the file to the probabilities. In memory are the pictures that
are being answered, however many there are.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import torch
from torch import Tensor, nn

from plusx.data.decode import UndecodableError
from plusx.data.images import spread
from plusx.data.preprocess import Preprocess
from plusx.placement.inference.backend import BATCH, Answers, chosen
from plusx.placement.inference.openvino import OpenVino
from plusx.placement.inference.streams import in_streams
from plusx.placement.place import Placement, choose_placement
from plusx.runs.card import Card
from plusx.runs.images import images_of
from plusx.runs.store import load_run, unfinished

PRECISIONS = ("auto", "fp32", "bf16", "int8")
CALIBRATION = 300
"""Training images that int8's scales are taken from: NNCF's own default."""
MEASURED_FROM = 2_000
"""Pictures from which the seconds that measuring the backends takes come back."""


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, best first."""

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


class Predictor:
    """A net, its preprocessing and its class names.

    A picture's answer does not depend on which pictures are asked for with it. In bf16 on AMX it does not depend on how
    many there are either; in fp32 it may, by some 1e-6 of a probability.

    Args:
        run: Run directory; of a run that was stopped, `note` says which weights are used.
        precision: fp32; bf16, which moves probabilities by some 1e-2 at most and hardly ever the most probable class;
            int8 by OpenVINO, calibrated on the run's own training images; or auto, what the run was trained with: by
            default bf16 where the processor multiplies it in hardware.
        device: auto, cpu, cuda or mps.
        pictures: About how many will be asked for; for many, the backends that are installed are measured first.

    Raises:
        ValueError: The run cannot be used, or not in that precision.
    """

    def __init__(self, run: str | Path, *, precision: str = "auto", device: str = "auto", pictures: int = 1) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
        net, self.card = load_run(Path(run))
        self.note = unfinished(Path(run), self.card)
        spec = self.card.recipe.placement
        self.placement = choose_placement(
            dataclasses.replace(
                spec,
                device="cpu" if precision == "int8" else device,  # type: ignore[arg-type]
                precision={"auto": spec.precision, "int8": "fp32"}.get(precision, precision),  # type: ignore[arg-type]
                kernels="plain",
                compile=False,
                recompute=False,
            )
        )
        net = self.placement.place(net).requires_grad_(False)
        input_shape = (self.card.preprocess.channels, *self.card.preprocess.size)
        if precision == "int8":
            calibration, threads = _calibration(self.card, run), self.placement.threads
            self._answers: Answers = OpenVino(
                net, input_shape, precision="int8", threads=threads, batch=BATCH, calibration=calibration
            )
            self.backend = "openvino"
        elif self.placement.device == "cpu":
            self.backend, self._answers = chosen(
                net,
                input_shape,
                precision="bf16" if self.placement.precision == "bf16" else "fp32",
                threads=self.placement.threads,
                measure=pictures >= MEASURED_FROM,
            )
        else:
            self.backend, self._answers = "eager", _eager(net, self.placement)

    def __repr__(self) -> str:
        return f"<Predictor of {self.card.in_words}: {self.backend}, {self.placement.precision}>"

    def predict(self, picture: str | Path | bytes, *, top_k: int = 5) -> Prediction:
        """The most probable classes of a picture.

        Args:
            picture: A file, or the bytes of one.
            top_k: How many classes; fewer when the net has fewer.

        Raises:
            UndecodableError: The picture cannot be read.
        """
        (answer,) = self._answer([picture], _positive(top_k))
        if isinstance(answer, UndecodableError):
            raise answer
        return answer

    def predict_many(
        self, pictures: str | Path | bytes | Iterable[str | Path | bytes], *, top_k: int = 5
    ) -> Iterator[Prediction | UndecodableError]:
        """The most probable classes of each picture, in turn; of one that cannot be read, the reason.

        Args:
            pictures: Files, or the bytes of them, taken as they are needed; one stands for itself.
            top_k: How many classes.
        """
        threads, k, rest = self.placement.threads, _positive(top_k), iter(_several(pictures))
        first = list(islice(rest, threads * BATCH))
        every = chain(first, rest)
        size = max(1, -(-len(first) // threads))  # of few pictures, every processor takes its share
        batches = iter(lambda: list(islice(every, size)), [])
        for answers in in_streams(lambda batch: self._answer(batch, k), batches, threads=threads):
            yield from answers

    def _answer(self, pictures: Sequence[str | Path | bytes], top_k: int) -> list[Prediction | UndecodableError]:
        found: list[Tensor | UndecodableError] = [_read(self.card.preprocess, picture) for picture in pictures]
        pixels = [pixels_CHW for pixels_CHW in found if isinstance(pixels_CHW, Tensor)]
        answers: list[Prediction | UndecodableError] = []
        probabilities_BK = iter(self._probabilities(torch.stack(pixels)) if pixels else ())
        for picture, read in zip(pictures, found, strict=True):
            if isinstance(read, UndecodableError):
                answers.append(read)
                continue
            probabilities, indices = next(probabilities_BK).topk(min(top_k, len(self.card.class_names)))
            names = tuple(self.card.class_names[i] for i in indices.tolist())
            file = "" if isinstance(picture, bytes) else str(picture)
            answers.append(Prediction(file, names, tuple(probabilities.tolist())))
        return answers

    def _probabilities(self, pixels_BCHW: Tensor) -> Tensor:
        return self._answers(self.card.preprocess.normalise(pixels_BCHW)).double().softmax(1)


def predict(
    run: str | Path,
    pictures: str | Path | bytes | Iterable[str | Path | bytes],
    *,
    top_k: int = 5,
    precision: str = "auto",
) -> list[Prediction]:
    """The most probable classes of each picture.

    Args:
        run: Run directory of a finished run.
        pictures: Files, or the bytes of them; one stands for itself, and is answered by a list of one.
        top_k: How many classes.
        precision: auto, fp32, bf16 or int8; see `Predictor`.

    Raises:
        ValueError: The run cannot be used, or a picture cannot be read.
    """
    every = list(_several(pictures))
    predictor = Predictor(run, precision=precision, pictures=len(every))
    answers = []
    for answer in predictor.predict_many(every, top_k=top_k):
        if isinstance(answer, UndecodableError):
            raise answer
        answers.append(answer)
    return answers


def _several(pictures: str | Path | bytes | Iterable[str | Path | bytes]) -> Iterable[str | Path | bytes]:
    if isinstance(pictures, str | Path | bytes) or not isinstance(
        pictures, Iterable
    ):  # what is no image is refused later
        return [pictures]
    return pictures


def _read(preprocess: Preprocess, picture: str | Path | bytes) -> Tensor | UndecodableError:
    if not isinstance(picture, str | Path | bytes):
        raise ValueError(f"an image to predict is a {type(picture).__name__}; name its file, or pass the file's bytes")
    try:
        return preprocess.pixels(picture if isinstance(picture, bytes) else Path(picture))
    except UndecodableError as fault:
        return fault


def _positive(top_k: int) -> int:
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be 1 or more")
    return top_k


def _eager(net: nn.Module, placement: Placement) -> Answers:
    """The net as it is, on a device that is no CPU."""

    @torch.inference_mode()
    def answers(x_BCHW: Tensor) -> Tensor:
        with placement.autocast():
            logits_BK: Tensor = net(placement.place_images(x_BCHW))
        return logits_BK.float().cpu()

    return answers


def _calibration(card: Card, run: str | Path) -> Iterator[Tensor]:
    """Normalised training images of a run, one at a time.

    Raises:
        ValueError: The run was converted from weights, or its images are no longer where they were.
    """
    if card.source["name"] is None:
        raise ValueError(f"{run} was converted from weights and has no training images, which int8 calibration needs")
    few = spread(images_of(Path(run), card, split="train").images, CALIBRATION)
    pixels = few.pixels_NCHW if few.pixels_NCHW is not None else map(card.preprocess.pixels, few.files or ())
    yield from (card.preprocess.normalise(pixels_CHW[None]) for pixels_CHW in pixels)

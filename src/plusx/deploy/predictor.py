"""A finished run as a function from pictures to class probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from plusx.placement.place import choose_placement
from plusx.runs.store import load_run


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, best first."""

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


class Predictor:
    """A net, its preprocessing and its class names; in fp32, so that a picture's answer does not depend on the others.

    Args:
        run: Run directory of a finished run.

    Raises:
        ValueError: The run cannot be used.
    """

    def __init__(self, run: str | Path) -> None:
        net, self.card = load_run(Path(run))
        spec = self.card.recipe.placement
        self.placement = choose_placement(device=spec.device, precision="fp32", threads=spec.threads)
        self.net = self.placement.place(net)

    def predict(self, picture: str | Path | bytes, *, top_k: int = 5) -> Prediction:
        """The most probable classes of a picture.

        Args:
            picture: A file, or the bytes of one.
            top_k: How many classes; fewer when the net has fewer.

        Raises:
            UndecodableError: The picture cannot be read.
        """
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; it must be 1 or more")
        source = picture if isinstance(picture, bytes) else Path(picture)
        pixels_CHW = self.card.preprocess.pixels(source)
        with torch.no_grad():
            x_1CHW = self.card.preprocess.normalise(pixels_CHW[None])
            logits_K = self.net(self.placement.place_images(x_1CHW))[0].double().cpu()
        probabilities, indices = logits_K.softmax(0).topk(min(top_k, len(logits_K)))
        names = tuple(self.card.class_names[i] for i in indices.tolist())
        return Prediction("" if isinstance(picture, bytes) else str(picture), names, tuple(probabilities.tolist()))


def predict(run: str | Path, pictures: Sequence[str | Path | bytes], *, top_k: int = 5) -> list[Prediction]:
    """The most probable classes of each picture.

    Args:
        run: Run directory of a finished run.
        pictures: Files, or the bytes of them.
        top_k: How many classes.

    Raises:
        ValueError: The run cannot be used, or a picture cannot be read.
    """
    predictor = Predictor(run)
    return [predictor.predict(picture, top_k=top_k) for picture in pictures]

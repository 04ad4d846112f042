"""Calibration: what is fitted after training, on images that the net was not trained on, and changes no answer.

Shapes: N images, K classes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from plusx.data.images import ImageSet
from plusx.engine.probabilities import log_probabilities_of_run
from plusx.nets import build
from plusx.progress import shown
from plusx.runs.calibration import Calibration, calibrated, fit_rejection, fit_temperature
from plusx.runs.card import Card
from plusx.runs.images import images_of, trained_on
from plusx.runs.predictions import Predictions
from plusx.runs.store import load_run, unfinished, write_card
from plusx.runs.trust import Trust


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` did."""

    run: Path
    calibration: Calibration
    before: Trust
    """On the images it was fitted on, with the probabilities as the net gives them."""
    after: Trust
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        found = self.calibration
        return f"<Calibrated {self.run}: temperature {found.temperature:.3f} by {found.images:,} images>"


def calibrate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    reject_at: float | None = None,
    split: str | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    trust_code: bool = False,
    progress: bool | Callable[[int, int], None] = True,
) -> Calibrated:
    """Fit a run's temperature, and on request the probability below which the answer is `unknown`; kept in its card.

    Training does the first by itself where it held validation images back. The temperature is that of the least cross
    entropy, and changes no prediction. What the run had of both before is replaced.

    Args:
        run: Finished run directory.
        data: Folder of class folders to fit on; if not given, the run's own validation images.
        reject_at: Per cent of the images that are to keep their answer, such as 95; None has every image answered.
        split: Which images of the data, if not its validation images.
        data_dir: Where the run's own data lies, if not where it lay in training.
        device: auto, cpu, cuda or mps; it may differ from the device of training.
        trust_code: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the files of a folder read
            and the files in all, then with the images measured and the images in all.

    Raises:
        ValueError: The run or the data cannot be used, or the run held no validation images back.

    Example:
        >>> import plusx
        >>> held = {"steps": 20, "data.train": "train[:80%]", "data.val": "train[80%:]"}
        >>> run = plusx.train("digits", overrides=held, out="runs/digits", progress=False).run
        >>> done = calibrate(run, reject_at=95, progress=False)
        >>> done.calibration.images, done.calibration.rejection.kept, done.after.loss <= done.before.loss
        (287, 273, True)
    """
    path, keep = Path(run), _share(reject_at)
    with shown(progress, "calibrating", unit="images") as report:
        net, card = load_run(path, trust_code=trust_code)
        if note := unfinished(path, card):
            raise ValueError(note)
        if split == "train":
            raise ValueError("the training images cannot calibrate a net: it is surer of them than of others")
        if data is None and "val" not in card.source["images"] and split is None:
            raise ValueError(
                f"{path} held no validation images back; name a folder of others: plusx calibrate {path} FOLDER"
            )
        where = Path(data_dir) if data_dir else None
        measured = images_of(path, card, data, split=split, data_dir=where, prefer=("val",), progress=report)
        images, notes = measured.images, list(measured.notes)
        if measured.of_run and trained_on(path) is None:  # else they are left out already
            images = not_in(images, images_of(path, card, data, split="train", data_dir=where).images)
        if not len(images):
            raise ValueError(f"{path} was trained on all of its {measured.split} images")
        logs_NK = log_probabilities_of_run(net, card, images, device=device, progress=report)
        calibration = _fitted(logs_NK, images.labels_N, measured.split, keep)
        write_card(path, dataclasses.replace(card, calibration=calibration))
    before, after = (
        Trust.of(Predictions.of(card.class_names, [""] * len(images), images.labels_N, calibrated(logs_NK, each)))
        for each in (None, calibration)
    )
    return Calibrated(path, calibration, before, after, tuple(notes))


def calibration_after_training(
    card: Card, weights: Mapping[str, Tensor], val: ImageSet | None, train: ImageSet, device: str
) -> Calibration | None:
    """The calibration of a net that has just been trained; None where no validation images were held back.

    Args:
        card: The run's.
        weights: Those that are kept, on any device.
        val: Validation images, those that are trained on as well included.
        train: Training images.
        device: Where to compute.
    """
    images = None if val is None else not_in(val, train)
    if images is None or not len(images):
        return None
    net = build(card.recipe.net.name, **card.net_options)
    net.load_state_dict(dict(weights))
    logs_NK = log_probabilities_of_run(net.eval(), card, images, device=device)
    return _fitted(logs_NK, images.labels_N, "val", None)


def not_in(images: ImageSet, others: ImageSet) -> ImageSet:
    """The images of which the others hold no copy."""
    theirs = set(others.contents())
    return images.take([place for place, content in enumerate(images.contents()) if content not in theirs])


def _share(reject_at: float | None) -> float | None:
    if reject_at is not None and not 0 < reject_at <= 100:
        raise ValueError(f"reject_at is {reject_at:g}; it is the per cent of images to keep, such as 95")
    return None if reject_at is None else reject_at / 100


def _fitted(logs_NK: Tensor, labels_N: Tensor, data: str, keep: float | None) -> Calibration:
    temperature, note = fit_temperature(logs_NK, labels_N)
    found = Calibration(temperature, len(labels_N), data, note)
    if keep is None:
        return found
    return dataclasses.replace(found, rejection=fit_rejection(calibrated(logs_NK, found).exp().amax(1), keep))

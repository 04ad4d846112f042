"""What a run has measured, read from its directory whenever it is asked for: curves, predictions, images, analyses.

Nothing is computed with the net, and no file is named by a request: images go by their number in predictions.csv.
"""

import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from plusx.deploy.server.faults import Fault
from plusx.report.page import SIDE
from plusx.report.run import ReportedRun, in_words, read_run
from plusx.runs.card import Card
from plusx.runs.images import images_of
from plusx.runs.metrics import SPLITS, name_of
from plusx.runs.predictions import Predictions
from plusx.runs.store import read_card

POINTS = 1_000
"""Points of a curve at most: more than a screen has columns for."""
MISTAKES = 60
APART = 0.005
"""By how much the error of the predictions may differ from what the card says before the page points it out."""


def curves(run: Path) -> dict[str, Any]:
    """What a run has measured so far, step by step; of one that was killed, `seconds_since` tells.

    Args:
        run: Run directory.

    Raises:
        ValueError: It is no run, or cannot be read.
    """
    known = _known(run)
    card, finished = known.card, known.card.status == "finished"
    last = max((steps[-1] for steps, _ in known.curves.values()), default=0)
    return {
        "status": card.status,
        "step": card.results.get("steps", last) if finished else last,
        "steps": card.results.get("steps") if finished else _planned(card),
        "kept_step": card.results.get("kept_step"),
        "seconds_since": None if finished else _age(run / "metrics.jsonl"),
        "series": [{"name": name, **_thinned(*curve)} for name, curve in known.curves.items()],
    }


def _known(run: Path) -> ReportedRun:
    """A run with its curves; one that was converted from weights has measured nothing."""
    try:
        return read_run(run)
    except FileNotFoundError:
        return ReportedRun(run, read_card(run), {})


def _age(file: Path) -> float | None:
    """Seconds since a file was written; None where there is none."""
    try:
        return max(0.0, time.time() - file.stat().st_mtime)
    except FileNotFoundError:
        return None


def _planned(card: Card) -> int | None:
    """The last step of a run that is not finished; None where its length is a time."""
    return None if card.recipe.max_time is not None else card.recipe.total_steps(card.source["images"]["train"])


def _thinned(steps: Sequence[int], values: Sequence[float]) -> dict[str, list[Any]]:
    """At most `POINTS` of the points as they are, the last among them; what is no number is null."""
    stride = -(-len(steps) // POINTS)
    places = sorted({*range(0, len(steps), max(1, stride)), *([len(steps) - 1] if steps else [])})
    finite = [values[place] if math.isfinite(values[place]) else None for place in places]
    return {"steps": [steps[place] for place in places], "values": finite}


def facts(run: Path) -> dict[str, Any]:
    """The card in words, without paths of this machine.

    Args:
        run: Run directory.

    Raises:
        ValueError: It is no run, or cannot be read.
    """
    known = _known(run)
    card, finished = known.card, known.card.status == "finished"
    if card.source["name"] is None:
        return {"in_words": card.in_words, "facts": {}, "notes": list(card.notes)}
    source = {**card.source, "name": Path(card.source["name"]).name}
    results = card.results if finished else {"steps": _planned(card) or 0, "kept_step": _planned(card) or 0}
    told = in_words(replace(known, card=replace(card, source=source, results=results)), several=not finished)
    return {"in_words": card.in_words, "facts": told, "notes": list(card.notes)}


@dataclass(frozen=True, eq=False)
class Measured:
    """The predictions of a run for its own held out images."""

    run: Path
    card: Card
    split: str
    predictions: Predictions

    @staticmethod
    def of(run: Path) -> "Measured":
        """Those that `plusx train` or `plusx evaluate` wrote.

        Raises:
            Fault: There are none of the run's own images (404).
        """
        make = f"plusx evaluate {run.name}"
        try:
            about = json.loads((run / "evaluation.json").read_bytes())
            card = read_card(run)
            if about["data"] not in SPLITS or len(about["runs"]) != 1:
                raise Fault(404, f"the predictions of {run.name} are not of its own images alone; make these: {make}")
            return Measured(run, card, about["data"], Predictions.read(run / "predictions.csv", card.class_names))
        except FileNotFoundError:
            raise Fault(404, f"{run.name} has no predictions yet; make them: {make}") from None
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise Fault(404, f"the predictions of {run.name} cannot be read; make them anew: {make}") from fault

    def confusion(self) -> dict[str, Any]:
        """Images by true class and likeliest class, and what the card says of the same split."""
        names, found = self.predictions.class_names, self.predictions
        flat = found.labels_N * len(names) + found.top_NT[:, 0]
        counts = torch.bincount(flat, minlength=len(names) ** 2).reshape(len(names), len(names))
        error = 1 - found.correct_N.double().mean().item()
        of_card = self.card.results.get(name_of(self.split, "error"))
        return {
            "classes": list(names),
            "counts": counts.tolist(),
            "split": self.split,
            "images": len(found),
            "error": error,
            "card_error": of_card,
            "outdated": of_card is not None and abs(of_card - error) > APART,
        }

    def cell(self, truth: int, predicted: int) -> dict[str, Any]:
        """The images of one class that were taken for another, the surest first.

        Raises:
            Fault: A class has no such index (404).
        """
        count = len(self.predictions.class_names)
        if not (0 <= truth < count and 0 <= predicted < count):
            raise Fault(404, f"there are classes from 0 to {count - 1}")
        found = (self.predictions.labels_N == truth) & (self.predictions.top_NT[:, 0] == predicted)
        places = found.nonzero()[:, 0].tolist()
        return {"images": self._told(places)[:MISTAKES], "total": len(places)}

    def mistakes(self) -> dict[str, Any]:
        """The wrong answers, the surest first."""
        places = (~self.predictions.correct_N).nonzero()[:, 0].tolist()
        return {"images": self._told(places)[:MISTAKES], "total": len(places)}

    def _told(self, places: Sequence[int]) -> list[dict[str, Any]]:
        found = self.predictions
        images = [
            {
                "index": place,
                "truth": int(found.labels_N[place]),
                "predicted": int(found.top_NT[place, 0]),
                "probability": found.probabilities_NT[place, 0].item(),
            }
            for place in places
        ]
        return sorted(images, key=lambda image: -image["probability"])


class Images:
    """The images that a run's predictions are of, found once."""

    def __init__(self, measured: Measured) -> None:
        try:
            self._found = images_of(measured.run, measured.card, split=measured.split)
        except (OSError, ValueError) as fault:
            raise Fault(404, f"the images of {measured.run.name} are no longer where they were") from fault
        self._places = {name: place for place, name in enumerate(self._found.names)}
        self._predictions = measured.predictions

    def thumbnail(self, index: int) -> tuple[bytes, str]:
        """An image by its number in predictions.csv, encoded anew, and its media type.

        Raises:
            Fault: There is none of that number, or it is no longer there or no longer of its class (404).
        """
        if not 0 <= index < len(self._predictions):
            raise Fault(404, f"there are images from 0 to {len(self._predictions) - 1}")
        place = self._places.get(self._predictions.images[index])
        images = self._found.images
        if place is None or images.labels_N[place] != self._predictions.labels_N[index]:
            raise Fault(404, "this image is no longer among those of the run")
        try:
            return encoded(images.image(place))
        except (OSError, ValueError) as fault:
            raise Fault(404, "this image can no longer be read") from fault


def encoded(image: Image.Image) -> tuple[bytes, str]:
    """A small image as it is, as PNG; a larger one at twice the side of a thumbnail, as JPEG."""
    buffer, lossless = io.BytesIO(), max(image.size) <= SIDE
    if not lossless:
        image.thumbnail((2 * SIDE, 2 * SIDE))
    image.save(buffer, "PNG" if lossless else "JPEG", quality=88)
    return buffer.getvalue(), "image/png" if lossless else "image/jpeg"


def learnt(run: Path, kept_step: int | None, names: Sequence[str]) -> dict[str, Any]:
    """What `plusx analyse` found for each block: how strongly its last layer responds, what its removal costs.

    Args:
        run: Run directory.
        kept_step: The step that the weights are of; what was found for others is left out.
        names: Of the blocks.
    """
    responses, lesions = (_series(run / "figures" / f"{what}.json", kept_step) for what in ("responses", "lesions"))
    whole = lesions.pop("whole", None)
    told: dict[str, dict[str, float]] = {name: {} for name in names}
    for layer, value in responses.items():  # in the order in which layers run, so that the last one stays
        for name in names:
            if layer.startswith(f"{name}.branch."):
                told[name]["response"] = value
    for name, error in lesions.items():
        if name in told and whole is not None:
            told[name]["removal_cost"] = error - whole
    return {"blocks": told, "error": whole, "responses": bool(responses), "lesions": bool(lesions)}


def _series(file: Path, kept_step: int | None) -> dict[str, float]:
    """The numbers that a question was answered with; empty where it was not asked of these weights."""
    try:
        content: Mapping[str, Any] = json.loads(file.read_bytes())
        if content["kept_step"] != kept_step:
            return {}
        [measurements] = content["series"].values()
        return {each["name"]: each["value"] for each in measurements if math.isfinite(each["value"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}

"""Why a trained net sees a class in an image: `plusx analyse RUN explain IMAGE...`."""

import difflib
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plusx.analysis.attention import METHODS, Map, explain_pixels
from plusx.analysis.contributions import Contribution, contributions
from plusx.data.decode import AnyImage, UndecodableError, as_source, name_of
from plusx.data.found import find_images, reasons
from plusx.data.images import listed, normal_name
from plusx.data.tree import printable
from plusx.progress import shown
from plusx.report.explanation import Shown, draw_blocks, draw_map, explanations
from plusx.report.figure import standalone
from plusx.runs.calibration import calibrated
from plusx.runs.card import Card
from plusx.runs.files import free_path, require_writable, write_folder
from plusx.runs.store import load_run, require_free, unfinished

ASKS = {
    "cam": "Which places of an image speak for a class? Grad-CAM, Selvaraju et al. (2017)",
    "blocks": "What does each block contribute to a class?",
    "occlusion": "What does a class lose where the image is covered? Zeiler and Fergus (2013)",
    "gradients": "What does each pixel add to a class? Integrated gradients, Sundararajan et al. (2017)",
}
"""What each method answers, and the paper that it is of."""
MOST = 200
"""Images that are explained at a time: a page of more would be slow to open."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a net sees a class in an image."""

    file: str
    """The image's file; empty where it is not known."""
    method: str
    target: str
    """The class that is explained."""
    probability: float
    """Of that class, calibrated if the run is."""
    predicted: str
    """The likeliest class."""
    predicted_probability: float
    unknown: bool
    """Whether the answer is `unknown`: the run has a threshold, and the probability of the likeliest class is below."""
    pixels_CHW: Tensor
    """What the net saw: the image at the net's size, uint8, one channel or three."""
    map: Map | None
    """Which places speak for the class; None for the method `blocks`."""
    blocks: tuple[Contribution, ...] = ()
    """What each block contributes, for the method `blocks`."""

    def __repr__(self) -> str:
        return f"<Explanation of {self.target}, {100 * self.probability:.1f} %, by {self.method}>"

    @property
    def answer(self) -> str:
        """What the net says of the image."""
        said = f"{self.predicted} {100 * self.predicted_probability:.1f} %"
        said = f"unknown, perhaps {said}" if self.unknown else said
        other = "" if self.target == self.predicted else f"; {self.target} {100 * self.probability:.1f} %"
        return said + other

    @property
    def strongest_place(self) -> tuple[float, float] | None:
        """The place that speaks most for the class, in shares of the image's width and height; None if none does."""
        if self.map is None or not (self.map.values_HW > 0).any():
            return None
        height, width = self.map.values_HW.shape
        row, column = divmod(int(self.map.values_HW.argmax()), width)
        return (column + 0.5) / width, (row + 0.5) / height

    @property
    def in_words(self) -> str:
        """What the net says, and where most speaks for the class that is explained."""
        if self.map is None:
            return self.answer
        note = f"; {self.map.note}" if self.map.note else ""
        if self.strongest_place is None:
            return self.answer + note
        across, down = self.strongest_place
        return f"{self.answer}; most for {self.target} at {100 * across:.0f} % across, {100 * down:.0f} % down{note}"

    @property
    def numbers(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """A table of the blocks: a head, and a row for each."""
        rows = tuple(
            (block.name, f"{block.contribution:.4g}", "" if block.added is None else f"{block.added:.4g}")
            for block in self.blocks
        )
        return ("block", "lost without its branch (logits)", "added for the head (logits)"), rows

    @property
    def caption(self) -> str:
        """What a picture of it shows."""
        said = f"The net says {self.answer}."
        if self.map is None:
            return (
                f"{said} Bars are what the logit of {self.target} loses without each block's branch; grey ones speak "
                "against the class. They do not add up to the logit: without one block, others are given other maps."
            )
        height, width = self.map.values_HW.shape
        what = {
            "cam": f"Places that speak for {self.target}, by the maps of {self.map.layer}, {width} x {height}.",
            "occlusion": f"What the logit of {self.target} loses where a patch of the image is covered.",
            "gradients": f"What pixels add to the logit of {self.target}, from the mean of the training images on.",
        }[self.method]
        note = f" {self.map.note[0].upper()}{self.map.note[1:]}." if self.map.note else ""
        return f"{said} {what} What speaks against the class is not shown.{note}"

    def drawing(self) -> str:
        """The image and what explains it, as SVG elements for a page."""
        about: dict[str, str] = {"says": self.answer, "speaks_for": self.target}
        if self.map is None:
            return draw_blocks(self.pixels_CHW, [(each.name, each.contribution) for each in self.blocks], **about)
        return draw_map(self.pixels_CHW, self.map.strength_HW, self.map.strongest, **about)

    def figure(self) -> str:
        """The same as a file of its own, SVG, which is light, or dark where its viewer prefers that."""
        return standalone(self.drawing())


@dataclass(frozen=True, eq=False)
class ExplainedFiles:
    """What `explain_files` explained. Every file that was met is in one of two lists."""

    run: Path
    method: str
    explanations: tuple[Explanation, ...]
    unread: tuple[tuple[str, str], ...]
    """Files that cannot be read, each with the reason."""
    out: Path
    """Folder of explain.html and explain.json, and of IMAGE.svg and IMAGE.npy, the map in logits, for each image."""
    figures: tuple[Path, ...]
    """In the order of `explanations`."""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<ExplainedFiles {self.run}: {len(self.explanations):,} images by {self.method}, {self.out}>"

    @property
    def asks(self) -> str:
        """The question that the method answers."""
        return ASKS[self.method]

    def to_dict(self) -> dict[str, Any]:
        """JSON types: everything but the maps."""
        files: list[dict[str, Any]] = [
            {**_as_json(each), "figure": str(figure)}
            for each, figure in zip(self.explanations, self.figures, strict=True)
        ]
        return {
            "run": printable(self.run),
            "question": "explain",
            "method": self.method,
            "files": [*files, *({"file": file, "error": reason} for file, reason in self.unread)],
            "notes": list(self.notes),
            "report": printable(self.out / "explain.html"),
        }


def explain(
    run: str | Path,
    image: AnyImage,
    *,
    method: str = "cam",
    target: str | None = None,
    trust_code: bool = False,
    net: nn.Module | None = None,
) -> Explanation:
    """Why a trained net sees a class in an image.

    The net computes in fp32, on the image as `predict` prepares it. `explain_pixels` in plusx.analysis.attention says
    what the numbers of a map are, `contributions` in plusx.analysis.contributions those of blocks.

    Args:
        run: Run directory.
        image: A file, the bytes of one, a PIL.Image, or a NumPy array: uint8, H x W x 3, H x W x 1 or H x W.
        method: cam (Grad-CAM), blocks (what each block contributes), occlusion, or gradients (integrated gradients).
        target: The class to explain, by name; the likeliest if not given.
        trust_code: As for `load`.
        net: As for `load`.

    Raises:
        ValueError: The run or the image cannot be used, the class or the method is unknown, or the net lacks what the
            method is about.

    Example:
        >>> import plusx
        >>> run = plusx.train("digits", overrides={"steps": 2}, out="runs/digits", progress=False).run
        >>> found = explain(run, np.zeros((8, 8), dtype=np.uint8), target="3")
        >>> found.target, found.map.values_HW.shape, found.figure()[:4]
        ('3', torch.Size([2, 2]), '<svg')
    """
    _require_method(method)
    loaded = load_run(run, trust_code=trust_code, net=net)
    return _explanation(loaded, image, method, _index(target, loaded[1]))


def explain_files(
    run: str | Path,
    sources: str | Path | Iterable[str | Path],
    *,
    method: str = "cam",
    target: str | None = None,
    out: str | Path | None = None,
    trust_code: bool = False,
    net: nn.Module | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> ExplainedFiles:
    """Explain image files, those of folders, those that match patterns and those of tables, on a page with figures.

    Args:
        run: Run directory.
        sources: As for `predict_files`; up to 200 images.
        method: As for `explain`.
        target: The class to explain; of each image the likeliest if not given.
        out: New or empty folder; a new one in the run's figures/ if not given.
        trust_code: As for `load`.
        net: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the images done and the images
            in all.

    Raises:
        ValueError: The run or a source cannot be used, no image can be read, the class or the method is unknown, the
            net lacks what the method is about, or `out` is taken.

    Example:
        >>> import plusx
        >>> from PIL import Image
        >>> run = plusx.train("digits", overrides={"steps": 2}, out="runs/digits", progress=False).run
        >>> Image.new("L", (8, 8), 80).save("grey.png")
        >>> explained = explain_files(run, "grey.png", out="why")
        >>> sorted(file.name for file in explained.out.iterdir())
        ['explain.html', 'explain.json', 'grey.npy', 'grey.svg']
    """
    _require_method(method)
    path = Path(run)
    folder = Path(out) if out is not None else None
    if folder is not None:
        require_free(folder)
        require_writable(folder)
    found = find_images(sources)
    if not found.files:
        raise ValueError("name an image to explain")
    if len(found.files) > MOST:
        raise ValueError(f"{len(found.files):,} images are too many to explain; name at most {MOST}")
    loaded = load_run(path, trust_code=trust_code, net=net)
    index = _index(target, loaded[1])
    made: list[Explanation] = []
    unread = [(each.path, each.reason) for each in found.left_out if each.fault]
    with shown(progress, "explaining", unit="images") as report:
        for number, file in enumerate(found.files, start=1):
            try:
                made.append(_explanation(loaded, file, method, index))
            except UndecodableError as fault:
                unread.append((printable(fault.name), fault.reason))
            report(number, len(found.files))
    if not made:
        raise ValueError("; ".join(f"{file}: {reason}" for file, reason in unread))
    others = [each for each in found.left_out if not each.fault]
    note = unfinished(path, loaded[1])
    notes = [note] if note else []
    notes += [f"left out: {reasons(others)}"] if others else []
    notes += [f"named more than once: {listed(map(printable, found.repeated))}"] if found.repeated else []
    notes += found.notes
    folder = folder or free_path(path / "figures" / "explain")
    stems = _stems(made)
    figures = tuple(folder / f"{stem}.svg" for stem in stems)
    explained = ExplainedFiles(path, method, tuple(made), tuple(unread), folder, figures, tuple(notes))
    files = {figure.name: each.figure().encode() for figure, each in zip(figures, made, strict=True)}
    files |= {f"{stem}.npy": _array(each.map.values_HW) for stem, each in zip(stems, made, strict=True) if each.map}
    files["explain.html"] = _page(explained)
    files["explain.json"] = (json.dumps(explained.to_dict(), indent=1, ensure_ascii=False) + "\n").encode()
    write_folder(folder, files)
    return explained


def _explanation(loaded: tuple[nn.Module, Card], image: AnyImage, method: str, index: int | None) -> Explanation:
    net, card = loaded
    source = as_source(image)
    pixels_CHW = card.preprocess.pixels(source)
    x_1CHW = card.preprocess.normalise(pixels_CHW[None])
    with torch.no_grad():
        logits_K = net(x_1CHW)[0]
    likeliest = int(logits_K.argmax())
    target = likeliest if index is None else index
    found: Map | None = None
    parts: tuple[Contribution, ...] = ()
    if method == "blocks":
        parts = contributions(net, x_1CHW, target)
        if not parts:
            raise ValueError(f"this net has no blocks of branch and shortcut; {', '.join(METHODS)} explain it")
    else:
        found = explain_pixels(net, x_1CHW, target, method)
    calibration = card.calibration
    probabilities = calibrated(logits_K[None], calibration)[0].exp().tolist()
    rejection = calibration.rejection if calibration else None
    return Explanation(
        printable(name_of(source)),
        method,
        card.class_names[target],
        probabilities[target],
        card.class_names[likeliest],
        probabilities[likeliest],
        rejection is not None and probabilities[likeliest] < rejection.threshold,
        pixels_CHW,
        found,
        parts,
    )


def _require_method(method: str) -> None:
    if method not in ASKS:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(ASKS)}")


def _index(target: str | None, card: Card) -> int | None:
    """The index of a class by its name; None for the likeliest."""
    if target is None:
        return None
    if not isinstance(target, str):
        raise ValueError(f"a class is named by text; target is {target!r}, perhaps {card.class_names[0]!r} is meant")
    places: dict[str, list[int]] = {}
    for place, name in enumerate(card.class_names):
        places.setdefault(normal_name(name), []).append(place)
    found = places.get(normal_name(target), [])
    if not found:
        near = difflib.get_close_matches(normal_name(target), places, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {listed(card.class_names)}"
        raise ValueError(f"the run has no class {target!r}; {hint}")
    if len(found) > 1:
        raise ValueError(f"the run has {len(found)} classes named {target!r}, so the name does not say which")
    return found[0]


# ---- what is written -------------------------------------------------------------------------------------------------


def _page(explained: ExplainedFiles) -> bytes:
    notes = [f"{note[0].upper()}{note[1:]}." for note in explained.notes]
    lost = [f"{file} cannot be read: {reason}." for file, reason in explained.unread]
    pieces = (
        Shown(each.file, each.drawing(), each.caption, each.numbers if each.blocks else None)
        for each in explained.explanations
    )
    return explanations(f"{explained.run.resolve().name} explained", [explained.asks, *notes, *lost], pieces)


def _stems(made: Sequence[Explanation]) -> list[str]:
    """A name for the figure and the array of each image, by the image's own."""
    stems: list[str] = []
    taken: set[str] = set()
    for each in made:
        first = stem = re.sub(r"[^\w.-]", "_", Path(each.file).stem)[:80] or "image"
        number = 1
        while stem.lower() in taken:  # of folders that hold files of one name, or of two that differ in case alone
            number += 1
            stem = f"{first}-{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def _as_json(each: Explanation) -> dict[str, Any]:
    about: dict[str, Any] = {
        "file": each.file,
        "class": each.target,
        "probability": each.probability,
        "predicted": each.predicted,
        "predicted_probability": each.predicted_probability,
        "unknown": each.unknown,
    }
    if each.map is None:
        return {**about, "blocks": [asdict(block) for block in each.blocks]}
    height, width = each.map.values_HW.shape
    return {
        **about,
        "layer": each.map.layer,
        "height": height,
        "width": width,
        "strongest": each.map.values_HW.max().item(),
        "strongest_place": list(each.strongest_place) if each.strongest_place else None,
        "note": each.map.note,
    }


def _array(values_HW: Tensor) -> bytes:
    """A map as NumPy's array, float32, in logits."""
    buffer = io.BytesIO()
    np.save(buffer, values_HW.numpy())
    return buffer.getvalue()

"""Files, folders, patterns and tables of images predicted by a run, with a table and a contact sheet of the results."""

import csv
import difflib
import io
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from plusx.data.decode import FullScale, UndecodableError, decode
from plusx.data.found import Found, find_images, reasons
from plusx.data.images import listed, normal_name
from plusx.data.scan import LeftOut, digest_of
from plusx.data.tree import printable
from plusx.deploy.predictor import Prediction, Predictor
from plusx.progress import shown
from plusx.report.page import SIDE
from plusx.report.sheet import Cell, sheet
from plusx.runs.files import require_writable, write_folder
from plusx.runs.images import trained_on
from plusx.runs.store import require_free


@dataclass(frozen=True, eq=False)
class PredictedFiles:
    """What `predict_files` predicted. Every file that was met is in one of three lists."""

    run: Path
    predictions: tuple[Prediction, ...]
    """In the order of the sources; those of a folder are sorted."""
    unread: tuple[tuple[str, str], ...]
    """Files, and folders within folders, that cannot be read, each with the reason."""
    left_out: tuple[LeftOut, ...]
    """Files that were not tried: hidden ones, and those that are no images by their names."""
    labels: Mapping[str, str]
    """The class of each predicted file for which a table has one."""
    repeated: tuple[str, ...]
    """Files that were named more than once, and are predicted once."""
    note: str | None
    """Which weights were used, if the run is not finished."""
    out: Path | None = None
    """Where predictions.csv and report.html are; None where they were not asked for, or could not be written."""
    notes: tuple[str, ...] = ()
    """What is not used of a table, and how many of the labelled images were trained on."""
    problem: str | None = None
    """Why they could not be written."""

    def __repr__(self) -> str:
        return f"<PredictedFiles {self.run}: {self.findings[0]}>"

    @property
    def counts(self) -> dict[str, int]:
        """How many images are predicted as each class, the most frequent first."""
        return dict(Counter(each.classes[0] for each in self.predictions).most_common())

    @property
    def right(self) -> int:
        """How many of the labelled images are predicted as what they are."""
        return sum(self.labels.get(each.file) == each.classes[0] for each in self.predictions)

    @property
    def findings(self) -> tuple[str, ...]:
        """What became of the files, a sentence each."""
        lost = f", {len(self.unread):,} cannot be read" if self.unread else ""
        said = [f"{_images(len(self.predictions))} predicted{lost}."]
        if self.labels:
            share = 100 * self.right / len(self.labels)
            said.append(f"{self.right:,} right of {_images(len(self.labels))} with a label ({share:.2f} %).")
        if self.left_out:
            said.append(f"{len(self.left_out):,} left out: {reasons(self.left_out)}.")
        if self.repeated:
            said.append(f"Named more than once, and predicted once: {listed(map(printable, self.repeated))}.")
        return (*said, *(f"{note[0].upper()}{note[1:]}." for note in self.notes))

    def table(self) -> list[list[str]]:
        """A head, and a row for each predicted class: its images, and where there are labels how many are right."""
        labelled = Counter(each.classes[0] for each in self.predictions if each.file in self.labels)
        right = Counter(each.classes[0] for each in self.predictions if self.labels.get(each.file) == each.classes[0])
        rows = [
            [name, f"{count:,}", *([f"{labelled[name]:,}", f"{right[name]:,}"] if self.labels else [])]
            for name, count in self.counts.items()
        ]
        return [["predicted class", "images", *(["with a label", "right"] if self.labels else [])], *rows]


def predict_files(
    run: str | Path,
    sources: str | Path | Iterable[str | Path],
    *,
    out: str | Path | None = None,
    top_k: int = 5,
    precision: str = "auto",
    device: str = "auto",
    trust_code: bool = False,
    net: nn.Module | None = None,
    each: Callable[[Prediction | UndecodableError], None] | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> PredictedFiles:
    """Predict image files, the images of folders, those that match patterns, and those of CSV tables.

    A folder gives every image below it, sorted; hidden files and files that are no images by their names are left out
    and counted. A table has a column `path`, from its own folder, and perhaps a column `label`, a class by name. Files
    that cannot be read are listed, and all others predicted. Files are listed at once and read as they are needed.

    Args:
        run: Run directory.
        sources: Files, folders, patterns such as photos/**/*.jpg and tables (.csv, .tsv), or a single one.
        out: New or empty folder for predictions.csv, a row an image, and report.html, which shows the most doubtful
            ones; either both are written or none.
        top_k: How many classes, 2 or more; fewer when the net has fewer.
        precision: auto, fp32, bf16 or int8; see `Predictor`.
        device: auto, cpu, cuda or mps; wherever the run was trained.
        trust_code: As for `load`.
        net: As for `load`.
        each: Called with each prediction, or the reason that there is none, in order and as soon as it is known.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the images done and the images
            in all.

    Raises:
        ValueError: The run or a source cannot be used, a folder or a pattern gives no image, a label is none of the
            run's classes, or `out` is taken.

    Example:
        >>> import plusx
        >>> from PIL import Image
        >>> run = plusx.train("digits", overrides={"steps": 2}, out="runs/digits", progress=False).run
        >>> for number in range(3):
        ...     Image.new("L", (8, 8), 80 * number).save(f"{number}.png")
        >>> predicted = predict_files(run, "*.png", out="predicted")
        >>> [each.file for each in predicted.predictions], sum(predicted.counts.values())
        (['0.png', '1.png', '2.png'], 3)
    """
    folder = None if out is None else Path(out)
    if folder is not None:
        require_free(folder)
        require_writable(folder)
    predictions: list[Prediction] = []
    unread: list[tuple[str, str]] = []
    with shown(progress, "predicting", unit="images") as report:
        found = find_images(sources)
        trained = (trained_on(Path(run)) if found.labels else None) or frozenset()
        how: dict[str, Any] = {"precision": precision, "device": device, "trust_code": trust_code, "net": net}
        with Predictor(run, **how, images=len(found.files)) as predictor:
            labels = _labels(found, predictor.card.class_names)
            results = predictor.predict_many(found.files, top_k=2 if top_k == 1 else top_k)
            for number, result in enumerate(results, start=1):
                if isinstance(result, UndecodableError):
                    unread.append((result.name, result.reason))
                else:
                    predictions.append(result)
                if each:
                    each(result)
                report(number, len(found.files))
    predicted = PredictedFiles(
        Path(run),
        tuple(predictions),
        (*unread, *((each.path, each.reason) for each in found.left_out if each.fault)),
        tuple(each for each in found.left_out if not each.fault),
        known := {each.file: labels[each.file] for each in predictions if each.file in labels},
        tuple(map(str, found.repeated)),
        predictor.note,
        notes=(*found.notes, *_trained_in_words(Path(run), trained, predictions, known)),
    )
    if folder is None:
        return predicted
    try:
        pages = {
            "predictions.csv": _csv(predicted),
            "report.html": _page(predicted, predictor.card.preprocess.full_scale),
        }
        write_folder(folder, pages)
    except OSError as fault:  # predicting may have taken hours: the results are worth more than their files
        return replace(predicted, problem=f"cannot write {folder}: {fault.strerror or fault}; choose another --out")
    return replace(predicted, out=folder)


def _trained_in_words(
    run: Path, trained: Container[str], predictions: Sequence[Prediction], labels: Mapping[str, str]
) -> Iterator[str]:
    """How many of the labelled images the run was trained on, where it was on any: these count as right too easily."""
    new = [each for each in predictions if each.file in labels and digest_of(Path(each.file)) not in trained]
    if len(new) < len(labels):
        right = sum(labels[each.file] == each.classes[0] for each in new)
        of_others = f"of the {len(new):,} others, {right:,} are right" if new else "there are no others"
        yield f"of the images with a label, {run} was trained on {len(labels) - len(new):,}; {of_others}"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _labels(found: Found, class_names: Sequence[str]) -> dict[str, str]:
    """The class of each file that has a label, as the run spells it.

    Raises:
        ValueError: A label is none of the classes, or that of two.
    """
    spelled: dict[str, list[str]] = {}
    for name in class_names:
        spelled.setdefault(normal_name(name), []).append(name)
    used = dict.fromkeys(found.labels.values())
    if unknown := [label for label in used if label not in spelled]:
        example = next(file for file, label in found.labels.items() if label == unknown[0])
        near = difflib.get_close_matches(unknown[0], spelled, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"they are {listed(class_names)}"
        more = f", nor are {listed(map(repr, unknown[1:]))}" if unknown[1:] else ""
        raise ValueError(f"label {unknown[0]!r} of {printable(example)} is none of the run's classes{more}; {hint}")
    if double := [label for label in used if len(spelled[label]) > 1]:
        raise ValueError(f"the run has {len(spelled[double[0]])} classes named {double[0]!r}, so no label says which")
    return {str(file): spelled[label][0] for file, label in found.labels.items()}


def _csv(predicted: PredictedFiles) -> bytes:
    """A row for each image: path, label and right where there are labels, then class1, probability1 and so on.

    As in the table of `evaluate`, floats keep every bit, and names stay as they are.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    ranks = range(1, max((len(each.classes) for each in predicted.predictions), default=0) + 1)
    known = ["label", "right"] if predicted.labels else []
    rows.writerow(["path", *known, *(f"{what}{rank}" for rank in ranks for what in ("class", "probability"))])
    for each in predicted.predictions:
        label = predicted.labels.get(each.file)
        truth = ["", ""] if label is None else [label, "yes" if label == each.classes[0] else "no"]
        pairs = zip(each.classes, map(repr, each.probabilities), strict=True)
        rows.writerow([printable(each.file), *(truth if known else []), *(cell for pair in pairs for cell in pair)])
    return text.getvalue().encode()


def _page(predicted: PredictedFiles, full_scale: FullScale) -> bytes:
    return sheet(
        f"Images predicted by {predicted.run.resolve().name}",
        [*predicted.findings, *([predicted.note] if predicted.note else [])],
        list(_cells(predicted, full_scale)),
        predicted.table(),
        unread=[(printable(file), reason) for file, reason in predicted.unread],
        left_out=[(each.path, each.reason) for each in predicted.left_out],
    )


def _cells(predicted: PredictedFiles, full_scale: FullScale) -> Iterator[Cell]:
    for each in predicted.predictions:
        read = partial(decode, Path(each.file), at_least=SIDE, full_scale=full_scale)
        label = predicted.labels.get(each.file)
        yield Cell(printable(each.file), each.classes, each.probabilities, label, read)

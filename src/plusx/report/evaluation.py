"""evaluation.html and evaluation.json: how well a net does on labelled images, and what it gets wrong."""

import html
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from plusx.report.figure import panels, svg
from plusx.report.page import facts, heading, illustration, page, paragraph, scrolling, table, thumbnail
from plusx.report.palette import INK, SOFT, SPLITS
from plusx.runs.files import replace_file
from plusx.runs.predictions import BINS, Predictions, Score, calibration, worst
from plusx.runs.trust import Reliability

MISTAKES = 24
LARGEST = 40  # classes that a confusion matrix and a table of classes have room for
ACROSS = 60  # letters that names of columns may have side by side; others stand upright
LISTED = 12  # classes, and pairs of classes, that are named where they have not
FEW = 10  # images of a bin that say nothing of how often an answer is right
STRONGEST = 55  # per cent of the colour of errors in the cell of the largest share; more would hide the number


def write_evaluation(
    folder: Path,
    runs: Sequence[Path],
    part: str,
    views: str,
    predictions: Predictions,
    found: Score,
    reliability: Reliability = Reliability(),
    *,
    image: Callable[[int], Image.Image],
    outsider: Callable[[int], Image.Image] | None = None,
    overlays: Mapping[int, Image.Image] | None = None,
    of_folds: bool = False,
) -> None:
    """Write predictions.csv, and what follows from it as JSON and as a page.

    Args:
        folder: Existing directory.
        runs: The run directories whose predictions they are.
        part: What was measured on.
        views: Which views of each image were seen, in words.
        predictions: What the nets predicted.
        found: Their score.
        reliability: What the probabilities are worth.
        image: The image at a position.
        outsider: The outsider at a position, if there are any.
        overlays: The worst mistakes with a map of what speaks for the class that was named, if they are explained.
        of_folds: Whether each image is predicted by the one run that was trained without it, not by all of them.
    """
    predictions.write(folder / "predictions.csv")
    content = {"runs": [str(run) for run in runs], "data": part, "views": views, **asdict(found), **asdict(reliability)}
    replace_file(folder / "evaluation.json", (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    who = f"The mean of {len(runs)} nets" if len(runs) > 1 else "The net"
    names = " and ".join(run.name for run in runs)
    if of_folds:
        who, names = "For each image, the net that was trained without it", folder.resolve().name
    body = [
        paragraph(f"{who} is wrong on {_pct(found.error)} of {found.images:,} images ({views})."),
        _numbers(found, reliability),
        heading("Each class"),
        _classes(found),
        heading("Which classes are confused"),
        _confusion(found),
        heading("How sure the net is, and how often it is right"),
        _calibration(predictions, part),
        heading("The worst mistakes"),
        *_sheet(predictions, image, overlays or {}),
        *_outsiders(reliability, outsider),
    ]
    title = f"{names} on {part}"
    replace_file(folder / "evaluation.html", page(title, body))


def _numbers(found: Score, reliability: Reliability) -> str:
    raw, answered = reliability.uncalibrated, reliability.answered
    shown = {"error": _pct(found.error), "accuracy": _pct(1 - found.error)}
    if found.top5_error is not None:
        shown["top-5 error"] = f"{_pct(found.top5_error)}: the true class is not among the five likeliest"
    shown["balanced accuracy"] = f"{_pct(found.balanced_accuracy)}, the mean over classes of the share that is right"
    shown["cross entropy"] = f"{found.loss:.4f} nats (negative log-likelihood, NLL)"
    shown["calibration error"] = (
        f"{_pct(found.calibration_error)}, between how sure the net is and how often it is right (ECE, {BINS} bins of "
        "equal width)"
    )
    if raw is not None:
        shown["cross entropy"] += f"; {raw.loss:.4f} before calibration"
        shown["calibration error"] += f"; {_pct(raw.calibration_error)} before calibration"
    if reliability.calibration is not None:
        shown["calibration"] = reliability.calibration.in_words
    if answered is not None:
        wrong = "" if answered.error is None else f"; of these {_pct(answered.error)} are wrong"
        shown["answered"] = f"{_share(answered.images, found.images)}, the others with unknown{wrong}"
    return facts(shown.items())


def _classes(found: Score) -> str:
    head = ("class", "images", "precision", "recall", "F1")
    rows = {c: [c.name, f"{c.images:,}", _pct(c.precision), _pct(c.recall), _pct(c.f1)] for c in found.classes}
    if len(rows) <= LARGEST:
        return table(head, rows.values())
    weakest = sorted((c for c in rows if c.images), key=lambda c: c.f1)[:LISTED]
    return (
        paragraph(f"The {len(weakest)} classes of the lowest F1:")
        + table(head, [rows[c] for c in weakest])
        + f"<details><summary>All {len(rows):,} classes</summary>{table(head, rows.values())}</details>"
    )


def _confusion(found: Score) -> str:
    names, rows = [c.name for c in found.classes], found.confusion
    pairs = [
        (rows[i][j], names[i], names[j]) for i in range(len(names)) for j in range(len(names)) if i != j and rows[i][j]
    ]
    if not pairs:
        return paragraph("None: every prediction is right.")
    if len(names) > LARGEST:
        most = sorted(pairs, key=lambda pair: -pair[0])[:LISTED]
        return table(
            ["true class", "predicted", "images"], [[true, predicted, f"{count:,}"] for count, true, predicted in most]
        )
    shares = [[count / max(1, sum(row)) for count in row] for row in rows]
    largest = max(share for i, row in enumerate(shares) for j, share in enumerate(row) if i != j)
    upright = ' class="upright"' if sum(map(len, names)) > ACROSS else ""
    head = "".join(f'<th scope="col"{upright}><span>{html.escape(name)}</span></th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{html.escape(names[i])}</th>'
        + "".join(_cell(count, shares[i][j] / largest, right=i == j) for j, count in enumerate(row))
        + "</tr>"
        for i, row in enumerate(rows)
    )
    corner = "<td>true \\ predicted</td>"
    drawn = f'<table class="confusion"><thead><tr>{corner}{head}</tr></thead><tbody>{body}</tbody></table>'
    return illustration(
        scrolling(drawn),
        "Images by true class (row) and predicted class (column). Right predictions are on the diagonal, in grey; "
        "mistakes have colour, the stronger, the larger their share of the row.",
    )


def _cell(count: int, strength: float, *, right: bool) -> str:
    if not count:
        return "<td></td>"
    if right:
        return f'<td class="right">{count:,}</td>'
    colour = f"color-mix(in srgb, var(--wrong) {10 + (STRONGEST - 10) * strength:.0f}%, transparent)"
    return f'<td style="background: {colour}">{count:,}</td>'


def _calibration(predictions: Predictions, part: str) -> str:
    [panel] = panels("", height=3.8)
    axis, colour = panel.axis, SPLITS.get(part, SPLITS["test"])
    panel.line([0, 100], [0, 100], SOFT, width=1)
    bins = [(count, 100 * sure, 100 * right) for count, sure, right in calibration(predictions)]
    enough = [each for each in bins if each[0] >= FEW]
    panel.line([sure for _, sure, _ in enough], [right for *_, right in enough], colour, width=1)
    for count, sure, right in bins:
        inside = colour if count >= FEW else "none"
        size = 24 + 400 * count / len(predictions)
        axis.scatter([sure], [right], s=size, facecolor=inside, edgecolor=colour, zorder=3, clip_on=False)
    axis.set(
        xlabel="probability of the prediction (%)",
        ylabel="predictions that are right (%)",
        xlim=(0, 100),
        ylim=(0, 100),
    )
    counts = axis.secondary_xaxis("top")
    centres = [100 * (math.ceil(sure * BINS / 100) - 0.5) / BINS for _, sure, _ in bins]
    counts.set_xticks(centres, [f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k" for count, *_ in bins])
    counts.tick_params(color=INK, labelsize=8)
    counts.set_xlabel("images", fontsize=8)
    hollow = f" Hollow points have fewer than {FEW} images, too few to tell." if len(enough) < len(bins) else ""
    return illustration(
        svg([panel]),
        f"Predictions in {BINS} groups by their probability; the numbers at the top count the images of each. On "
        f"the straight line the net is right as often as it is sure.{hollow}",
    )


def _sheet(
    predictions: Predictions, image: Callable[[int], Image.Image], overlays: Mapping[int, Image.Image]
) -> Iterator[str]:
    if overlays:
        yield paragraph(
            "On the right what the net saw, and which places speak for the class that it named, by Grad-CAM: from "
            "violet, which do not, to yellow, which do most."
        )
    cells = []
    for position in worst(predictions, MISTAKES):
        truth, predicted = (
            predictions.class_names[int(i)] for i in (predictions.labels_N[position], predictions.top_NT[position, 0])
        )
        share = predictions.probabilities_NT[position, 0].item()
        file = Path(predictions.images[position]).name
        caption = (
            f"predicted <b>{html.escape(predicted)}</b>, {100 * share:.0f} % · is <b>{html.escape(truth)}</b>"
            f"<br>{html.escape(file)}"
        )
        drawn = thumbnail(image(position), file)
        if position in overlays:
            drawn = f'<div class="pair">{drawn}{thumbnail(overlays[position], f"what speaks for {predicted}")}</div>'
        cells.append(f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>")
    pairs = " pairs" if overlays else ""
    yield f'<div class="sheet{pairs}">{"".join(cells)}</div>' if cells else paragraph("None.")


def _outsiders(reliability: Reliability, image: Callable[[int], Image.Image] | None) -> list[str]:
    found = reliability.outsiders
    if found is None or image is None:
        return []
    shown = {
        "images": f"{found.images:,}",
        "AUROC": f"{found.auroc:.4f}: how often the net is surer of a measured image than of one of these; 0.5 is "
        "chance",
    }
    if found.unknown is not None:
        shown["answered with unknown"] = _share(found.unknown, found.images)
    cells = (
        f"<figure>{thumbnail(image(each.place), each.image)}<figcaption><b>{html.escape(each.class_name)}</b> "
        f"{100 * each.probability:.1f} %<br>{html.escape(Path(each.image).name)}</figcaption></figure>"
        for each in found.surest
    )
    return [
        heading("Images of none of the classes"),
        facts(shown.items()),
        paragraph("Those that the net is surest of:"),
        f'<div class="sheet">{"".join(cells)}</div>',
    ]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} images ({_pct(part / whole)})"


def _pct(share: float) -> str:
    return f"{100 * share:.2f} %"

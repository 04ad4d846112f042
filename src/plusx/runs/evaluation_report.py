"""evaluation.html and evaluation.json: how a net does on labelled images, and what it gets wrong."""

import base64
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from plusx.runs.figure import COLOURS, INK, canvas, svg
from plusx.runs.page import illustration, page, paragraph, table
from plusx.runs.predictions import Predictions, Score, calibration, worst
from plusx.runs.store import replace_file

MISTAKES = 24
SIDE = 112  # pixels of a picture's longer side on the sheet
LARGEST = 40  # classes that a drawn confusion matrix has room for
CONFUSED = 12  # pairs named where it is not drawn

_SHEET = """<style>
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem; }
.sheet figure { margin: 0; } .sheet img { width: 100%; image-rendering: pixelated; display: block; }
.sheet img.photo { image-rendering: auto; } .sheet figcaption { line-height: 1.35; overflow-wrap: anywhere; }
.sheet b { color: var(--ink); font-weight: 600; }
</style>"""


def write_evaluation(
    folder: Path,
    runs: Sequence[Path],
    part: str,
    views: str,
    predictions: Predictions,
    found: Score,
    *,
    picture: Callable[[int], Image.Image],
) -> None:
    """Write predictions.csv, and what follows from it as JSON and as a page.

    Args:
        folder: Existing directory.
        runs: Whose answers they are.
        part: What was measured on.
        views: What was seen of each picture, in words.
        predictions: The answers.
        found: Their score.
        picture: The image at a position.
    """
    predictions.write(folder / "predictions.csv")
    content = {"runs": [str(run) for run in runs], "data": part, "views": views, **asdict(found)}
    replace_file(folder / "evaluation.json", (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    title = f"{' and '.join(run.name for run in runs)} on {part}"
    body = [
        paragraph(_in_words(found, views, len(runs))),
        "<h2>Each class</h2>",
        _classes(found),
        "<h2>What is taken for what</h2>",
        _confusion(predictions, found),
        "<h2>How sure, and how often right</h2>",
        illustration(
            _calibration(predictions), "Answers by their probability; on the line, the net is as sure as right."
        ),
        "<h2>The worst mistakes</h2>",
        _sheet(predictions, picture),
    ]
    replace_file(folder / "evaluation.html", page(title, body))


def _in_words(found: Score, views: str, runs: int) -> str:
    who = f"The mean of {runs} nets" if runs > 1 else "The net"
    top5 = (
        ""
        if found.top5_error is None
        else f"; the true class is not among the five likeliest for {_pct(found.top5_error)}"
    )
    return (
        f"{who} is wrong on {_pct(found.error)} of {found.images:,} images ({views}){top5}. Negative log-likelihood "
        f"{found.loss:.4f} nats, expected calibration error {_pct(found.calibration_error)}, balanced accuracy "
        f"{_pct(found.balanced_accuracy)}."
    )


def _classes(found: Score) -> str:
    rows = [[c.name, f"{c.images:,}", _pct(c.precision), _pct(c.recall), _pct(c.f1)] for c in found.classes]
    return table(["class", "images", "precision", "recall", "F1"], rows)


def _confusion(predictions: Predictions, found: Score) -> str:
    names, rows = predictions.class_names, found.confusion
    pairs = [
        (rows[i][j], names[i], names[j]) for i in range(len(names)) for j in range(len(names)) if i != j and rows[i][j]
    ]
    if not pairs:
        return paragraph("Nothing: every answer is right.")
    if len(names) > LARGEST:
        most = sorted(pairs, key=lambda pair: -pair[0])[:CONFUSED]
        return table(["is", "taken for", "images"], [[is_, said, f"{count:,}"] for count, is_, said in most])
    size = max(3.2, 0.45 * len(names))
    figure, [axis] = canvas(1, size + 1.2)
    axis.grid(visible=False)
    shares = [[count / max(1, sum(row)) for count in row] for row in rows]
    places = range(len(names))
    axis.pcolormesh(places, places, shares, cmap=_from_paper(), vmin=0, vmax=1, shading="nearest")
    axis.invert_yaxis()
    axis.set_aspect("equal")
    for i, row in enumerate(rows):
        for j, count in enumerate(row):
            if count:
                dark = shares[i][j] > 0.5
                axis.text(j, i, f"{count:,}", ha="center", va="center", fontsize=8, color="white" if dark else INK)
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 2 else {}
    axis.set_xticks(places, names, **turned)
    axis.set_yticks(places, names)
    axis.set(xlabel="answer", ylabel="truth")
    return illustration(svg(figure), "Images by true class and answer; the darker, the larger the share of its row.")


def _from_paper() -> object:
    """From nothing to our blue, so that the page's own colour is zero."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    blue = to_rgb(COLOURS[1])
    return LinearSegmentedColormap.from_list("plusx", [(*blue, 0.0), (*blue, 1.0)])


def _calibration(predictions: Predictions) -> str:
    figure, [axis] = canvas(1, 4.2)
    bins = calibration(predictions)
    axis.plot([0, 100], [0, 100], color=INK, linewidth=1, alpha=0.4)
    axis.plot([100 * c for _, c, _ in bins], [100 * a for *_, a in bins], color=COLOURS[1], linewidth=1.4, alpha=0.6)
    sizes = [18 + 500 * count / len(predictions) for count, *_ in bins]
    axis.scatter([100 * c for _, c, _ in bins], [100 * a for *_, a in bins], s=sizes, color=COLOURS[1])
    axis.set(xlabel="probability of the answer (%)", ylabel="right (%)", xlim=(0, 103), ylim=(0, 103))
    return svg(figure)


def _sheet(predictions: Predictions, picture: Callable[[int], Image.Image]) -> str:
    positions = worst(predictions, MISTAKES)
    if not positions:
        return paragraph("None.")
    cells = []
    for position in positions:
        truth, said = (
            predictions.class_names[int(i)] for i in (predictions.labels_N[position], predictions.top_NT[position, 0])
        )
        share = predictions.probabilities_NT[position, 0].item()
        kind, source = _embedded(picture(position))
        caption = (
            f"<b>{html.escape(said)}</b> {100 * share:.0f} %<br>is {html.escape(truth)}<br>"
            f"{html.escape(Path(predictions.images[position]).name)}"
        )
        cells.append(f'<figure><img class="{kind}" src="{source}" alt=""><figcaption>{caption}</figcaption></figure>')
    return f'{_SHEET}<div class="sheet">{"".join(cells)}</div>'


def _embedded(picture: Image.Image) -> tuple[str, str]:
    """Whether a picture is a photo or of few pixels, and the picture as an address that holds it."""
    small = max(picture.size) <= SIDE
    if not small:
        picture.thumbnail((2 * SIDE, 2 * SIDE))  # twice, for screens of double density
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if small else "JPEG", quality=88)
    kind = "png" if small else "jpeg"
    return "pixel" if small else "photo", f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _pct(share: float) -> str:
    return f"{100 * share:.2f} %"

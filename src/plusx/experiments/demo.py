"""Deeper plain nets train worse, deeper residual nets do not; He et al. (2015), Fig. 1, Fig. 6 and Sec. 4.2.

Here on 8 x 8 handwritten digits, in about a minute: the same nets of the CIFAR family, one recipe, only the shortcuts
differ. The paper's point is the *training* error: a plain net of 56 layers could copy its 20-layer twin and let the
other layers pass their input on, and gradient descent does not find even that.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from plusx.data.sources import load_digits
from plusx.engine.events import Event, Progress, StoppedError
from plusx.engine.training import Trained
from plusx.experiments.building_blocks import building_blocks
from plusx.experiments.lab import made_or_resumed
from plusx.nets import entry
from plusx.progress import shown
from plusx.recipes import digits_degradation
from plusx.report.page import embedded, heading, illustration
from plusx.report.run import write_report
from plusx.runs.files import free_path

NETS = ("plain20", "plain56", "resnet20", "resnet56")


@dataclass(frozen=True)
class Demo:
    """The result of `demo`."""

    runs: tuple[Trained, ...]
    report: Path
    findings: tuple[str, ...]
    """What the numbers say, in sentences, whether or not the paper says the same."""
    holds: bool
    """Whether the deeper plain net has the higher training error, and by more than the deeper residual net."""


def demo(
    out: str | Path | None = None,
    *,
    seed: int = 0,
    progress: bool | Callable[[Progress], None] = True,
    should_stop: Callable[[], bool] | None = None,
) -> Demo:
    """Train four nets and compare their training errors.

    Args:
        out: Directory for the four run directories and report.html. It must be new, empty, or that of a stopped demo.
            By default, a free name under runs/.
        seed: Seed of all four.
        progress: True shows a bar in a terminal or a notebook; a callable is called with a
            `plusx.experiments.lab.Progress` over all four.
        should_stop: As for `train`.

    Raises:
        ValueError: The directory is not empty, and not that of a stopped demo of this seed.
        StoppedError: It was stopped; the message has the command that resumes it.
    """
    folder = Path(out) if out else free_path(Path("runs") / "demo")
    if folder.exists() and (not folder.is_dir() or {file.name for file in folder.iterdir()} - set(NETS)):
        raise ValueError(f"{folder} exists and is not an empty folder; choose another --out")
    work = [entry(net).macs for net in NETS]
    runs = []
    with shown(progress, "demo") as show:
        for number, net in enumerate(NETS):

            def over_all(event: object, number: int = number, net: str = net) -> None:
                if isinstance(event, Event):
                    done = sum(work[:number]) + work[number] * event.step / event.total_steps
                    show(Progress(net, number + 1, len(NETS), event, done, sum(work)))

            try:
                recipe = dataclasses.replace(digits_degradation(net), seed=seed)
                runs.append(made_or_resumed(folder / net, "digits", recipe, progress=over_all, should_stop=should_stop))
            except StoppedError as stopped:
                seeded = f" --seed {seed}" if seed else ""
                raise StoppedError(stopped.where, f"resume with: plusx demo --out {folder}{seeded}") from None
    errors = {net: run.card.results["train_error"] for net, run in zip(NETS, runs, strict=True)}
    findings, holds = _judge(errors)
    report = folder / "report.html"
    write_page([run.run for run in runs], report, findings)
    return Demo(tuple(runs), report, findings, holds)


def write_page(runs: Sequence[Path], out: Path, findings: Sequence[str]) -> None:
    """The report of the four runs, with a drawing of the two kinds of blocks, and some of the digits.

    Args:
        runs: The four run directories.
        out: Path of the page.
        findings: Sentences under its heading.
    """
    blocks = illustration(
        building_blocks(),
        "The same two layers F, without a shortcut and with one. Nets of 20 layers have 9 such blocks, nets of 56 "
        "have 27, and a shortcut adds no parameters. He et al. (2015), Fig. 2.",
    )
    digits, alt = _some_digits()
    shown = illustration(embedded(digits, alt, css="wide pixels", lossless=True), f"{alt}.")
    title = "Why shortcuts: deeper plain nets train worse"
    write_report(
        runs, out, title=title, findings=findings, before=[blocks], after=[heading("Some of the images"), shown]
    )


def _some_digits() -> tuple[Image.Image, str]:
    """An image with a column of digits for each class, and its description."""
    images = load_digits()["train"]
    rows, classes = 3, len(images.class_names)
    sheet = Image.new("L", (9 * classes - 1, 9 * rows - 1), 128)
    for label in range(classes):
        for row, position in enumerate((images.labels_N == label).nonzero()[:rows, 0].tolist()):
            sheet.paste(images.image(position), (9 * label, 9 * row))
    return sheet, f"{rows * classes} of the {len(images):,} training images, {rows} of each digit, 8 x 8 pixels each"


def _judge(errors: dict[str, float]) -> tuple[tuple[str, ...], bool]:
    plain, residual = errors["plain56"] - errors["plain20"], errors["resnet56"] - errors["resnet20"]
    holds = plain > 0 and plain > residual and errors["resnet56"] < errors["plain56"]
    sentences = [
        f"Plain nets: from 20 to 56 layers the training error goes from {_pct(errors['plain20'])} to "
        f"{_pct(errors['plain56'])}. Residual nets: from {_pct(errors['resnet20'])} to {_pct(errors['resnet56'])}.",
        "This is the degradation of He et al. (2015): more layers, higher training error, and not by overfitting; with "
        "shortcuts, y = F(x) + x, it is gone."
        if holds
        else "This seed does not show the degradation of He et al. (2015).",
    ]
    return tuple(sentences), holds


def _pct(error: float) -> str:
    return f"{100 * error:.1f} %"

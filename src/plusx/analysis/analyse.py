"""A question put to a trained net: `plusx analyse RUN QUESTION`."""

import copy
import difflib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import nn

from plusx.analysis import features, gradients, lesions, paths, responses, shortcuts
from plusx.analysis.blocks import blocks, residual_blocks
from plusx.data.batches import Batch, EvalBatches
from plusx.data.images import spread
from plusx.data.randomness import derive_seed
from plusx.nets import build
from plusx.nets.own import short
from plusx.progress import shown
from plusx.report.figure import standalone
from plusx.runs.card import Card
from plusx.runs.files import replace_file
from plusx.runs.images import images_of
from plusx.runs.metrics import Measurement
from plusx.runs.store import load_run

Series = dict[str, list[Measurement]]
"""By net, or by what was done to it."""
BATCH_SIZE = 128


@dataclass(frozen=True)
class Question:
    """A question that can be put to a net, and how it is answered."""

    asks: str
    """The question itself, with the figure of a paper that answers it."""
    images: int
    """How many images it needs, evenly spaced over those that the run holds back."""
    answer: Callable[["Subject"], tuple[Series, str]]
    """Makes the measurements, and the figure as SVG."""
    passes: Callable[[nn.Module], int]
    """How often each image passes through the net, or through its untrained twin."""
    columns: Mapping[str, Mapping[str, str]]
    """Column heads of the tables, by series, or "" for every series. The key "name" is the head of the first column;
    each other key is the last word of a measurement's name, or "" for the whole name. A head with (%) marks a share."""


class Table(NamedTuple):
    """Measurements as a table."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Analysed:
    """The answer of `analyse`."""

    run: Path
    question: str
    asks: str
    images: int
    series: Series
    figure: Path
    """SVG, or PNG where the answer is an image."""

    def __repr__(self) -> str:
        return f"<Analysed {self.run}: {self.question} on {self.images:,} images, {self.figure}>"

    def tables(self) -> list[Table]:
        """The series as tables, with units in their heads; errors are percentages."""
        return [_table(title, series, QUESTIONS[self.question].columns) for title, series in self.series.items()]


@dataclass(frozen=True)
class Subject:
    """The net that a question is about, and the images that it is put with."""

    name: str
    """The net's name."""
    net: nn.Module
    untrained: nn.Module
    """The net as it was before its first step."""
    batches: Sequence[Batch]


def _responses(subject: Subject) -> tuple[Series, str]:
    found = {subject.name: list(responses.probe(subject.net, subject.batches))}
    return found, responses.draw(found)


def _gradients(subject: Subject) -> tuple[Series, str]:
    found = {
        "at initialisation": list(gradients.probe(subject.untrained, subject.batches)),
        "trained": list(gradients.probe(subject.net, subject.batches)),
    }
    return found, gradients.draw({f"{subject.name}, {when}": each for when, each in found.items()})


def _lesions(subject: Subject) -> tuple[Series, str]:
    found = {subject.name: list(lesions.probe(subject.net, subject.batches))}
    return found, lesions.draw(found)


def _shuffling(subject: Subject) -> tuple[Series, str]:
    removed = list(lesions.removing(subject.net, subject.batches))
    moved = list(lesions.shuffling(subject.net, subject.batches))
    return {"taken away": removed, "moved": moved}, lesions.draw_many({subject.name: removed}, {subject.name: moved})


def _paths(subject: Subject) -> tuple[Series, str]:
    found = list(paths.probe(subject.net, subject.batches))
    return {subject.name: found}, paths.draw(found)


def _shortcuts(subject: Subject) -> tuple[Series, str]:
    found = list(shortcuts.probe(subject.net, subject.batches))
    return {subject.name: found}, shortcuts.draw(found)


QUESTIONS = {
    "responses": Question(
        "How strongly does each layer respond? He et al. (2015), Fig. 7",
        2_000,
        _responses,
        lambda net: 1,
        {"": {"name": "layer", "": "deviation of its response"}},
    ),
    "gradients": Question(
        "How large is the gradient at each layer? He et al. (2015), Sec. 4.1",
        256,
        _gradients,
        lambda net: 2,
        {"": {"name": "layer", "": "norm of its weights' gradient"}},
    ),
    "lesions": Question(
        "What is lost without each block? Veit et al. (2016), Fig. 3",
        2_000,
        _lesions,
        lambda net: 1 + len(blocks(net)),
        {"": {"name": "block taken away", "": "error (%)"}},
    ),
    "shuffling": Question(
        "What is lost without k blocks, or out of order? Veit et al. (2016), Fig. 5",
        1_000,
        _shuffling,
        lesions.passes,
        {
            "taken away": {"name": "blocks taken away", "": "error (%)"},
            "moved": {"name": "Kendall's tau of the blocks' order", "": "error (%)"},
        },
    ),
    "paths": Question(
        "By paths of which length does gradient come? Veit et al. (2016), Fig. 6",
        128,
        _paths,
        lambda net: paths.DRAWS * (1 + len(residual_blocks(net))),
        {"": {"name": "branches passed", "path": "norm of a path's gradient", "share": "share of all gradient (%)"}},
    ),
    "shortcuts": Question(
        "What does each shortcut contribute?",
        1_000,
        _shortcuts,
        lambda net: 1 + len(residual_blocks(net)),
        {"": {"name": "block", "ratio": "|S(x)| / |F(x)|", "error": "error without S (%)"}},
    ),
}
IMAGE_QUESTIONS = {
    "filters": "What do the first filters look like? Krizhevsky et al. (2012), Fig. 3",
    "features": "What do the stages make of an image? LeCun et al. (1998), Fig. 2",
}


def analyse(
    run: str | Path,
    question: str,
    *,
    data_dir: str | Path | None = None,
    trust_code: bool = False,
    net: nn.Module | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> Analysed:
    """Put a question to a trained net; the answer is a figure in the run's figures/, and its numbers beside it.

    Args:
        run: Run directory.
        question: responses, gradients, lesions, shuffling, paths, shortcuts, filters or features.
        data_dir: Folder of the run's own images, if they are no longer where they were in training.
        trust_code: As for `load`.
        net: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with (done, total): the files of a
            folder while they are read, then images, each counted when it is read and at every pass through the net.

    Raises:
        ValueError: The question is unknown, the run cannot be read, or the net lacks what the question is about.

    Example:
        >>> from plusx.engine.training import train
        >>> from plusx.recipes.digits import digits
        >>> run = train("digits", recipe=digits().smoke(), out="runs/digits").run
        >>> [m.name for m in analyse(run, "responses").series["resnet20"]][:2]
        ['stem.conv.conv', 'stages.0.0.branch.conv1.conv']
    """
    known = {**QUESTIONS, **IMAGE_QUESTIONS, "explain": ""}
    if question == "explain":
        raise ValueError("explain is about images that you name: plusx.explain_files(run, images)")
    if question not in known:
        near = difflib.get_close_matches(question, known, n=1)
        raise ValueError(
            f"unknown question {question!r}; {f'did you mean {near[0]!r}?' if near else 'ask ' + ', '.join(known)}"
        )
    with shown(progress, question, unit="images") as report:
        loaded = load_run(run, trust_code=trust_code, net=net)
        return _answer(Path(run), loaded, question, Path(data_dir) if data_dir else None, report)


def _answer(
    run: Path,
    loaded: tuple[nn.Module, Card],
    question: str,
    data_dir: Path | None,
    report: Callable[[int, int], None],
) -> Analysed:
    net, card = loaded
    if question == "filters":
        return _write_image(run, question, features.filters(net), 0)
    images = images_of(run, card, data_dir=data_dir, or_train=True, progress=report).images
    if question == "features":
        x_BCHW, _ = EvalBatches(images, card.preprocess, 1)[0]
        return _write_image(run, question, features.features(net, x_BCHW[0]), 1)
    about = QUESTIONS[question]
    # Of a net that began as somebody's object nothing has the first weights; one question alone needs them.
    began_as_object = card.code is not None and card.code["as_object"]
    if began_as_object and question == "gradients":
        raise ValueError(f"{run} began with a net that was passed as net=, and does not have its first weights")
    seen, twin = spread(images, about.images), copy.deepcopy(net) if began_as_object else untrained(card)
    total = len(seen) * (1 + about.passes(net))
    done = 0

    def count(labels: int) -> None:
        nonlocal done
        done += labels
        report(done, total)

    for each in (net, twin):  # copies of a net, which some probes make, keep its hooks
        each.register_forward_hook(lambda module, inputs, output: count(len(inputs[0])))
    batches = []
    for batch in EvalBatches(seen, card.preprocess, BATCH_SIZE):
        batches.append(batch)
        count(len(batch[1]))
    with torch.random.fork_rng(devices=[]):
        series, figure = about.answer(Subject(short(card.recipe.net.name), net, twin, batches))
    folder = run / "figures"
    folder.mkdir(exist_ok=True)
    content = {
        "question": about.asks,
        "images": len(seen),
        "kept_step": card.results.get("kept_step"),
        "series": {name: [m._asdict() for m in found] for name, found in series.items()},
    }
    replace_file(folder / f"{question}.json", (json.dumps(content, indent=1) + "\n").encode())
    replace_file(folder / f"{question}.svg", standalone(figure).encode())
    return Analysed(run, question, about.asks, len(seen), series, folder / f"{question}.svg")


def _table(title: str, series: Sequence[Measurement], columns: Mapping[str, Mapping[str, str]]) -> Table:
    heads = dict(columns.get(title) or columns[""])
    names = heads.pop("name")
    if list(heads) == [""]:
        return Table(title, (names, heads[""]), tuple((m.name, _cell(heads[""], m.value)) for m in series))
    cells: dict[str, dict[str, str]] = {}
    for m in series:
        name, _, kind = m.name.rpartition(" ")
        if kind not in heads:  # the whole net has an error only
            name, kind = m.name, "error"
        cells.setdefault(name, {})[kind] = _cell(heads[kind], m.value)
    rows = tuple((name, *(row.get(kind, "") for kind in heads)) for name, row in cells.items())
    return Table(title, (names, *heads.values()), rows)


def _cell(head: str, value: float) -> str:
    return f"{100 * value:.2f}" if head.endswith("(%)") else f"{value:.4g}"


def untrained(card: Card) -> nn.Module:
    """The net of a run as it was before its first step; weights that it was started from are not loaded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(card.recipe.seed, "init"))
        return build(card.recipe.net.name, **card.net_options)


def _write_image(run: Path, question: str, image: Image.Image, images: int) -> Analysed:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    (run / "figures").mkdir(exist_ok=True)
    file = run / "figures" / f"{question}.png"
    replace_file(file, buffer.getvalue())
    return Analysed(run, question, IMAGE_QUESTIONS[question], images, {}, file)

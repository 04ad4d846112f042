"""A question put to a trained net: `plusx analyse RUN QUESTION`."""

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

from plusx.analysis import features as pictures
from plusx.analysis import gradients, lesions, paths, responses, shortcuts
from plusx.analysis.blocks import blocks, residual_blocks
from plusx.data.batches import Batch, EvalBatches
from plusx.data.images import spread
from plusx.data.randomness import derive_seed
from plusx.nets import build
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
    """What can be asked."""

    asks: str
    """In a sentence, with the figure that answers it in a paper."""
    images: int
    """That it looks at, evenly spaced over those that the run holds back."""
    answer: Callable[["Asked"], tuple[Series, str]]
    """Measurements, and the figure as SVG."""
    passes: Callable[[nn.Module], int]
    """How often each image goes through the net, or through its fresh twin."""
    columns: Mapping[str, Mapping[str, str]]
    """Heads of the tables, by series, or "" for every one: first of the names, then by the last word of a measurement's
    name, or "" for the whole of it. What is in per cent is a share."""


class Shown(NamedTuple):
    """Measurements as a table."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Analysed:
    """What `analyse` found."""

    run: Path
    question: str
    asks: str
    images: int
    series: Series
    figure: Path
    """SVG, or PNG where the answer is an image."""

    def __repr__(self) -> str:
        return f"<Analysed {self.run}: {self.question} on {self.images:,} images, {self.figure}>"

    def tables(self) -> list[Shown]:
        """The series as tables, with units in their heads; an error is a percentage."""
        return [_shown(title, found, QUESTIONS[self.question].columns) for title, found in self.series.items()]


@dataclass(frozen=True)
class Asked:
    """What an answer is made of."""

    name: str
    """Of the net."""
    net: nn.Module
    fresh: nn.Module
    """The net as it was before its first step."""
    batches: Sequence[Batch]


def _responses(asked: Asked) -> tuple[Series, str]:
    found = {asked.name: list(responses.probe(asked.net, asked.batches))}
    return found, responses.draw(found)


def _gradients(asked: Asked) -> tuple[Series, str]:
    found = {
        "at initialisation": list(gradients.probe(asked.fresh, asked.batches)),
        "trained": list(gradients.probe(asked.net, asked.batches)),
    }
    return found, gradients.draw({f"{asked.name}, {when}": each for when, each in found.items()})


def _lesions(asked: Asked) -> tuple[Series, str]:
    found = {asked.name: list(lesions.probe(asked.net, asked.batches))}
    return found, lesions.draw(found)


def _shuffling(asked: Asked) -> tuple[Series, str]:
    removed = list(lesions.removing(asked.net, asked.batches))
    moved = list(lesions.shuffling(asked.net, asked.batches))
    return {"taken away": removed, "moved": moved}, lesions.draw_many({asked.name: removed}, {asked.name: moved})


def _paths(asked: Asked) -> tuple[Series, str]:
    found = list(paths.probe(asked.net, asked.batches))
    return {asked.name: found}, paths.draw(found)


def _shortcuts(asked: Asked) -> tuple[Series, str]:
    found = list(shortcuts.probe(asked.net, asked.batches))
    return {asked.name: found}, shortcuts.draw(found)


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
PICTURES = {
    "filters": "What do the first filters look like? Krizhevsky et al. (2012), Fig. 3",
    "features": "What do the stages make of an image? LeCun et al. (1998), Fig. 2",
}


def analyse(
    run: str | Path,
    question: str,
    *,
    data_dir: str | Path | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Analysed:
    """Put a question to a trained net; the answer is a figure in the run's figures/, and its numbers beside it.

    Args:
        run: Run directory.
        question: responses, gradients, lesions, shuffling, paths, shortcuts, filters or features.
        data_dir: Where CIFAR lies, if not where it lay in training.
        watch: Called with the images done and the images in all, each counted when it is read and whenever the net
            looks at it; first, while a folder is read, with files.

    Raises:
        ValueError: The question is unknown, the run cannot be read, or the net lacks what is asked about.

    Example:
        >>> from plusx.engine.training import train
        >>> from plusx.recipes.digits import digits
        >>> run = train("digits", recipe=digits().smoke(), out="runs/digits").run
        >>> [m.name for m in analyse(run, "responses").series["resnet20"]][:2]
        ['stem.conv.conv', 'stages.0.0.branch.conv1.conv']
    """
    known = {**QUESTIONS, **PICTURES}
    if question not in known:
        near = difflib.get_close_matches(question, known, n=1)
        raise ValueError(
            f"unknown question {question!r}; {f'did you mean {near[0]!r}?' if near else 'ask ' + ', '.join(known)}"
        )
    path = Path(run)
    net, card = load_run(path)
    folder = path / "figures"
    if question == "filters":
        return _picture(path, question, pictures.filters(net), 0)
    where = Path(data_dir) if data_dir else None
    images = images_of(path, card, data_dir=where, or_train=True, progress=watch).images
    if question == "features":
        x_BCHW, _ = EvalBatches(images, card.preprocess, 1)[0]
        return _picture(path, question, pictures.features(net, x_BCHW[0]), 1)
    about = QUESTIONS[question]
    seen, twin = spread(images, about.images), fresh(card)
    total = len(seen) * (1 + about.passes(net))
    done = 0

    def count(labels: int) -> None:
        nonlocal done
        done += labels
        if watch:
            watch(done, total)

    for each in (net, twin):  # copies of a net, which some probes make, keep its hooks
        each.register_forward_hook(lambda module, inputs, output: count(len(inputs[0])))
    batches = []
    for batch in EvalBatches(seen, card.preprocess, BATCH_SIZE):
        batches.append(batch)
        count(len(batch[1]))
    with torch.random.fork_rng(devices=[]):
        series, figure = about.answer(Asked(card.recipe.net.name, net, twin, batches))
    folder.mkdir(exist_ok=True)
    content = {
        "question": about.asks,
        "images": len(seen),
        "series": {name: [m._asdict() for m in found] for name, found in series.items()},
    }
    replace_file(folder / f"{question}.json", (json.dumps(content, indent=1) + "\n").encode())
    replace_file(folder / f"{question}.svg", standalone(figure).encode())
    return Analysed(path, question, about.asks, len(seen), series, folder / f"{question}.svg")


def _shown(title: str, found: Sequence[Measurement], columns: Mapping[str, Mapping[str, str]]) -> Shown:
    heads = dict(columns.get(title) or columns[""])
    names = heads.pop("name")
    if list(heads) == [""]:
        return Shown(title, (names, heads[""]), tuple((m.name, _cell(heads[""], m.value)) for m in found))
    cells: dict[str, dict[str, str]] = {}
    for m in found:
        name, _, kind = m.name.rpartition(" ")
        if kind not in heads:  # the whole net, of which there is an error alone
            name, kind = m.name, "error"
        cells.setdefault(name, {})[kind] = _cell(heads[kind], m.value)
    rows = tuple((name, *(row.get(kind, "") for kind in heads)) for name, row in cells.items())
    return Shown(title, (names, *heads.values()), rows)


def _cell(head: str, value: float) -> str:
    return f"{100 * value:.2f}" if head.endswith("(%)") else f"{value:.4g}"


def fresh(card: Card) -> nn.Module:
    """The net of a run as it was before its first step, but for weights that it started from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(card.recipe.seed, "init"))
        return build(card.recipe.net.name, **card.net_options)


def _picture(run: Path, question: str, picture: Image.Image, images: int) -> Analysed:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    (run / "figures").mkdir(exist_ok=True)
    file = run / "figures" / f"{question}.png"
    replace_file(file, buffer.getvalue())
    return Analysed(run, question, PICTURES[question], images, {}, file)

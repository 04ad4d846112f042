"""A question put to a trained net: `plusx analyse RUN QUESTION`."""

import difflib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from plusx.analysis import gradients, lesions, paths, pictures, responses, shortcuts
from plusx.data.batches import Batch, EvalBatches
from plusx.data.images import spread
from plusx.data.randomness import derive_seed
from plusx.nets import build
from plusx.runs.card import Card
from plusx.runs.figure import standalone
from plusx.runs.images import images_of
from plusx.runs.store import Measurement, load_run, replace_file

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
    answer: Callable[[nn.Module, Card, Sequence[Batch]], tuple[Series, str]]
    """Measurements, and the figure as SVG."""


@dataclass(frozen=True)
class Analysed:
    """What `analyse` found."""

    run: Path
    question: str
    asks: str
    images: int
    series: Series
    figure: Path
    """SVG, or PNG where the answer is a picture."""


def _responses(net: nn.Module, card: Card, batches: Sequence[Batch]) -> tuple[Series, str]:
    found = {card.recipe.net.name: list(responses.probe(net, batches))}
    return found, responses.draw(found)


def _gradients(net: nn.Module, card: Card, batches: Sequence[Batch]) -> tuple[Series, str]:
    found = {
        "at initialisation": list(gradients.probe(fresh(card), batches)),
        "trained": list(gradients.probe(net, batches)),
    }
    return found, gradients.draw({f"{card.recipe.net.name}, {when}": each for when, each in found.items()})


def _lesions(net: nn.Module, card: Card, batches: Sequence[Batch]) -> tuple[Series, str]:
    found = {card.recipe.net.name: list(lesions.probe(net, batches))}
    return found, lesions.draw(found)


def _shuffling(net: nn.Module, card: Card, batches: Sequence[Batch]) -> tuple[Series, str]:
    name = card.recipe.net.name
    removed, moved = list(lesions.removing(net, batches)), list(lesions.shuffling(net, batches))
    return {"taken away": removed, "moved": moved}, lesions.draw_many({name: removed}, {name: moved})


def _paths(net: nn.Module, card: Card, batches: Sequence[Batch]) -> tuple[Series, str]:
    found = list(paths.probe(net, batches))
    return {card.recipe.net.name: found}, paths.draw(found)


def _shortcuts(net: nn.Module, card: Card, batches: Sequence[Batch]) -> tuple[Series, str]:
    found = list(shortcuts.probe(net, batches))
    return {card.recipe.net.name: found}, shortcuts.draw(found)


QUESTIONS = {
    "responses": Question("How strongly does each layer respond? He et al. (2015), Fig. 7", 2_000, _responses),
    "gradients": Question("How large is the gradient at each layer? He et al. (2015), Sec. 4.1", 256, _gradients),
    "lesions": Question("What is lost without each block? Veit et al. (2016), Fig. 3", 2_000, _lesions),
    "shuffling": Question(
        "What is lost without k blocks, or out of order? Veit et al. (2016), Fig. 5", 1_000, _shuffling
    ),
    "paths": Question("By paths of which length does gradient come? Veit et al. (2016), Fig. 6", 128, _paths),
    "shortcuts": Question("What does each shortcut contribute?", 1_000, _shortcuts),
}
PICTURES = {
    "filters": "What do the first filters look like? Krizhevsky et al. (2012), Fig. 3",
    "features": "What do the stages make of a picture? LeCun et al. (1998), Fig. 2",
}


def analyse(run: str | Path, question: str, *, data_dir: str | Path | None = None) -> Analysed:
    """Put a question to a trained net; the answer is a figure in the run's figures/, and its numbers beside it.

    Args:
        run: Run directory.
        question: responses, gradients, lesions, shuffling, paths, shortcuts, filters or features.
        data_dir: Where CIFAR lies, if not where it lay in training.

    Raises:
        ValueError: The question is unknown, the run cannot be read, or the net has not what is asked about.

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
    images = images_of(path, card, data_dir=Path(data_dir) if data_dir else None, or_train=True).images
    if question == "features":
        x_BCHW, _ = EvalBatches(images, card.preprocess, 1)[0]
        return _picture(path, question, pictures.features(net, x_BCHW[0]), 1)
    asked = QUESTIONS[question]
    seen = spread(images, asked.images)
    with torch.random.fork_rng(devices=[]):
        series, figure = asked.answer(net, card, list(EvalBatches(seen, card.preprocess, BATCH_SIZE)))
    folder.mkdir(exist_ok=True)
    content = {
        "question": asked.asks,
        "images": len(seen),
        "series": {name: [m._asdict() for m in found] for name, found in series.items()},
    }
    replace_file(folder / f"{question}.json", (json.dumps(content, indent=1) + "\n").encode())
    replace_file(folder / f"{question}.svg", standalone(figure).encode())
    return Analysed(path, question, asked.asks, len(seen), series, folder / f"{question}.svg")


def fresh(card: Card) -> nn.Module:
    """The net of a run as it was before its first step, but for weights that it was given."""
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

"""Gradients of deep plain nets with batch norm do not vanish, and the nets degrade; He et al. (2015), Sec. 4.1."""

import statistics
from collections.abc import Mapping
from typing import Any

from plusx.analysis import gradients
from plusx.analysis.analyse import untrained
from plusx.data.batches import EvalBatches
from plusx.data.images import spread
from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.runs.images import images_of
from plusx.runs.metrics import Measurement
from plusx.runs.store import load_run

NETS = ("plain20", "plain56", "resnet56")
IMAGES = 512


def trials(budget: Budget) -> tuple[Trial, ...]:
    """The first seed of each net, those of `degradation`."""
    return pooled(*(cifar_trials(net, (0,), budget, "long") for net in NETS))


def conclude(lab: Lab, budget: Budget) -> Result:
    """Gradient norms by layer, before the first step and after the last."""
    found, errors = {}, {}
    for trial in trials(budget):
        run = lab.run(trial)
        net, card = load_run(run)
        errors[trial.recipe.net.name] = card.results["train_error"]
        batches = list(
            EvalBatches(spread(images_of(run, card, data_dir=lab.data_dir).images, IMAGES), card.preprocess, 128)
        )
        for when, model in (("first step", untrained(card)), ("last step", net)):
            found[f"{trial.recipe.net.name}, {when}"] = list(gradients.probe(model, batches))
    rows, spans = [], {}
    for name, measurements in found.items():
        layers = [m.value for m in measurements[:-1]]  # the last layer is linear, and of another size
        spans[name] = layers[0] / layers[-1]
        rows.append(
            (name, f"{min(layers):.1e}", f"{statistics.median(layers):.1e}", f"{max(layers):.1e}", f"{spans[name]:.2f}")
        )
    before, after = (spans[f"plain56, {when} step"] for when in ("first", "last"))
    vanishes, explodes = min(before, after) < 0.01, max(before, after) > 100
    degrades = errors["plain56"] > errors["plain20"]
    findings = [
        f"In plain-56 the first layer's gradient is {before:.1f} times the last convolution's before training, and "
        f"{after:.1f} times after it: it {'vanishes' if vanishes else 'does not vanish'}."
    ]
    if explodes:
        findings.append(
            "But before training it explodes: batch norm without shortcuts makes gradients grow with depth, until the "
            "first steps are made (Yang et al. 2019, arXiv:1902.08129). 'Healthy' overstates such a start, and in a "
            "short run it may account for some of the error of plain-56."
        )
    findings.append(
        f"Plain-56 ends at {100 * errors['plain56']:.1f} % training error, plain-20 at {100 * errors['plain20']:.1f} %."
    )
    if degrades and not vanishes:
        findings.append(
            "Degradation is not caused by vanishing gradients; the paper conjectures that deep plain nets converge "
            "exponentially slowly."
        )
    head = ("net", "minimum", "median", "maximum", "ratio of first to last layer")
    numbers = {name: [m.value for m in each] for name, each in found.items()}
    table = Table("Gradient norms over layers", head, tuple(rows))
    seen = {
        "gradients do not vanish": not vanishes,
        "gradients do not explode": not explodes,
        "plain-56 degrades all the same": degrades,
    }
    return Result(tuple(findings), seen, (table,), numbers)


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    caption = "Norm of the gradient at the weights of each layer, mean of four batches of test images in training mode."
    found = {name: [Measurement("", value, "1") for value in each] for name, each in numbers.items()}
    return [Figure("gradients", gradients.draw(found), caption)]


GRADIENTS = Experiment(
    "gradients",
    "The degradation of deep plain nets is unlikely to be caused by vanishing gradients: with batch norm they have "
    "healthy norms (He et al. 2015, Sec. 4.1).",
    conclude,
    trials,
    _figures,
    minutes=92,
)

"""How strongly layers respond, in plain and residual nets; He et al. (2015), Fig. 7."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plusx.analysis import responses
from plusx.data.batches import EvalBatches
from plusx.data.images import spread
from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.runs.images import images_of
from plusx.runs.metrics import Measurement
from plusx.runs.store import load_run

NETS = ("plain20", "plain56", "resnet20", "resnet56", "resnet110")
IMAGES, GROUP = 2_000, 20


def trials(budget: Budget) -> tuple[Trial, ...]:
    """The first seed of each net of the figure."""
    return pooled(*(cifar_trials(net, (0,), budget, "long") for net in NETS))


def conclude(lab: Lab, budget: Budget) -> Result:
    """The curves, and whether residual nets respond less, and deeper ones less still."""
    found, typical = {}, {}
    for trial in trials(budget):
        run = lab.run(trial)
        net, card = load_run(run)
        groups = list(
            EvalBatches(spread(images_of(run, card, data_dir=lab.data_dir).images, IMAGES), card.preprocess, GROUP)
        )
        found[trial.recipe.net.name] = list(responses.probe(net, groups))
        of_groups = zip(*(responses.probe(net, [group]) for group in groups), strict=True)
        typical[trial.recipe.net.name] = [_median(layer) for layer in of_groups]
    means, typical_means = ({net: _mean(each) for net, each in which.items()} for which in (found, typical))
    less = means["resnet20"] < means["plain20"] and means["resnet56"] < means["plain56"]
    deeper = means["resnet110"] < means["resnet56"] < means["resnet20"]
    findings = [
        f"Residual nets respond {'less' if less else 'not less'} than their plain twins: mean deviation "
        f"{means['resnet20']:.2f} against {means['plain20']:.2f} with 20 layers, {means['resnet56']:.2f} against "
        f"{means['plain56']:.2f} with 56.",
        f"With 110 layers it is {means['resnet110']:.2f}, so deeper nets "
        f"{'respond less' if deeper else 'do not always respond less'}.",
    ]
    if not deeper and typical_means["resnet110"] < typical_means["resnet56"] < typical_means["resnet20"]:
        medians = [f"{typical_means[net]:.2f}" for net in ("resnet20", "resnet56", "resnet110")]
        findings.append(
            f"In the median over groups of {GROUP} images they do: {', '.join(medians[:-1])} and {medians[-1]} with "
            "20, 56 and 110 layers. A few images, whose responses grow from block to block, make the difference."
        )
    rows = [(net, str(len(found[net])), f"{mean:.3f}", f"{typical_means[net]:.3f}") for net, mean in means.items()]
    head = ("net", "layers", "all images", f"median of groups of {GROUP}")
    table = Table("Mean over layers of the response's deviation", head, tuple(rows))
    numbers = {
        which: {net: [m.value for m in each] for net, each in nets.items()}
        for which, nets in (("all images", found), ("median of groups", typical))
    }
    seen = {"residual nets respond less than plain ones": less, "the deeper the less": deeper}
    return Result(tuple(findings), seen, (table,), numbers)


def _figures(numbers: Mapping[str, Any]) -> list[Figure]:
    caption = (
        "Deviation of each 3x3 layer's response after batch norm, before ReLU or addition; He et al. (2015), Fig. 7. "
        f"Medians of groups of {GROUP} test images, {IMAGES:,} in all."
    )
    typical = {net: [Measurement("", v, "1") for v in values] for net, values in numbers["median of groups"].items()}
    return [Figure("responses", responses.draw(typical), caption)]


def _median(layer: Sequence[Measurement]) -> Measurement:
    return layer[0]._replace(value=statistics.median(m.value for m in layer))


def _mean(measurements: Iterable[Measurement]) -> float:
    return statistics.mean(m.value for m in measurements)


RESPONSES = Experiment(
    "responses",
    "Layers of residual nets respond less than those of plain nets, and the deeper the net the less "
    "(He et al. 2015, Fig. 7).",
    conclude,
    trials,
    _figures,
    minutes=165,
)

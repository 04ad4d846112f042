"""How strongly layers respond, in plain and residual nets; He et al. (2015), Fig. 7."""

import statistics

from plusx.analysis import responses
from plusx.data.batches import EvalBatches
from plusx.data.images import spread
from plusx.engine.evaluation import own_images
from plusx.experiments.cifar import cifar_trials, pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.runs.store import load_run

NETS = ("plain20", "plain56", "resnet20", "resnet56", "resnet110")
IMAGES = 2_000


def trials(budget: Budget) -> tuple[Trial, ...]:
    """The first seed of each net of the figure."""
    return pooled(*(cifar_trials(net, (0,), budget, "long") for net in NETS))


def conclude(lab: Lab, budget: Budget) -> Result:
    """The curves, and whether residual nets respond less, and deeper ones less still."""
    found = {}
    for trial in trials(budget):
        net, card = load_run(lab.run(trial))
        images = spread(own_images(card, lab.data_dir)[1], IMAGES)
        found[trial.recipe.net.name] = list(responses.probe(net, EvalBatches(images, card.preprocess, 128)))
    means = {net: statistics.mean(m.value for m in each) for net, each in found.items()}
    less = means["resnet20"] < means["plain20"] and means["resnet56"] < means["plain56"]
    deeper = means["resnet110"] < means["resnet56"] < means["resnet20"]
    findings = [
        f"Residual nets respond {'less' if less else 'not less'} than their plain twins: mean deviation "
        f"{means['resnet20']:.2f} against {means['plain20']:.2f} with 20 layers, {means['resnet56']:.2f} against "
        f"{means['plain56']:.2f} with 56.",
        f"With 110 layers it is {means['resnet110']:.2f}: the deeper "
        f"{'the less' if deeper else 'is not always the less'}.",
    ]
    if budget == "quick" and not (less and deeper):
        findings.append(
            "The deviation is about batch norm's scale, which begins at 1 and which weight decay draws in over the "
            "paper's 64,000 steps; in a short run it has hardly begun to. That is the likeliest reason."
        )
    rows = [(net, str(len(found[net])), f"{mean:.3f}") for net, mean in means.items()]
    table = Table("Mean over layers of the response's deviation", ("net", "layers", "mean"), tuple(rows))
    caption = (
        "Deviation of each 3x3 layer's response after batch norm, before ReLU or addition; He et al. (2015), Fig. 7. "
        f"{IMAGES:,} test images."
    )
    numbers = {net: [m.value for m in each] for net, each in found.items()}
    seen = {"residual nets respond less than plain ones": less, "the deeper the less": deeper}
    return Result(tuple(findings), seen, (table,), (Figure("responses", responses.draw(found), caption),), numbers)


RESPONSES = Experiment(
    "responses",
    "Layers of residual nets respond less than those of plain nets, and the deeper the net the less "
    "(He et al. 2015, Fig. 7).",
    conclude,
    trials,
)

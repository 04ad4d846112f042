"""Tables 2 to 4 of He et al. (2015), from a folder of ImageNet: published weights measured, and the nets trained.

The folder (`--data-dir`) has val/, and train/ for training, with a folder for each class. Classes are the folders'
names in alphabetical order, which is how published weights number them. Weights that the caches of torchvision and
timm do not hold are left out: nothing is fetched.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from plusx.data.views import Views
from plusx.experiments.cifar import pooled
from plusx.experiments.lab import Budget, Experiment, Figure, Lab, Result, Table, Trial
from plusx.recipes.imagenet import imagenet
from plusx.recipes.net import NetSpec
from plusx.report.figure import panels, svg
from plusx.report.palette import PAPER, SERIES
from plusx.runs.store import read_card, write_card
from plusx.weights.convert import convert

WEIGHTS = "torchvision:IMAGENET1K_V1"
PUBLISHED = {  # one crop: torchvision's page; ten crops: Table 3; several scales: Table 4. Top-1 error in per cent
    "resnet18": ("30.24", "–", "–"),
    "resnet34": ("26.69", "24.52", "21.84"),
    "resnet50": ("23.87", "22.85", "20.74"),
    "resnet101": ("22.63", "21.75", "19.87"),
    "resnet152": ("21.69", "21.43", "19.38"),
    "vgg16": ("28.41", "28.07", "–"),
    "googlenet": ("30.22", "–", "–"),
}
VIEWS = {
    "one crop": None,
    "ten crops": Views(crops=10),
    "several scales": Views(scales=(224, 256, 384, 480, 640), dense=True, flip=True),
}
TRAINED = {  # ten crops; Tables 2 and 3
    "plain18": ({}, "27.94"),
    "resnet18-A": ({"shortcut": "A"}, "27.88"),
    "plain34": ({}, "28.54"),
    "resnet34-A": ({"shortcut": "A"}, "25.03"),
    "resnet34": ({}, "24.52"),
    "resnet34-C": ({"shortcut": "C"}, "24.19"),
    "resnet50": ({}, "22.85"),
    "resnet101": ({}, "21.75"),
    "resnet152": ({}, "21.43"),
}


def nets(budget: Budget) -> dict[str, Sequence[Trial]]:
    """The trainings by name; only at the paper's budget, for each takes weeks on a CPU."""
    if budget == "quick":
        return {}
    recipe = imagenet()
    return {
        name: [
            Trial(f"imagenet-{name}", dataclasses.replace(recipe, net=NetSpec(name.split("-")[0], options)), "imagenet")
        ]
        for name, (options, _) in TRAINED.items()
    }


def conclude(lab: Lab, budget: Budget) -> Result:
    """Both tables.

    Raises:
        ValueError: There is no folder of ImageNet.
    """
    if lab.data_dir is None or not (lab.data_dir / "val").is_dir():
        raise ValueError("imagenet-table needs the folder of ImageNet, with val/: give it as --data-dir")
    rows, missing, measured = [], [], {}
    for net, published in PUBLISHED.items():
        try:
            run = published_run(lab, net)
        except ValueError as fault:
            missing.append(f"{net}: {fault}")
            rows.append((net, *(f"{said} / not measured" for said in published)))
            continue
        measured[net] = [_errors(lab, run, name)[0] for name in VIEWS]
        rows.append((net, *(f"{said} / {top1:.2f}" for said, top1 in zip(published, measured[net], strict=True))))
    head = ("net", *(f"{name}: published / ours (%)" for name in VIEWS))
    tables = [Table(f"Top-1 error of the weights {WEIGHTS}", head, tuple(rows))]
    trained = []
    for name, [trial] in nets(budget).items():
        top1, top5 = _errors(lab, lab.run(trial), "ten crops")
        trained.append((name, TRAINED[name][1], f"{top1:.2f}", f"{top5:.2f}"))
    if trained:
        columns = ("net", "paper, top-1 (%)", "ours, top-1 (%)", "ours, top-5 (%)")
        tables.append(Table("Trained here, ten crops", columns, tuple(trained)))
    findings = [f"{len(measured)} of {len(PUBLISHED)} published nets measured.", *missing]
    return Result(tuple(findings), {}, tuple(tables), measured)


def _figures(numbers: Mapping[str, Sequence[float]]) -> list[Figure]:
    if not numbers:
        return []
    [panel] = panels("")
    axis = panel.axis
    for number, (views, colour) in enumerate(zip(VIEWS, SERIES, strict=False)):
        ours = [errors[number] for errors in numbers.values()]
        axis.plot(range(len(ours)), ours, color=colour, marker="o", linewidth=0, label=f"{views}, ours")
        said = {i: PUBLISHED[net][number] for i, net in enumerate(numbers) if PUBLISHED[net][number] != "–"}
        axis.plot(list(said), [float(v) for v in said.values()], color=PAPER, marker="_", markersize=18, linewidth=0)
    axis.set_xticks(range(len(numbers)), list(numbers), rotation=30)
    axis.set(ylabel="top-1 error (%)")
    axis.legend(frameon=False)
    caption = "Points: the published weights measured here; bars: as published. The weights are torchvision's."
    return [Figure("imagenet-table", svg([panel]), caption)]


def published_run(lab: Lab, net: str) -> Path:
    """A run directory of published weights whose classes are the folder's.

    Raises:
        ValueError: The weights are not in the cache, or the folder has another number of classes.
    """
    run = lab.folder / "runs" / f"{net}-published"
    if not (run / "card.json").is_file():
        convert(WEIGHTS, net, out=run)
    assert lab.data_dir is not None
    card, folders = read_card(run), sorted(path.name for path in (lab.data_dir / "val").iterdir() if path.is_dir())
    if len(folders) != len(card.class_names):
        raise ValueError(f"{lab.data_dir / 'val'} has {len(folders)} classes, its weights {len(card.class_names)}")
    write_card(run, dataclasses.replace(card, class_names=tuple(folders)))
    return run


def _errors(lab: Lab, run: Path, views: str) -> tuple[float, float]:
    """Top-1 and top-5 error in per cent; of fewer than six classes the second is 0."""
    assert lab.data_dir is not None
    out = lab.folder / "imagenet-table" / "evaluations" / f"{run.name}-{views.replace(' ', '-')}"
    found = lab.evaluated([run], out, data=lab.data_dir / "val", views=VIEWS[views])
    return 100 * found["error"], 100 * (found["top5_error"] or 0.0)


IMAGENET_TABLE = Experiment(
    "imagenet-table",
    "Top-1 error on ImageNet falls from 27.88 % with 18 layers to 21.43 % with 152, ten crops; that of plain nets "
    "rises from 27.94 to 28.54 % between 18 and 34 (He et al. 2015, Tables 2 to 4).",
    conclude,
    lambda budget: pooled(*nets(budget).values()),
    _figures,
)

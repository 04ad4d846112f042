"""Trainings are made once and shared, a stopped experiment goes on, and a result carries its evidence."""

import dataclasses
import json
from itertools import chain
from pathlib import Path

import pytest
import torch
import torchvision

import plusx
from plusx.data.views import Views
from plusx.engine.evaluation import evaluate
from plusx.engine.events import DivergedError, Progress, StoppedError
from plusx.experiments import degradation, imagenet_table, shortcuts
from plusx.experiments.lab import (
    Experiment,
    Figure,
    Lab,
    Result,
    Table,
    Trial,
    mean_std,
    verdict,
    write_result,
)
from plusx.experiments.reproduce import Reproduced, _work, list_experiments, reproduce
from plusx.experiments.story import EXPERIMENTS, find_experiment
from plusx.recipes import Recipe, digits
from plusx.recipes.net import NetSpec
from plusx.recipes.optim import SGD
from plusx.runs.store import read_card
from plusx.weights.convert import Converted, convert
from tests.conftest import save_image, write_cifar


def tiny(recipe: Recipe) -> Recipe:
    """Two steps on a few images."""
    return dataclasses.replace(
        recipe.smoke(),
        steps=2,
        batch_size=4,
        data=dataclasses.replace(recipe.data, train="train", val=recipe.data.val and "train", limit=20),
        evaluation=dataclasses.replace(recipe.evaluation, count=1),
        placement=dataclasses.replace(recipe.placement, threads=1),
        log_every=1,
    )


def trial(steps: int = 2, seed: int = 0) -> Trial:
    recipe = tiny(digits())
    return Trial("digits", dataclasses.replace(recipe, steps=steps, seed=seed), "digits")


def test_a_training_is_made_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    assert not lab.finished(trial())
    run = lab.run(trial())
    written = (run / "weights.safetensors").stat().st_mtime_ns
    assert lab.finished(trial()) and Lab(tmp_path).run(trial()) == run
    assert (run / "weights.safetensors").stat().st_mtime_ns == written
    assert lab.results([trial(), trial(seed=1)], "steps") == [2, 2]
    with pytest.raises(ValueError, match="was trained with another recipe"):
        lab.run(trial(steps=3))


def test_a_stopped_training_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        Lab(tmp_path, should_stop=lambda: True).run(trial(steps=3))
    lab = Lab(tmp_path)
    assert read_card(lab.path(trial())).status == "training" and not lab.finished(trial(steps=3))
    assert lab.card(trial(steps=3)).status == "finished"


def test_progress_is_over_all_trainings_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial(steps, seed) for seed, steps in enumerate((2, 2, 6))]
    small = Experiment(
        "small", "", lambda lab, budget: Result(tuple(map(str, map(lab.run, trials))), {}), lambda b: trials
    )
    monkeypatch.setitem(EXPERIMENTS, "small", small)
    Lab(tmp_path / "quick").run(trials[0])
    heard: list[Progress] = []
    reproduce("small", out=tmp_path, progress=heard.append)
    assert {(p.training, p.number, p.trainings) for p in heard} == {("digits-seed1", 2, 3), ("digits-seed2", 3, 3)}
    done = [p.done for p in heard]
    assert done == sorted(done) and done[-1] == heard[-1].total
    [half] = {p.done / p.total for p in heard if p.number == 2 and p.event.step == 2}
    assert half == pytest.approx(2 / 8)  # by steps, where the nets are equal


def test_a_net_of_more_work_counts_for_more() -> None:
    work = {net: _work(dataclasses.replace(digits(), net=NetSpec(net)), "digits") for net in ("resnet20", "resnet56")}
    assert work["resnet56"] / work["resnet20"] == pytest.approx(125_485_696 / 40_551_040)


def test_a_stopped_experiment_names_what_resumes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial(3)]
    small = Experiment("small", "", lambda lab, budget: Result((str(lab.run(trials[0])),), {}), lambda b: trials)
    monkeypatch.setitem(EXPERIMENTS, "small", small)
    with pytest.raises(StoppedError, match="stopped at step 1 of 3; resume with: plusx reproduce small"):
        reproduce("small", out=tmp_path, should_stop=lambda: True)
    assert reproduce("small", out=tmp_path).result.findings


def test_the_minutes_of_an_experiment_are_those_of_results() -> None:
    measured = {}
    for file in (Path(__file__).parents[2] / "results").glob("*.json"):
        told = json.loads(file.read_text(encoding="utf-8"))
        if told.get("experiment") and told["budget"] == "quick":
            measured[told["experiment"]] = round(told["seconds"] / 60)
    assert measured and measured == {e.name: e.minutes for e in EXPERIMENTS.values() if e.minutes is not None}


def test_a_diverged_training_is_an_outcome(tmp_path: Path) -> None:
    lost = Trial("lost", dataclasses.replace(trial(steps=9).recipe, optim=SGD(lr=1e30)), "digits")
    with pytest.raises(DivergedError):
        Lab(tmp_path).run(lost)
    assert Lab(tmp_path).outcome(lost, "train_error") is None
    assert Lab(tmp_path).outcome(trial(), "steps") == 2


def test_a_claim_has_n_mean_and_deviation() -> None:
    assert mean_std([0.1, 0.2, 0.3]) == "20.00 ± 10.00 (n = 3)"
    assert (mean_std([0.125]), mean_std([])) == ("12.50 (n = 1)", "not measured")


def test_a_claim_can_be_seen_in_part() -> None:
    said = [verdict({"a": True, "b": True}), verdict({"a": True, "b": False}), verdict({"a": False}), verdict({})]
    assert said == ["yes", "in part", "no", "–"]


def test_a_result_carries_its_evidence(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    svg = '<svg viewBox="0 0 9 9"><text>here</text></svg>'
    result = Result(("Seen.",), {"it": True}, (Table("T", ("a", "b"), (("1", "2"),)),), {"x": [1]})
    experiment = Experiment(
        "it",
        "They <say> so.",
        lambda lab, budget: result,
        lambda budget: [trial(), trial(seed=1)],
        lambda numbers: [Figure("f", svg, f"F of {numbers['x'][0]}.")],
    )
    lab.run(trial())
    written, folder = write_result(lab, experiment, "quick", result), tmp_path / "it"
    told = json.loads((folder / "result.json").read_text())
    assert told == json.loads(json.dumps(written))
    assert told["seen"] == {"it": True} and told["numbers"] == {"x": [1]} and told["machine"]["cpus"] >= 1
    assert [run["run"] for run in told["runs"]] == ["digits-seed0"] and told["runs"][0]["test_error"] >= 0
    assert {"torch", "plusx"} <= set(told["versions"]) and told["date"] and "commit" in told
    page = (folder / "report.html").read_text()
    assert "They &lt;say&gt; so." in page and "<td>2</td>" in page and svg in page
    assert told["figures"] == [{"file": "f.svg", "caption": "F of 1."}]
    assert "<text>here</text>" in (folder / "f.svg").read_text()


def test_a_misspelt_experiment_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'degradation'"):
        find_experiment("degradations")


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Reproduced:
    return plusx.reproduce("worked-example", out=tmp_path_factory.mktemp("worked"))


def test_the_list_says_how_far_each_experiment_has_come(worked: Reproduced) -> None:
    found = {each.name: each for each in list_experiments(worked.folder.parents[1])}
    assert list(found) == list(EXPERIMENTS)
    assert found["worked-example"].verdict == "yes" and found["worked-example"].seconds == 0
    assert found["degradation"].trials == 16 and found["degradation"].trained == 0
    assert found["degradation"].seen == {} and found["degradation"].findings == ()


@pytest.mark.parametrize("budget", ["quick", "paper"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_trainings_have_names_of_their_own(name: str, budget: str) -> None:
    trials = EXPERIMENTS[name].trials(budget)  # type: ignore[arg-type]
    assert len({t.key for t in trials}) == len(trials)
    for other in EXPERIMENTS.values():
        for same in other.trials(budget):  # type: ignore[arg-type]
            assert all(t.recipe == same.recipe for t in trials if t.key == same.key)


def test_the_quick_budget_cuts_the_steps_and_has_the_rate_rise() -> None:
    nets = [*degradation.nets("quick").values(), *shortcuts.nets("quick").values()]
    papers = [*degradation.nets("paper").values(), *shortcuts.nets("paper").values()]
    for quick, paper in zip(chain(*nets), chain(*papers), strict=True):
        same = dataclasses.replace(quick.recipe, name=paper.recipe.name, steps=64_000, warmup=None)
        assert dataclasses.replace(same, evaluation=paper.recipe.evaluation) == paper.recipe
        assert quick.recipe.warmup is not None and quick.recipe.steps is not None
        assert round(quick.recipe.warmup.fraction * quick.recipe.steps) == 400


def test_the_papers_budget_is_the_papers_recipe() -> None:
    for t in EXPERIMENTS["cifar10-table"].trials("paper"):
        r = t.recipe
        assert (r.steps, r.batch_size, r.preprocess.normalize) == (64_000, 128, "pixel-mean")
        assert r.optim == SGD(lr=0.1, momentum=0.9, weight_decay=1e-4) and r.evaluation.keep == "last"
        assert (r.warmup is not None) == (r.net.name == "resnet110")


MARKS: dict[str, list[pytest.MarkDecorator]] = {"degradation": [pytest.mark.more], "responses": [], "gradients": []}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small CIFAR-10, and a folder of experiments."""
    folder = tmp_path_factory.mktemp("small")
    write_cifar(folder / "data", "cifar10", "binary")
    return folder / "data", folder / "out"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=MARKS.get(name, [pytest.mark.slow]))
        for name, experiment in EXPERIMENTS.items()
        if experiment.trials("quick")
    ],
)
def test_an_experiment_runs_from_nothing_to_its_report(name: str, small: tuple[Path, Path]) -> None:
    data, out = small
    found = reproduce(name, out=out, data_dir=data, shrink=tiny)
    assert found.result.findings and found.result.tables and (found.folder / "report.html").is_file()
    told = json.loads((found.folder / "result.json").read_text())
    assert len(told["runs"]) == len(EXPERIMENTS[name].trials("quick")) and told["seconds"] > 0
    for figure in told["figures"]:
        assert (found.folder / figure["file"]).read_text().startswith("<svg") and figure["caption"]


def test_the_worked_example_has_the_known_values(worked: Reproduced) -> None:
    found = worked.result
    assert verdict(found.seen) == "yes" and found.numbers["ratio"] == pytest.approx(40.03, abs=0.01)
    rows = {row[0]: row[1:] for row in found.tables[0].rows}
    for name, without, with_ in (
        ("h1", 0.512497, 0.512497),
        ("h2", 0.512810, 0.512810),
        ("y", 0.512817, 0.525610),
        ("L", 0.237347, 0.225046),
        ("dL/dw3", -0.124834, -0.121317),
        ("dL/dw2", -0.0031169, -0.0030291),
        ("dL/dw1", -0.00007597, -0.0030291),
        ("dL/dw1, main path", -0.00007597, -0.00007383),
    ):
        assert [float(cell) for cell in rows[name]] == pytest.approx([without, with_], rel=2e-4)
    assert float(rows["dL/dw1, shortcut"][1]) == pytest.approx(-0.0029553, rel=1e-4)
    assert float(rows["dL/dwr"][1]) == pytest.approx(-0.121243, rel=1e-4)


@pytest.mark.more
def test_accounting_counts_the_lineage(tmp_path: Path) -> None:
    found = plusx.reproduce("accounting", out=tmp_path)
    rows = {row[0]: row for row in found.result.tables[0].rows}
    assert rows["vgg16"][1:4] == ("138.36", "89 %", "15.47") and rows["resnet50"][1] == "25.56"


def test_imagenet_without_its_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the folder of ImageNet"):
        reproduce("imagenet-table", out=tmp_path)


def test_an_interrupted_evaluation_is_made_anew(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    run, out = lab.run(trial()), tmp_path / "evaluation"
    out.mkdir()
    (out / "predictions.csv").write_text("half of it")
    found = lab.evaluated([run], out)
    written = (out / "evaluation.html").stat().st_mtime_ns
    assert found["images"] == 20 and lab.evaluated([run], out) == found
    assert (out / "evaluation.html").stat().st_mtime_ns == written


def test_published_weights_are_measured_on_a_folder_of_their_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in: two classes instead of a thousand, weights of a file instead of torchvision's cache."""
    for i in range(4):
        save_image(tmp_path / "imagenet" / "val" / f"n{i % 2}" / f"{i}.jpg", seed=i, size=(90, 70))
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), tmp_path / "theirs.pth")
    (tmp_path / "classes.txt").write_text("tench\ngoldfish\n")

    def from_file(weights: str, net: str, *, out: Path) -> Converted:
        if net == "vgg16":
            raise ValueError("its weights are not in the cache")
        return convert(tmp_path / "theirs.pth", net, out=out, classes=tmp_path / "classes.txt", size=64)

    monkeypatch.setattr(imagenet_table, "convert", from_file)
    monkeypatch.setattr(
        imagenet_table, "PUBLISHED", {"resnet18": ("30.24", "–", "–"), "vgg16": ("28.41", "28.07", "–")}
    )
    views = {**imagenet_table.VIEWS, "several scales": Views(scales=(64, 72), dense=True, flip=True)}
    monkeypatch.setattr(imagenet_table, "VIEWS", views)
    for _ in range(2):  # what is there is used
        found = reproduce("imagenet-table", out=tmp_path / "out", data_dir=tmp_path / "imagenet").result
        measured, missing = found.tables[0].rows
        assert measured[0] == "resnet18" and all(0 <= float(cell.split(" / ")[1]) <= 100 for cell in measured[1:])
        assert missing[1:] == ("28.41 / not measured", "28.07 / not measured", "– / not measured")
        assert found.findings == ("1 of 2 published nets measured.", "vgg16: its weights are not in the cache")
    ten = evaluate(
        tmp_path / "out/quick/runs/resnet18-published", tmp_path / "imagenet/val", views=Views(crops=10)
    ).score
    assert measured[2] == f"– / {100 * ten.error:.2f}"
    save_image(tmp_path / "imagenet" / "val" / "n2" / "9.jpg")
    refused = reproduce("imagenet-table", out=tmp_path / "out", data_dir=tmp_path / "imagenet").result
    assert "has 3 classes, its weights 2" in refused.findings[1]

"""Runs are compared on images that both held out, by content, and on no other."""

import csv
import dataclasses
import re
import shutil
from math import comb
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest

import plusx
from plusx.comparison.compare import compare_runs
from plusx.runs.disagreements import Disagreements, sign_test
from plusx.runs.images import trained_on
from plusx.runs.predictions import Predictions
from plusx.runs.store import read_card, write_card
from tests.cli.commands import plusx as command
from tests.cli.commands import refused, result
from tests.conftest import save_image
from tests.engine.test_evaluation import other_order


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_test_is_the_exact_binomial_one(one: int, other: int) -> None:
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert sign_test(one, other) == pytest.approx(expected, rel=1e-9)
    tail = sum(comb(one + other, k) for k in range(min(one, other) + 1))
    assert sign_test(one, other) == sign_test(other, one) == min(1.0, 2 * tail / 2 ** (one + other))


def test_large_counts_do_not_overflow() -> None:
    assert sign_test(4000, 5000) < 1e-20 and sign_test(5000, 5000) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_every_image_is_in_one_cell_of_the_table(rights: list[tuple[bool, bool]]) -> None:
    def of(mine: list[bool]) -> Predictions:
        logs = torch.tensor([[0.9, 0.1] if right else [0.1, 0.9] for right in mine]).log()
        return Predictions.of("ab", [str(i) for i in range(len(mine))], torch.zeros(len(mine), dtype=torch.int64), logs)

    found = Disagreements.of(of([a for a, _ in rights]), of([b for _, b in rights]))
    assert [i for i, (a, b) in enumerate(rights) if a and not b] == list(found.only_first)
    assert [i for i, (a, b) in enumerate(rights) if b and not a] == list(found.only_other)
    assert found.neither == sum(not a and not b for a, b in rights) and found.images == len(rights)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two short runs on the digits, with another seed and another rate."""
    folder = tmp_path_factory.mktemp("two")
    one, other = (
        plusx.train("digits", overrides={"epochs": 2, "optim.lr": lr}, seed=seed, out=folder / name).run
        for name, seed, lr in (("one", 0, 0.1), ("other", 1, 0.05))
    )
    return one, other


def test_two_runs_are_compared_on_the_images_that_both_held_out(two: tuple[Path, Path], tmp_path: Path) -> None:
    found = compare_runs(two, out=tmp_path / "out")
    assert found.differing == {"optim.lr": ("0.1", "0.05"), "seed": ("0", "1")} and found.notes == ()
    [pair] = found.pairs
    wrong = [
        {p for p, right in zip(e.images, e.correct_N, strict=True) if not right}
        for e in (plusx.evaluate(run, out=tmp_path / run.name).predictions for run in two)
    ]
    only = pair.disagreements
    assert {pair.first.images[place] for place in only.only_first} == wrong[1] - wrong[0] != set()
    assert {pair.first.images[place] for place in only.only_other} == wrong[0] - wrong[1]
    assert only.neither == len(wrong[0] & wrong[1]) and only.images == 360
    with (tmp_path / "out" / "disagreements.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    assert {row[0] for row in rows} == wrong[0] ^ wrong[1]
    assert all((row[1] == row[3]) != (row[1] == row[6]) for row in rows)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<img") == min(24, len(wrong[0] - wrong[1])) + min(24, len(wrong[1] - wrong[0]))
    assert not re.search(r'(src|href)="(https?:)?//', page) and "<script" not in page
    for run, results in zip(two, (column.results for column in found.columns), strict=True):
        card = read_card(run).results
        assert {key: card[key] for key in ("test_error", "seconds", "images_per_s")}.items() <= results.items()
        assert results["macs"] == plusx.summarise(run)[1].macs and results["params"] == card["params"]


def test_a_net_does_not_differ_from_itself_whatever_the_order_of_its_classes(digits_run: Path, tmp_path: Path) -> None:
    [pair] = compare_runs([digits_run, other_order(digits_run, tmp_path / "turned")]).pairs
    only = pair.disagreements
    assert (only.only_first, only.only_other, only.p, only.images) == ((), (), 1.0, 360)


def test_a_net_that_is_worse_than_chance_would_have_it_is_told(digits_run: Path, tmp_path: Path) -> None:
    worse = shutil.copytree(digits_run, tmp_path / "worse")
    weights = load_file(worse / "weights.safetensors")
    weights["head.linear.bias"][3] += 100.0
    save_file(weights, worse / "weights.safetensors")
    [pair] = compare_runs([worse, digits_run]).pairs
    assert pair.disagreements.p < 1e-10 and ": more than chance" in pair.in_words(1)


def trained_on_photos(root: Path, out: Path, **overrides: object) -> Path:
    small = {"net.name": "resnet20", "preprocess.size": 16, "steps": 2, "batch_size": 8, "data.test": "none"}
    return plusx.train(root, overrides=small | overrides, out=out).run


def test_no_image_that_either_run_was_trained_on_is_compared(tmp_path: Path) -> None:
    for number in range(60):
        save_image(tmp_path / "all" / ("ant", "bee")[number % 2] / f"{number}.png", seed=number, hue=number % 2)
    halves = (
        {"data.train": "train[:50%]", "data.val": "train[50%:]"},
        {"data.train": "train[30%:]", "data.val": "train[:30%]"},
    )
    one, other = (trained_on_photos(tmp_path / "all", tmp_path / f"{n}", **half) for n, half in enumerate(halves))
    assert not compare_runs([one, other]).pairs  # what one holds out, the other was trained on
    assert "held out no image in common" in compare_runs([one, other]).notes[0]
    third = trained_on_photos(tmp_path / "all", tmp_path / "third", **{**halves[0], "data.train": "train[:40%]"})
    [pair] = compare_runs([one, third]).pairs
    hashes = {row["image"]: row for row in csv.DictReader((one / "images.csv").open())}
    compared = {hashes[image]["digest"] for image in pair.first.images}
    assert len(compared) == pair.disagreements.images > 20
    assert not compared & ((trained_on(one) or set()) | (trained_on(third) or set()))
    shutil.move(tmp_path / "all", tmp_path / "moved")  # and renamed: the content tells
    (tmp_path / "moved" / "ant").joinpath("0.png").rename(tmp_path / "moved" / "ant" / "other.png")
    assert "is gone" in " ".join(compare_runs([one, third]).notes)
    [again] = compare_runs([one, third], tmp_path / "moved").pairs
    assert again.disagreements.images == 60 - len((trained_on(one) or set()) | (trained_on(third) or set()))


def test_other_classes_are_one_sentence(digits_run: Path, photos_run: Path, tmp_path: Path) -> None:
    found = compare_runs([digits_run, photos_run], out=tmp_path / "out")
    assert not found.pairs and len(found.notes) == 1 and "have different classes" in found.notes[0]
    assert found.differing["data"][0] == "digits" and (tmp_path / "out" / "report.html").is_file()
    assert found.table()[0] == ["", digits_run.name, photos_run.name]


def test_a_converted_run_is_compared_on_what_the_other_held_out(digits_run: Path, tmp_path: Path) -> None:
    converted = shutil.copytree(digits_run, tmp_path / "converted")
    card = read_card(converted)
    source = {"name": None, "data_dir": None, "fingerprint": None, "images": {}, "left_out": []}
    write_card(converted, dataclasses.replace(card, source=source, results={"params": 1}))
    found = compare_runs([converted, digits_run])
    assert found.pairs[0].disagreements.images == 360 and "may have been trained on" in found.notes[0]
    assert "–" in found.table()[4]
    with pytest.raises(ValueError, match="a run is named twice"):
        compare_runs([digits_run, digits_run])


def test_the_command(two: tuple[Path, Path], tmp_path: Path) -> None:
    answer = result("compare", *two)
    assert [run["net"] for run in answer["runs"]] == ["resnet20", "resnet20"]
    assert answer["pairs"][0]["images"] == 360 and 0 < answer["pairs"][0]["p"] <= 1
    said = command("compare", *two, "--out", tmp_path / "out")
    assert "parameters" in said.stdout and "McNemar test" in said.stdout
    assert refused("compare", two[0]) == "name two run directories or more"
    assert "exists; choose another --out" in refused("compare", *two, "--out", tmp_path / "out")

"""A limit of memory: the largest batch within it is taken, rates follow, and what cannot fit is refused."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plusx.engine import memory
from plusx.engine.memory import batch_sizes, bytes_of, largest_fitting, with_batch
from plusx.engine.training import train
from plusx.placement.machine import memory_bytes, peak_memory_bytes
from plusx.recipes import RECIPES, digits, override_all
from plusx.recipes.optim import Muon
from tests.cli.commands import refused, result


@given(
    largest=st.integers(1, 300),
    least=st.integers(1, 4),
    base=st.integers(0, 1000),
    each=st.integers(1, 50),
    limit=st.integers(1, 10_000),
    left_over=st.integers(0, 40),
)
def test_the_largest_that_fits_is_taken_and_nothing_far_beyond_the_limit_is_tried(
    largest: int, least: int, base: int, each: int, limit: int, left_over: int
) -> None:
    """Also where a process that took smaller steps before holds somewhat more than a fresh one."""
    largest = max(largest, least)
    sizes, tried = batch_sizes(largest, least), []
    assert sizes == sorted(set(sizes)) and sizes[-1] == largest and sizes[0] >= min(least, largest)

    def peaks(batches: Sequence[int]) -> Iterator[int]:
        for batch in batches:
            tried.append(batch)
            yield base + each * batch + (left_over if len(batches) > 1 else 0)

    batch, peak = largest_fitting(sizes, limit, peaks)
    assert sum(base + each * size > limit for size in tried) <= 1 + (left_over > 0)
    more = left_over if len(sizes) > 1 else 0  # a single size is measured in a fresh process only
    fitting = [size for size in sizes if base + each * size + more <= limit]
    if fitting:
        assert batch == fitting[-1] and peak == base + each * batch <= limit
    else:
        assert batch == sizes[0] and peak > limit


def test_a_process_that_the_system_ends_tells_what_does_not_fit() -> None:
    def peaks(batches: Sequence[int]) -> Iterator[int]:
        return iter([10 * batch for batch in batches if batch <= 4])

    assert largest_fitting([1, 2, 4, 8, 16], 1000, peaks) == (4, 40)
    assert largest_fitting([8, 16], 1000, peaks) == (8, 1001)


def test_rates_and_counted_steps_follow_the_batch() -> None:
    recipe = override_all(digits(), {"batch_size": 128, "steps": 100, "optim.head_lr": 0.4})
    smaller = with_batch(recipe, 32)
    assert (smaller.batch_size, smaller.steps, smaller.optim.lr) == (32, 400, recipe.optim.lr / 4)
    assert smaller.optim == override_all(recipe, {"optim.lr": 0.025, "optim.head_lr": 0.1}).optim
    muon = with_batch(override_all(digits(), {"optim": "Muon"}), digits().batch_size // 2).optim
    assert isinstance(muon, Muon) and (muon.lr, muon.head_lr, muon.vector_lr) == (0.12, 0.05, 0.05)
    assert with_batch(digits(), 16).epochs == digits().epochs


QUICK = {"net.name": "resnet20", "preprocess.size": 32, "steps": 2, "evaluation.count": 1, "batch_size": 16}


@pytest.mark.more
def test_a_limit_is_kept_by_what_the_run_holds(
    class_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a batch of 16 would not fit: by real steps of smaller ones, the need of a larger one made up."""
    photos = class_folder([], {"ant": 12, "bee": 12})
    measured = memory._measured

    def heavy(*arguments: object) -> Iterator[int]:
        batches = arguments[-1]
        assert isinstance(batches, list)
        for batch, peak in zip(batches, measured(*arguments), strict=True):  # type: ignore[arg-type]
            yield peak + (10**12 if batch == 16 else 0)

    monkeypatch.setattr(memory, "_measured", heavy)
    limit, heard, before = memory_bytes() + 8 * 10**9, [], peak_memory_bytes() or 0  # other tests leave gigabytes
    trained = train(photos, overrides=QUICK, memory=limit, out=tmp_path / "run", progress=heard.append)
    recipe, results = trained.card.recipe, trained.card.results
    assert recipe.batch_size == 8 and recipe.steps == 4 and recipe.optim.lr == RECIPES["folder"]().optim.lr / 2
    assert results["peak_memory_bytes"] <= max(limit, before)
    (note,) = (note for event in heard for note in getattr(event, "notes", ()) if note.startswith("memory"))
    assert note in trained.card.notes and "batches of 8 images" in note and "0.025 instead of 0.05" in note
    assert "steps are 4, not 2" in note


@pytest.mark.more
def test_a_batch_that_fits_stays_and_its_peak_is_that_of_a_run(
    class_folder: Callable[..., Path], tmp_path: Path
) -> None:
    class_folder([], {"ant": 12, "bee": 12})
    options = [item for key, value in QUICK.items() for item in ("--set", f"{key}={value}")]
    told = result("train", "photos", *options, "--memory", "16GB", "--out", "run", cwd=tmp_path)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["recipe"]["batch_size"] == 16 and told["steps"] == 2
    assert "the recipe's batches of 16 images fit" in card["notes"][-1]


def test_what_cannot_fit_is_refused_with_what_it_needs(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    class_folder([], {"ant": 12, "bee": 12})
    options = [item for key, value in QUICK.items() for item in ("--set", f"{key}={value}")]
    sentence = refused("train", "photos", *options, "--memory", "10MB", "--quiet", cwd=tmp_path)
    assert "memory is 10MB; resnet20 needs " in sentence and "for batches of 1, the smallest" in sentence
    for wrong in ("4", "much", "0GB", "-4GB"):
        assert "write a size with its unit" in refused("train", "photos", "--memory", wrong, cwd=tmp_path)


def test_a_size_is_read_as_it_is_written() -> None:
    assert bytes_of("4GB") == bytes_of("4000MB") == 4 * 10**9 and bytes_of("1 GiB") == 2**30


def test_what_a_process_holds_is_no_more_than_the_most_it_held() -> None:
    peak = peak_memory_bytes()
    assert peak is None or 0 < memory_bytes() <= 1.05 * peak
    assert memory_bytes(Path("/nowhere")) == (peak_memory_bytes() or 0)

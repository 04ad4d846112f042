"""Exact resume: killed at any instant, a run ends with the bits of the run that was never killed."""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plusx.engine.evaluation import evaluate
from plusx.engine.events import StoppedError
from plusx.engine.training import resume, train
from plusx.runs.store import read_card, write_card
from tests.conftest import save_image
from tests.engine.killed import recipe

CHILD = Path(__file__).with_name("killed.py")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for i in range(24):
        save_image(root / ("ant", "bee")[i % 2] / f"{i}.jpg", seed=i, hue=i % 2)
    return root


@pytest.fixture(scope="module")
def reference(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never killed."""
    return train(photos, recipe=recipe(0), out=tmp_path_factory.mktemp("reference") / "run").run


def weights_hash(run: Path) -> str:
    return hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()


def metrics(run: Path) -> list[dict[str, object]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def child(run: Path, kind: str, number: int, workers: int, photos: Path) -> int:
    command = [sys.executable, str(CHILD), str(run), kind, str(number), str(workers), str(photos)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def assert_same(run: Path, reference: Path) -> None:
    assert weights_hash(run) == weights_hash(reference)
    assert metrics(run) == metrics(reference)
    known = ("kept_step", "val_error", "val_loss", "steps")
    assert all(read_card(run).results[k] == read_card(reference).results[k] for k in known)


# The numbers are spread over a run of 16 steps: early, in the middle, at the end; some before any resume point exists.
DEATHS = [("step", 1), ("step", 9), ("log", 4), ("write", 2), ("write", 7), ("write", 20), ("write", 34), ("write", 35)]
DEATHS += [("rename", 3), ("rename", 18), ("rename", 33), ("remove", 6)]


@pytest.mark.more
@pytest.mark.parametrize(("kind", "number"), DEATHS, ids=lambda v: str(v))
def test_a_killed_run_ends_with_the_same_bits(
    kind: str, number: int, photos: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert child(run, kind, number, 0, photos) == -signal.SIGKILL
    resume(run)
    assert_same(run, reference)
    assert not list(run.glob(".*.partial")) and not list((run / "state").glob(".*"))


@pytest.mark.more
def test_the_number_of_workers_changes_nothing(photos: Path, reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert child(run, "step", 7, 2, photos) == -signal.SIGKILL
    resume(run)
    assert weights_hash(run) == weights_hash(reference) and metrics(run) == metrics(reference)


@pytest.mark.more
def test_a_run_killed_again_and_again_ends_with_the_same_bits(photos: Path, reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for kind, number in (("step", 5), ("write", 3), ("rename", 4)):
        assert child(run, kind, number, 0, photos) == -signal.SIGKILL
    resume(run)
    assert_same(run, reference)


def test_a_damaged_resume_point_is_passed_over_for_the_one_before(
    photos: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    child(run, "step", 12, 0, photos)
    points = sorted((run / "state").iterdir())
    assert len(points) == 2
    file = points[-1] / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)
    resume(run)
    assert_same(run, reference)


def test_a_run_whose_images_have_changed_is_not_resumed(photos: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(photos, tmp_path / "photos")
    run = tmp_path / "run"
    child(run, "step", 3, 0, mine)
    save_image(mine / "ant" / "new.png", seed=77)
    before = sorted(p for p in run.rglob("*"))
    with pytest.raises(ValueError, match="are not those that .* began with"):
        resume(run)
    assert sorted(p for p in run.rglob("*")) == before


def test_a_run_whose_images_have_moved_is_resumed_where_they_are_now(
    photos: Path, reference: Path, tmp_path: Path
) -> None:
    mine, run = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "run"
    child(run, "step", 3, 0, mine)
    moved = mine.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"were in .*photos, which is gone; .* --resume .* --data-dir FOLDER"):
        resume(run)
    resume(run, data_dir=moved)
    assert_same(run, reference)
    assert read_card(run).source["name"] == str(moved) and evaluate(run).out == run


def test_a_run_that_began_on_an_absent_accelerator_is_resumed_on_another_device_when_asked(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plusx.engine.training.accelerator", lambda: None)
    run = tmp_path / "run"
    child(run, "step", 3, 0, photos)
    card = read_card(run)
    write_card(run, dataclasses.replace(card, placement={**card.placement, "device": "cuda"}))
    with pytest.raises(ValueError, match="began on cuda, which this machine lacks; .*--device cpu"):
        resume(run)
    placement = resume(run, device="cpu").card.placement
    assert placement["device"] == "cpu" and "it began on cuda" in placement["reasons"]["device"]
    assert read_card(run).placement == placement


def test_a_finished_run_is_not_resumed(reference: Path) -> None:
    with pytest.raises(ValueError, match="is finished; there is nothing to resume"):
        resume(reference)


def test_a_run_in_use_is_not_resumed_by_another_process(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    run = tmp_path / "run"
    child(run, "step", 3, 0, photos)
    holder = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", holder, str(run / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        with pytest.raises(ValueError, match="in use by another process"):
            resume(run)
        process.stdin.close()
    resume(run)


@pytest.mark.more
def test_loader_processes_that_outlive_a_killed_run_do_not_keep_it(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, str(CHILD), str(run), "step", "7", "2", str(photos)]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # a pipe would wait for them
    assert subprocess.run(command, **silent, timeout=120).returncode == -signal.SIGKILL
    resume(run)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_stops_the_run_and_leaves_its_resume_point_whole(
    photos: Path, reference: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this system does not let root mount a file system")
    try:
        run, filler = disk / "run", disk / "filler"
        steps = 0

        def fill(*_: object) -> bool:
            nonlocal steps
            steps += 1
            if steps == 6:
                with filler.open("wb") as file:
                    try:
                        while file.write(bytes(1 << 16)):
                            file.flush()
                    except OSError:
                        pass
            return False

        with pytest.raises(StoppedError, match=r"cannot write to .* No space left on device; .*--resume"):
            train(photos, recipe=recipe(0), out=run, should_stop=fill)
        assert not list((run / "state").glob(".*"))
        filler.unlink()
        resume(run)
        assert_same(run, reference)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_kills_at_random_instants(workers: int, photos: Path, reference: Path, tmp_path: Path) -> None:
    rng, kills = random.Random(workers), 0
    for trial in range(10):
        run = tmp_path / f"run{trial}"
        for _ in range(rng.choice([1, 1, 2, 3])):
            command = [sys.executable, str(CHILD), str(run), "none", "0", str(workers), str(photos)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            while not (run / "state").exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.7))
            kills += process.poll() is None
            process.kill()
            process.wait()
        if read_card(run).status != "finished":
            resume(run)
        assert weights_hash(run) == weights_hash(reference) and metrics(run) == metrics(reference)
    print(f"{kills} kills with {workers} workers")
    assert kills >= 10

"""What follows a training changes nothing of it, cannot end it, and ends with it."""

import dataclasses
import itertools
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

import plusx
from plusx.engine import follow
from plusx.engine.events import Event, StoppedError
from plusx.engine.follow import SHARE, LivePage
from plusx.recipes import override_all
from plusx.report.live import write_live
from plusx.runs.metrics import Measurement, read_metrics
from plusx.runs.store import read_card, write_card

SHORT = {"steps": 12, "log_every": 3, "evaluation.count": 4}
REFRESH = re.compile(r'<meta http-equiv="refresh" content="\d+">')


def test_the_page_follows_the_training_and_is_still_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "SHARE", 1e9)  # at each evaluation, whatever it costs
    seen: list[str] = []

    def progress(event: object) -> None:
        if isinstance(event, Event) and event.step and (page := tmp_path / "run" / "report.html").exists():
            seen.append(page.read_text())

    run = plusx.train("digits", overrides=SHORT, out=tmp_path / "run", watch=True, progress=progress).run
    assert seen and all(REFRESH.search(page) and "this page follows by itself" in page for page in seen)
    assert len({re.findall(r"step (\d+) of 12", page)[0] for page in seen}) > 2
    assert not any("<script" in page or re.search(r'(src|href)="(https?:)?//', page) for page in seen)
    page = (run / "report.html").read_text()
    assert not REFRESH.search(page) and "accuracy" in page
    plain = plusx.train("digits", overrides=SHORT, out=tmp_path / "plain").run
    assert (plain / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    assert REFRESH.sub("", (plain / "report.html").read_text()) == (plain / "report.html").read_text()


@pytest.mark.parametrize(
    "option",
    [
        {"max_time": 60.0},
        {"data.train": "train[:80%]", "data.val": "train[80%:]", "evaluation.patience": 2},
        {"balance": "loss"},
        {"accumulate": 2},
        {"averaging": "Averaging", "progressive": "Progressive", "penalty.l1": 1e-5},
    ],
    ids=lambda option: next(iter(option)),
)
@pytest.mark.parametrize("total", [0, 12])
def test_the_page_of_every_kind_of_run_is_written_before_it_has_results(
    digits_run: Path, tmp_path: Path, option: dict[str, Any], total: int
) -> None:
    run = Path(shutil.copytree(digits_run, tmp_path / "run"))
    card = read_card(run)
    write_card(run, dataclasses.replace(card, recipe=override_all(card.recipe, option), results={}))
    write_live(run, 3, total, goes_on=True)
    page = (run / "report.html").read_text()
    assert (f"step 3 of {total}" if total else "step 3. Written") in page and "of 0" not in page


def test_a_page_that_cannot_be_written_ends_nothing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(follow, "SHARE", 1e9)
    monkeypatch.setattr(follow, "write_live", full)
    notes: list[str] = []

    def progress(event: object) -> None:
        notes.extend(event.notes if isinstance(event, Event) else ())

    card = plusx.train("digits", overrides=SHORT, out=tmp_path / "run", watch=True, progress=progress).card
    assert card.status == "finished" and (tmp_path / "run" / "report.html").is_file()
    said = [note for note in notes if "No space left" in note]
    assert len(said) == 1 and "training goes on" in said[0]


def test_the_page_of_a_run_that_is_stopped_says_so_and_is_still(tmp_path: Path) -> None:
    count = itertools.count(1)
    with pytest.raises(StoppedError):
        plusx.train("digits", overrides=SHORT, out=tmp_path / "run", watch=True, should_stop=lambda: next(count) == 7)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Stopped: step " in page and not REFRESH.search(page)
    plusx.resume(tmp_path / "run", watch=True)
    assert "Stopped" not in (tmp_path / "run" / "report.html").read_text()


def test_the_page_costs_no_more_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = [0.0], []

    def slow(*arguments: object, **options: object) -> None:
        written.append(now[0])
        now[0] += 0.5

    monkeypatch.setattr(follow, "write_live", slow)
    page = LivePage(tmp_path, lambda event: None, clock=lambda: now[0])
    for step in range(1, 1001):
        now[0] += 1.0
        page(Event(step, 1000, measurements=(Measurement("val_error", 0.5, "1"),)))
    assert 0.5 * len(written) <= SHARE * now[0] + 0.5 and len(written) > 30


class Writer:
    """Stands in for TensorBoard's."""

    made: ClassVar[list["Writer"]] = []

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.scalars: list[tuple[str, float, int]] = []
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_every_record_once_across_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in: Any = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    Writer.made.clear()
    count = itertools.count(1)
    with pytest.raises(StoppedError):
        plusx.train(
            "digits", overrides=SHORT, out=tmp_path / "run", tensorboard=True, should_stop=lambda: next(count) == 7
        )
    plusx.resume(tmp_path / "run", tensorboard=True)
    first, second = Writer.made
    assert first.purge_step is None and second.purge_step == 8 and first.closed and second.closed
    assert first.folder == str(tmp_path / "run" / "tensorboard")
    records = [(r["name"], r["value"], r["step"]) for r in read_metrics(tmp_path / "run")]
    assert first.scalars + second.scalars == records and len(records) > 8


def test_without_tensorboard_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"not installed: pip install 'plusx\[track\]'"):
        plusx.train("digits", overrides=SHORT, out=tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_tensorboards_own_files_hold_the_records(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = plusx.train("digits", overrides=SHORT, out=tmp_path / "run", tensorboard=True).run
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    for name in ("batch_loss", "test_error"):
        expected = [(r["step"], pytest.approx(r["value"])) for r in read_metrics(run) if r["name"] == name]
        assert [(each.step, each.value) for each in found.Scalars(name)] == expected

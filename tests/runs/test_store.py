"""The run directory under faults: full disks, damage, foreign and hostile files."""

import base64
import dataclasses
import errno
import json
import os
import pickle
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from plusx.nets import all_options, build, catalog, entry
from plusx.nets.resnet import cifar_net
from plusx.runs import files, store
from plusx.runs.card import Card
from plusx.runs.metrics import Measurement, read_metrics
from plusx.runs.store import create_run, load_run, load_weights, read_card, reopen_run

TENSORS = {"net/w": torch.arange(6.0).reshape(2, 3), "loss_sum": torch.tensor(1.5)}


@pytest.fixture
def card(digits_run: Path) -> Card:
    finished = read_card(digits_run)
    return Card.from_dict({**finished.to_dict(), "status": "training", "results": {}})


def test_a_card_survives_json(digits_run: Path) -> None:
    card = read_card(digits_run)
    assert Card.from_dict(json.loads(json.dumps(card.to_dict()))).to_dict() == card.to_dict()


def test_a_card_has_every_option_of_its_net(digits_run: Path) -> None:
    options = json.loads((digits_run / "card.json").read_text())["net_options"]
    assert (options["shortcut"], options["survival"], options["num_classes"]) == ("A", 1.0, 10)
    assert options.keys() == all_options("resnet20", {}).keys()


def test_a_changed_default_leaves_old_runs_as_they_are(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_run(digits_run)[0]
    changed = dataclasses.replace(entry("resnet20"), builder=partial(cifar_net, 20, shortcut="B"))
    monkeypatch.setitem(catalog._ENTRIES, "resnet20", changed)
    after = load_run(digits_run)[0]
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(before(x), after(x))


def test_a_card_of_the_first_version_is_read(digits_run: Path, tmp_path: Path) -> None:
    """It had only the options that were asked for, no notes, and mean and deviation as bytes."""
    shutil.copytree(digits_run, tmp_path / "run")
    net, card = load_run(digits_run)
    fields = card.to_dict()
    del fields["notes"]
    fields["net_options"] = {"num_classes": 10, "in_channels": 1}
    for what, values in (("mean", card.preprocess.mean_CHW), ("std", card.preprocess.std_C11)):
        raw = base64.b64encode(values.numpy().astype("<f4").tobytes()).decode()
        fields["preprocess"][what] = {"shape": list(values.shape), "float32_base64": raw}
    (tmp_path / "run" / "card.json").write_text(json.dumps(fields))
    old_net, old_card = load_run(tmp_path / "run")
    assert torch.equal(old_card.preprocess.mean_CHW, card.preprocess.mean_CHW) and old_card.notes == ()
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(net(x), old_net(x))


def test_safetensors_files_say_that_they_are_of_pytorch(digits_run: Path) -> None:
    for file in (digits_run / "weights.safetensors", *digits_run.glob("state/*/tensors.safetensors")):
        with safe_open(file, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}


def test_a_resume_point_comes_back_as_it_was(card: Card, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", card)
    run.log(1, [Measurement("batch_loss", 0.5, "nats")], seconds=1.0)
    run.save(1, TENSORS, {"seconds": 0.1 + 0.2})
    run.log(2, [Measurement("batch_loss", 0.4, "nats")], seconds=2.0)
    run.close()
    again, point = reopen_run(tmp_path / "run")
    again.close()
    assert point is not None and (point.step, point.scalars) == (1, {"seconds": 0.1 + 0.2})
    assert all(torch.equal(point.tensors[name], t) for name, t in TENSORS.items())
    assert [r["step"] for r in read_metrics(tmp_path / "run")] == [1]  # what came after the point is cut off


def test_only_the_newest_resume_points_are_kept(card: Card, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", card)
    for step in range(1, 6):
        run.save(step, TENSORS, {})
    run.close()
    assert sorted(p.name for p in (tmp_path / "run" / "state").iterdir()) == ["step-00000004", "step-00000005"]


@pytest.mark.parametrize("failing", range(1, 9))
def test_a_disk_that_fills_at_any_write_leaves_the_last_point_whole(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    run = create_run(tmp_path / "run", card)
    saved, calls, fsync = 0, 0, os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        for step in range(1, 5):
            run.save(step, TENSORS, {})
            saved = step
    run.close()
    monkeypatch.setattr(os, "fsync", fsync)
    assert not list((tmp_path / "run" / "state").glob(".step-*"))
    again, point = reopen_run(tmp_path / "run")
    again.close()
    assert (point.step if point else 0) in (saved, saved + 1)  # the rename may have come through before the fault


def test_a_card_is_never_half_written(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_run(tmp_path / "run", card).close()
    before = (tmp_path / "run" / "card.json").read_bytes()

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_synced", full)
    with pytest.raises(OSError):
        store.write_card(tmp_path / "run", card.finished({"steps": 1}))
    assert (tmp_path / "run" / "card.json").read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [".lock", "card.json", "metrics.jsonl"]


@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
def test_any_damaged_byte_of_a_resume_point_is_seen(card: Card, tmp_path: Path, file: str) -> None:
    run = create_run(tmp_path / "run", card)
    run.save(1, TENSORS, {"seconds": 1.0})
    run.close()
    path = tmp_path / "run" / "state" / "step-00000001" / file
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x11
        path.write_bytes(damaged)
        assert store._read_point(path.parent) is None, position
    path.write_bytes(whole[:-1])
    assert store._read_point(path.parent) is None
    path.write_bytes(whole)
    assert store._read_point(path.parent) is not None


def test_foreign_and_unreadable_directories_are_refused(digits_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, content in (("text", "hello"), ("list", "[1]"), ("other", '{"format": 99}'), ("cut", '{"format": 1')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(content)
    cases = {"absent": "no such run directory", "empty": "not a run directory: it has no card.json"}
    cases |= dict.fromkeys(("text", "list", "cut"), "is not a card of plusx") | {"other": "its format is 99"}
    for name, reason in cases.items():
        for use in (load_run, reopen_run, read_card):
            with pytest.raises(ValueError, match=reason):
                use(tmp_path / name)
    with pytest.raises(ValueError, match="it has no card.json; it holds the runs cut, list, other, text$"):
        read_card(tmp_path)


def test_a_run_without_weights_or_resume_point_is_not_loaded(card: Card, tmp_path: Path) -> None:
    create_run(tmp_path / "run", card).close()
    with pytest.raises(ValueError, match="has no weights yet; resume it: plusx train --resume"):
        load_run(tmp_path / "run")


class Hostile:
    """Would leave a folder behind if it were unpickled by an ordinary unpickler."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.witness),)


def test_a_hostile_pickle_in_place_of_a_runs_weights_is_refused(digits_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(digits_run, tmp_path / "run")
    (run / "weights.safetensors").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_run(run)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    save_file(build("resnet32").state_dict(), tmp_path / "32.safetensors")
    save_file(build("resnet20", num_classes=5).state_dict(), tmp_path / "five.safetensors")
    cases = {"32": "weights of another net: it also has stages.0.3", "five": r"head.linear.\w+ is \(5.*not \(10"}
    for name, reason in cases.items():
        with pytest.raises(ValueError, match=reason):
            load_weights(build("resnet20"), tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        load_weights(build("resnet20"), tmp_path / "absent.safetensors")


def test_the_directory_holds_no_pickle(digits_run: Path) -> None:
    suffixes = {p.suffix for p in digits_run.rglob("*") if p.is_file() and p.name != ".lock"}
    assert suffixes - {".csv", ".svg", ".png"} == {".json", ".jsonl", ".safetensors", ".html"}


def test_a_run_that_died_as_it_was_created_is_not_in_the_way(tmp_path: Path, card: Card) -> None:
    (tmp_path / "run").mkdir()
    for left in (".lock", ".card.json.partial"):
        (tmp_path / "run" / left).touch()
    create_run(tmp_path / "run", card).close()
    with pytest.raises(ValueError, match="exists; choose another --out"):
        create_run(tmp_path / "run", card)

"""The run directory: created, appended to, saved and resumed so that no instant of a crash loses or half-writes it.

    card.json  weights.safetensors  metrics.jsonl  report.html  state/step-00012000/

Every file is written aside, flushed to the disk and renamed. A resume point is a folder written the same way; it holds
its own checksums and the length of metrics.jsonl at that step, to which a resumed run cuts the file back.
Nothing is a pickle.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from plusx.data.images import listed
from plusx.nets import build
from plusx.runs.card import Card
from plusx.runs.code import admit
from plusx.runs.files import PARTIAL, _sync_folder, replace_file, write_synced
from plusx.runs.metrics import Measurement

BEFORE_CARD = {".lock", ".card.json.partial", PARTIAL}
METADATA = {"format": "pt"}  # by which other libraries know that a safetensors file is PyTorch's
KEPT = 2  # resume points: the newest, and one more in case the disk damages it


@dataclass(frozen=True)
class ResumePoint:
    """A step from which a run can be resumed."""

    step: int
    tensors: dict[str, Tensor]
    scalars: dict[str, Any]
    metrics_bytes: int
    """Length of metrics.jsonl at that step."""

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under a name: net, best, average or optimizer."""
        return {key.removeprefix(f"{name}/"): t for key, t in self.tensors.items() if key.startswith(f"{name}/")}


class Run:
    """A run directory that is being written. Use `create_run` or `reopen_run`; close it when done."""

    def __init__(self, path: Path, card: Card, lock: IO[str]) -> None:
        self.path, self.card, self._lock = path, card, lock
        self._metrics = (path / "metrics.jsonl").open("ab")

    def __repr__(self) -> str:
        return f"<Run {self.path}: {self.card.in_words}>"

    def log(self, step: int, measurements: Iterable[Measurement], *, seconds: float) -> None:
        """Append measurements to metrics.jsonl, one a line, in one write."""
        lines = [
            json.dumps({"step": step, **m._asdict(), "seconds": round(seconds, 3)}, ensure_ascii=False) + "\n"
            for m in measurements
        ]
        self._metrics.write("".join(lines).encode())
        self._metrics.flush()

    def save(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Write a resume point, then drop all but the newest few."""
        os.fsync(self._metrics.fileno())
        state = self.path / "state"
        state.mkdir(exist_ok=True)
        final, aside = state / f"step-{step:08d}", state / f".step-{step:08d}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            raw = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, METADATA)
            write_synced(aside / "tensors.safetensors", raw)
            body = {
                "step": step,
                "scalars": dict(scalars),
                "metrics_bytes": self._metrics.tell(),
                "tensors_sha256": hashlib.sha256(raw).hexdigest(),
            }
            write_synced(aside / "state.json", json.dumps({**body, "sha256": _digest(body)}).encode())
            if final.exists():  # a resumed run passes the steps after its resume point a second time
                shutil.rmtree(final)
            aside.rename(final)
            _sync_folder(state)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        for old in sorted(state.glob("step-*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def finish(self, weights: Mapping[str, Tensor], results: Mapping[str, Any]) -> None:
        """Write the weights, then the card that says so: in this order, so that the card never lies."""
        os.fsync(self._metrics.fileno())
        raw = save({name: t.detach().cpu().contiguous() for name, t in weights.items()}, METADATA)
        replace_file(self.path / "weights.safetensors", raw)
        self.card = self.card.finished(results)
        write_card(self.path, self.card)

    def close(self) -> None:
        """Let other processes have the directory."""
        with contextlib.suppress(OSError):  # a full disk: what did not fit was already reported
            self._metrics.close()
        self._lock.close()


def create_run(path: Path, card: Card) -> Run:
    """A new run directory.

    Raises:
        ValueError: The directory exists and is not empty.
    """
    require_free(path)
    path.mkdir(parents=True, exist_ok=True)
    lock = _locked(path)
    write_card(path, card)
    return Run(path, card, lock)


def discard_run(run: Run, new: Iterable[Path]) -> None:
    """Take a run directory away that nobody has use for.

    Args:
        run: Just created.
        new: The folders that were made for it, the innermost first; others stay, empty.
    """
    run.close()
    for file in run.path.iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    for folder in new:
        with contextlib.suppress(OSError):  # something else was put there meanwhile
            folder.rmdir()


def require_free(path: Path) -> None:
    """Raises ValueError when the path is anything but absent, empty, or what was left where a process died early."""
    if path.exists() and (not path.is_dir() or {file.name for file in path.iterdir()} - BEFORE_CARD):
        unfinished = (path / "card.json").is_file() and read_card(path).status != "finished"
        resume_it = f", or resume it: plusx train --resume {path}" if unfinished else ""
        raise ValueError(f"{path} exists; choose another --out{resume_it}")


def reopen_run(path: Path) -> tuple[Run, ResumePoint | None]:
    """An unfinished run and its newest whole resume point; None starts it from the beginning.

    metrics.jsonl is cut back to the resume point.

    Raises:
        ValueError: The directory is no run, is finished, or is in use.
    """
    card = read_card(path)
    if card.status == "finished":
        raise ValueError(f"{path} is finished; there is nothing to resume")
    lock = _locked(path)
    for unfinished in (path / "state").glob(".step-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    point = newest_point(path)
    with (path / "metrics.jsonl").open("ab") as metrics:
        keep = point.metrics_bytes if point else 0
        if metrics.tell() < keep:
            lock.close()
            raise ValueError(
                f"{path / 'metrics.jsonl'} is shorter than at its resume point; it was changed from outside"
            )
        metrics.truncate(keep)
    return Run(path, card, lock), point


def newest_point(path: Path) -> ResumePoint | None:
    """The newest resume point of a run of which every byte is as it was written, or None."""
    points = sorted((path / "state").glob("step-*"), reverse=True)
    return next((p for p in map(_read_point, points) if p is not None), None)


def load_run(run: str | Path, *, trust_code: bool = False, net: nn.Module | None = None) -> tuple[nn.Module, Card]:
    """The trained net of a run, on the CPU in evaluation mode, and its card.

    If the run was stopped, it is the best net so far, from the newest whole resume point: the card says so in `status`
    and in the results `steps` and `kept_step`, and `unfinished` says it in a sentence.

    Args:
        run: Run directory.
        trust_code: Whether the code of a net that is somebody's own may be run; it is the run's copy of a file.
        net: Such a net itself, in place of that code; a copy of it gets the weights.

    Raises:
        ValueError: The directory is no run, it has no resume point yet, or its weights are damaged or another net's; or
            it has code that nobody trusts.
    """
    path = Path(run)
    card = read_card(path)
    admit(path, card, trust_code=trust_code, net=net)
    net = build(card.recipe.net.name, **card.net_options)
    if card.status == "finished":
        load_weights(net, path / "weights.safetensors")
        return net.eval(), card
    point = newest_point(path)
    if point is None:
        raise ValueError(f"{path} has no weights yet; resume it: plusx train --resume {path}")
    best = point.part("best") or point.part("average")
    net.load_state_dict(best or point.part("net"))
    kept = point.scalars["best_step"] if point.part("best") else point.step
    return net.eval(), replace(card, results={"steps": point.step, "kept_step": kept})


def unfinished(path: Path, card: Card) -> str | None:
    """The sentence that comes with the weights of a run that is not finished; None for one that is."""
    if card.status == "finished":
        return None
    steps, kept = card.results["steps"], card.results["kept_step"]
    which = f"the best so far, of step {kept:,}" if kept != steps else f"of step {steps:,}"
    return f"{path} is not finished: these weights are {which}; resume it with: plusx train --resume {path}"


def read_card(path: Path) -> Card:
    """The card of a run directory.

    Raises:
        ValueError: There is no card, or it cannot be read.
    """
    if not path.exists():
        raise ValueError(f"no such run directory: {path}")
    file = path / "card.json"
    if not file.is_file():
        inside = sorted(found.parent.name for found in path.glob("*/card.json"))
        meant = f"; it holds the run{'s' * (len(inside) > 1)} {listed(inside)}" if inside else ""
        raise ValueError(f"{path} is not a run directory: it has no card.json{meant}")
    try:
        return Card.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError as fault:
        raise ValueError(f"cannot read {file}: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"{file} is not a card of plusx: {fault}") from None


def write_card(path: Path, card: Card) -> None:
    """Replace card.json."""
    replace_file(path / "card.json", (json.dumps(card.to_dict(), indent=2, ensure_ascii=False) + "\n").encode())


def load_weights(net: nn.Module, file: Path) -> None:
    """Put the weights of a safetensors file, under our names, into the net that they are of.

    Raises:
        ValueError: The file is missing, damaged, of another format or of another net.
    """
    try:
        tensors = load(file.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"no such file: {file}") from None
    except OSError as fault:
        raise ValueError(f"cannot read {file}: {fault.strerror}") from None
    except SafetensorError as fault:
        raise ValueError(f"{file} is not a safetensors file, or is damaged: {fault}") from None
    expected = net.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        example = f"it lacks {missing[0]}" if missing else f"it also has {extra[0]}"
        raise ValueError(f"{file} holds the weights of another net: {example}")
    for name, value in expected.items():
        if value.shape != tensors[name].shape:
            have, want = tuple(tensors[name].shape), tuple(value.shape)
            raise ValueError(f"{file} holds the weights of another net: {name} is {have}, not {want}")
    net.load_state_dict(tensors)


def _read_point(folder: Path) -> ResumePoint | None:
    """A resume point, or None when any byte of it is not as it was written."""
    try:
        body = json.loads((folder / "state.json").read_bytes())
        claimed = body.pop("sha256")
        raw = (folder / "tensors.safetensors").read_bytes()
        if _digest(body) != claimed or hashlib.sha256(raw).hexdigest() != body["tensors_sha256"]:
            return None
        return ResumePoint(body["step"], load(raw), body["scalars"], body["metrics_bytes"])
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _locked(path: Path) -> IO[str]:
    """A lock on the directory that ends with the process, however it ends.

    It is the process's own (lockf, not flock): loader processes outlive a killed run by seconds and must not hold it.
    """
    lock = (path / ".lock").open("w")
    try:
        import fcntl
    except ImportError:  # Windows: no lock; two processes on one run stay the user's care
        return lock
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ValueError(f"{path} is in use by another process") from None
    return lock

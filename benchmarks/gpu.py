"""What a CUDA machine makes of training: `python -m benchmarks gpu PART... [--out DIR] [--seconds N] [--smoke]`.

check     a captured step against the same step called; batches made on the device against those of the CPU; three kills
compile   fills torch's cache with the code of every net below, in processes side by side
speed     images/s of whole training steps: plusx, captured and also compiled, beside eager PyTorch, a CUDA graph of it,
          and a CUDA graph of what torch.compile makes. plusx makes and augments its batches within; the others have one
          batch ready on the device
side      several captured runs at once on one device, each on a stream and a thread of its own: images/s together
accuracy  `cifar10-94`, seed after seed, alone on the device: accuracy, seconds of training, seconds of all
command   the same as a command in a process of its own, from its start to its end
paper     He et al. (2015), Table 6, at the paper's budget, several nets side by side; nothing is chosen on test images

Every number is written at once, as a line of DIR/gpu-PART.jsonl with its evidence, so that a machine that goes away
takes nothing with it; a part that ends makes DIR/gpu-PART.json of its lines. Without PART it is the first four, which
need no data: accuracy, command and paper need PLUSX_DATA. `--smoke` shrinks everything and runs on a CPU too.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch._dynamo
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import RESULTS, evidence
from plusx.benchmark.training import noise
from plusx.data.batches import TrainBatches
from plusx.data.preprocess import fit_preprocess
from plusx.engine import training
from plusx.engine.events import Event
from plusx.engine.losses import make_loss
from plusx.engine.optim import make_optimizer, set_multiplier
from plusx.engine.step import captured_step, train_step
from plusx.engine.training import make_augmentation, resume, train
from plusx.nets import build
from plusx.placement.machine import accelerator
from plusx.placement.place import Placement, choose_placement
from plusx.recipes import RECIPES
from plusx.recipes.augment import FlipLR, RandomCrop
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.optim import SGD, Adam, Optim, Penalty

CASES = (("resnet20", 128), ("resnet20", 1024), ("res_airbench94", 1000), ("resnet50", 256))
PAPER = ("resnet56", "resnet44", "resnet32", "resnet20")  # the longest first
FILES = {"paper": "cifar10-paper"}  # the others are named for their part
AT_ONCE = 4  # on an H100 eight are as fast as four, together
MAIN = ("plusx", "plusx, compiled", "eager bf16", "graph bf16", "compiled graph bf16")
DEVICE = accelerator() or "cpu"


class Written:
    """Lines of a JSON file, printed too."""

    def __init__(self, out: Path, part: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.file, self.lock = out / f"{FILES.get(part, f'gpu-{part}')}.jsonl", threading.Lock()
        self.file.unlink(missing_ok=True)
        gpu = torch.cuda.get_device_name() if DEVICE == "cuda" else None
        self.evidence = {**evidence(), "gpu": gpu, "cudnn": torch.backends.cudnn.version()}

    def __call__(self, **found: Any) -> None:
        with self.lock, self.file.open("a") as lines:
            lines.write(json.dumps({**found, "evidence": self.evidence}) + "\n")
        print(" ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in found.items()), flush=True)

    def gather(self) -> None:
        """One JSON file of all lines, the evidence once."""
        rows = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        rows = [{key: value for key, value in row.items() if key != "evidence"} for row in rows]
        content = json.dumps({**self.evidence, "rows": [row for row in rows if "progress" not in row]}, indent=1)
        self.file.with_suffix(".json").write_text(content + "\n")
        self.file.unlink(missing_ok=True)


def wait() -> None:
    """Until the device has done what it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def optim_of(net: str) -> Optim:
    """What a net is trained with here."""
    return RECIPES["cifar10-94"](0).optim if "airbench" in net else SGD(lr=0.01)


class Whole:
    """A step of plusx's loop, batch and augmentation within."""

    def __init__(
        self, net: str, batch_size: int, placement: Placement, optim: Optim | None = None, **options: Any
    ) -> None:
        torch.manual_seed(0)
        images = noise(net, 2 * batch_size)
        preprocess = fit_preprocess(
            images, size=None, fit="crop", crop_fraction=1.0, interpolation="bilinear", normalize="channel"
        )
        augmentation = make_augmentation((RandomCrop(), FlipLR()), preprocess)
        if placement.holds(images.size_bytes):
            images, preprocess = images.to(placement.device), preprocess.to(placement.device)
        self.batches = TrainBatches(images, preprocess, augmentation, batch_size, seed=0)
        self.net = placement.place(build(net, **options)).train()
        self.optimizer = make_optimizer(optim or optim_of(net), self.net, precision=placement.precision)
        loss_fn = make_loss(CrossEntropy())

        def learn(x_BCHW: Tensor, labels_B: Tensor) -> Tensor:
            return train_step(self.net, self.optimizer, loss_fn, Penalty(), x_BCHW, labels_B, placement)

        self.step, self.number = captured_step(learn, self.net, self.optimizer, placement), 0

    def __call__(self) -> Tensor:
        set_multiplier(self.optimizer, 1 / (1 + self.number))
        torch.manual_seed(self.number)
        loss = self.step(*self.batches[self.number])
        self.number += 1
        return loss


def peer(
    net: str, batch_size: int, *, bf16: bool = True, graph: bool = False, compiled: bool = False
) -> Callable[[], object]:
    """PyTorch without plusx's loop, on one batch that is ready."""
    torch.manual_seed(0)
    torch.backends.cudnn.deterministic = False
    layout = torch.channels_last if bf16 else torch.contiguous_format
    model = build(net).to(DEVICE).to(memory_format=layout).train()
    forward = torch.compile(model, dynamic=False) if compiled else model
    optimizer = make_optimizer(optim_of(net), model, precision="bf16" if bf16 else "fp32")
    images = noise(net, batch_size)
    assert images.pixels_NCHW is not None
    x_BCHW = (images.pixels_NCHW.to(DEVICE).float() / 64 - 2).to(memory_format=layout)
    labels_B = images.labels_N.to(DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(forward(x_BCHW), labels_B)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    if not graph or DEVICE != "cuda":
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording):
        step()
    return recording.replay


def contenders(net: str, batch_size: int) -> dict[str, Callable[[], Callable[[], object]]]:
    """Makers of a call that is one step."""
    placement = choose_placement(device=DEVICE)
    return {
        "plusx": lambda: Whole(net, batch_size, placement),
        "plusx, compiled": lambda: Whole(net, batch_size, dataclasses.replace(placement, compile=True)),
        "plusx, not captured": lambda: Whole(net, batch_size, dataclasses.replace(placement, capture=False)),
        "eager fp32": lambda: peer(net, batch_size, bf16=False),
        "eager bf16": lambda: peer(net, batch_size),
        "graph fp32": lambda: peer(net, batch_size, bf16=False, graph=True),
        "graph bf16": lambda: peer(net, batch_size, graph=True),
        "compiled graph bf16": lambda: peer(net, batch_size, graph=True, compiled=True),
    }


def speed(written: Written, asked: argparse.Namespace, deadline: float) -> None:
    """Each contender alone, in three stretches of time; the table is by net."""
    for net, batch_size in (("resnet20", 4),) if asked.smoke else CASES:
        for who, make in contenders(net, batch_size).items():
            narrow = (net, batch_size) == CASES[0]  # where every launch counts, and all are looked at
            wanted = "compiled" not in who if asked.smoke else narrow or who in MAIN
            if not wanted or time.monotonic() > deadline:
                continue
            step: Any = None
            try:
                began = time.perf_counter()
                step = make()
                step()
                wait()
                ready = time.perf_counter() - began
                for _ in range(0 if asked.smoke else 10):
                    step()
                paces = [pace(step, 0.05 if asked.smoke else 0.3) * batch_size for _ in range(3)]
                refused = step.step.refused if isinstance(step, Whole) else None
                written(net=net, batch=batch_size, who=who, images_per_s=median(paces), low=min(paces), high=max(paces),
                        ready_seconds=ready, **({"refused": refused} if refused else {}))  # fmt: skip
            except Exception as fault:  # one that fails leaves the others their turn
                written(net=net, batch=batch_size, who=who, failed=f"{type(fault).__name__}: {fault}"[:300])
            step = None
            free()


def pace(step: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    some = 10 if DEVICE == "cuda" else 1
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(some):
            step()
        calls += some
        wait()  # now and then, so that the host does not run far ahead of the clock
    return calls / (time.perf_counter() - began)


def free() -> None:
    """Give memory back before the next contender takes its own."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        import gc

        gc.collect()
        torch.cuda.empty_cache()


def check(written: Written, asked: argparse.Namespace, deadline: float) -> None:
    """Equal to what: the step called rather than replayed, the CPU's batches, the run that was not killed."""
    placement = choose_placement(device=DEVICE)
    steps, batch_size = (2, 4) if asked.smoke else (30, 128)
    cases: list[tuple[str, Optim | None, dict[str, Any]]] = [("resnet20", None, {})]
    if not asked.smoke:
        cases += [("resnet20", Adam(lr=0.001), {}), ("res_airbench94", None, {})]
        cases += [("densenet_40_12", None, {"dropout": 0.2}), ("resnet20", None, {"survival": 0.5})]
    for net, optim, options in cases:
        try:
            called = Whole(net, batch_size, dataclasses.replace(placement, capture=False), optim, **options)
            replayed = Whole(net, batch_size, placement, optim, **options)
            losses = [[float(whole()) for _ in range(steps)] for whole in (called, replayed)]
            pairs = list(zip(called.net.parameters(), replayed.net.parameters(), strict=True))
            written(check="captured", net=net, options=options, optim=type(optim or optim_of(net)).__name__,
                    steps=steps,
                    first_losses_equal=losses[0][0] == losses[1][0],
                    largest_loss_difference=max(abs(a - b) for a, b in zip(*losses, strict=True)),
                    weights_equal=all(torch.equal(a, b) for a, b in pairs),
                    weights_relative=max(((a - b).norm() / (a.norm() + 1e-12)).item() for a, b in pairs),
                    refused=replayed.step.refused)  # fmt: skip
        except Exception as fault:
            written(check="captured", net=net, options=options, failed=f"{type(fault).__name__}: {fault}"[:300])
        free()
    there = Whole("resnet20", 16, placement).batches
    here = Whole("resnet20", 16, choose_placement(device="cpu")).batches
    same = all(torch.equal(a.cpu(), b) for n in range(5) for a, b in zip(there[n], here[n], strict=True))
    written(check="batches", on=there[0][0].device.type, equal_to_the_cpu=same)
    with TemporaryDirectory() as folder:
        runs = {kill: Path(folder) / f"run-{kill}" for kill in ((0, 3) if asked.smoke else (0, 3, 11, 17))}
        began = time.perf_counter()
        for again in (False, True):
            children = [
                subprocess.Popen([sys.executable, "-m", "benchmarks.gpu", "--die", str(run), str(0 if again else kill)])
                for kill, run in runs.items()
                if kill or not again
            ]
            codes = [child.wait(timeout=150) for child in children]
        hashes = {
            kill: hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest() for kill, run in runs.items()
        }
        written(check="kills", at_steps=[kill for kill in runs if kill], codes=codes, sha256=hashes[0],
                equal=len(set(hashes.values())) == 1, seconds=time.perf_counter() - began)  # fmt: skip


def die(run: Path, step: int) -> None:
    """A run with dropout that kills itself at a step, 0 never; or goes on with what the first left."""
    calls, whole = 0, vars(training)["captured_step"]

    def dying(*args: Any) -> Any:
        captured = whole(*args)

        def counted(*batch: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return captured(*batch)

        return _Counted(captured, counted)

    vars(training)["captured_step"] = dying
    if (run / "card.json").exists():
        found = resume(run)
    else:
        overrides = {"net.name": "densenet_40_12", "net.options.dropout": "0.2", "steps": "20", "batch_size": "16",
                     "save_seconds": "0", "log_every": "5", "data.limit": "64", "placement.threads": "1"}  # fmt: skip
        found = train("digits", seed=3, overrides=overrides, out=run)
    assert "not_captured" not in found.card.results, found.card.results


class _Counted:
    """A captured step whose calls are counted."""

    def __init__(self, captured: Any, call: Callable[..., Tensor]) -> None:
        self.captured, self.call = captured, call

    def __call__(self, *batch: Tensor) -> Tensor:
        return self.call(*batch)

    @property
    def refused(self) -> str | None:
        refused: str | None = self.captured.refused
        return refused


def compile_all(written: Written, asked: argparse.Namespace, deadline: float) -> None:
    """Each case's compiled contenders once, in a process each, for the cache on disk alone."""
    children: dict[tuple[str, int, str], tuple[float, subprocess.Popen[bytes]]] = {}
    for net, batch_size in () if asked.smoke else CASES:
        for who in ("plusx, compiled", "compiled graph bf16"):
            command = [sys.executable, "-m", "benchmarks.gpu", "--make", net, str(batch_size), who]
            children[net, batch_size, who] = time.perf_counter(), subprocess.Popen(command)
    for (net, batch_size, who), (began, child) in children.items():
        try:
            code: int | None = child.wait(timeout=max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            code = None
        written(compiled=who, net=net, batch=batch_size, code=code, within_seconds=time.perf_counter() - began)


def side(written: Written, asked: argparse.Namespace, deadline: float) -> None:
    """Runs of ResNet-20 and of ResNet-56 at once, compiled and not: images/s of all of them."""
    placement = choose_placement(device=DEVICE)
    batch_size, seconds = (4, 0.2) if asked.smoke else (128, 1.0)
    for compiled in (False,) if asked.smoke else (False, True):
        where = dataclasses.replace(placement, compile=compiled)
        for nets in (("resnet20",), ("resnet20",) * 2, ("resnet20",) * 4, PAPER, (*PAPER, *PAPER)):
            if time.monotonic() > deadline or (asked.smoke and len(nets) != 2):
                continue
            made = []
            for net in nets:
                with own_stream():
                    made.append(Whole(net, batch_size, where))
                    made[-1]()
            wait()
            counts, until = [0] * len(made), time.perf_counter() + seconds

            def go(place: int, made: list[Whole] = made, counts: list[int] = counts, until: float = until) -> None:
                with own_stream():
                    while time.perf_counter() < until:
                        for _ in range(1 if asked.smoke else 20):
                            made[place]()
                        counts[place] += 1 if asked.smoke else 20
                        if DEVICE == "cuda":
                            torch.cuda.current_stream().synchronize()

            began = time.perf_counter()
            together([functools.partial(go, place) for place in range(len(made))])
            elapsed = time.perf_counter() - began
            written(side=list(nets), compiled=compiled, images_per_s=sum(counts) * batch_size / elapsed,
                    each=[round(count * batch_size / elapsed) for count in counts])  # fmt: skip
            del made
            free()


@contextmanager
def own_stream() -> Iterator[None]:
    """What is launched within goes to a stream of its own."""
    with torch.cuda.stream(torch.cuda.Stream()) if DEVICE == "cuda" else nullcontext():
        yield


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Each in a thread, to the end of all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def accuracy(written: Written, asked: argparse.Namespace, deadline: float) -> None:
    """`cifar10-94`, captured and compiled; the first run of the process pays for reading the compiler's cache."""
    for seed in range(1 if asked.smoke else 12):
        if time.monotonic() > deadline:
            return
        marks: list[tuple[int, float]] = []

        def watch(event: Event, marks: list[tuple[int, float]] = marks) -> None:
            if event.loss is not None:
                marks.append((event.step, time.perf_counter()))

        overrides = {"placement.compile": "false" if asked.smoke else "true"}
        if asked.smoke:
            overrides |= {
                "data.limit": "20",
                "batch_size": "2",
                "steps": "3",
                "log_every": "1",
                "placement.threads": "1",
            }
        began = time.perf_counter()
        with TemporaryDirectory() as folder:
            results = train(
                "cifar10", recipe="cifar10-94", seed=seed, overrides=overrides, out=Path(folder) / "run",
                data_dir=os.environ["PLUSX_DATA"], watch=watch,
            ).card.results  # fmt: skip
        total = time.perf_counter() - began
        (first, since), (last, until) = marks[0], marks[-1]
        steady = (until - since) / max(last - first, 1) * results["steps"]
        written(recipe="cifar10-94", seed=seed, test_accuracy=results["test_accuracy"],
                training_seconds=results["seconds"], steps_seconds=steady, whole_seconds=total,
                refused=results.get("not_captured"))  # fmt: skip


def command(written: Written, asked: argparse.Namespace, deadline: float) -> None:
    """`plusx train cifar10 --recipe cifar10-94` in a process of its own, with and without the compiler."""
    for compiled in (False,) if asked.smoke else (False, True):
        if time.monotonic() > deadline:
            return
        with TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            words = [sys.executable, "-m", "plusx", "train", "cifar10", "--recipe", "cifar10-94", "--out", str(out)]
            words += ["--set", f"placement.compile={str(compiled).lower()}"]
            words += (
                ["--set", "steps=4", "--set", "data.limit=20", "--set", "batch_size=2", "--set", "placement.threads=1"]
                if asked.smoke
                else []
            )
            began = time.perf_counter()
            code = subprocess.run(words, stdout=subprocess.DEVNULL, timeout=120).returncode
            seconds = time.perf_counter() - began
            results = json.loads((out / "card.json").read_text()).get("results", {}) if out.exists() else {}
            written(command="cifar10-94", compiled=compiled, code=code, whole_seconds=seconds,
                    training_seconds=results.get("seconds"), test_accuracy=results.get("test_accuracy"))  # fmt: skip


class Turnstile:
    """Lets a run begin only while the others stand still: what begins draws numbers and records, which they disturb."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running, self.beginners, self.busy = 0, 0, False

    def begin(self) -> None:
        """Wait until every other run stands still."""
        with self.changed:
            self.beginners += 1
            self.changed.wait_for(lambda: self.running == 0 and not self.busy)
            self.beginners, self.busy = self.beginners - 1, True

    def begun(self) -> None:
        """From now on others run as well."""
        with self.changed:
            self.busy, self.running = False, self.running + 1
            self.changed.notify_all()

    def step(self) -> None:
        """Stand still while somebody begins."""
        if not (self.beginners or self.busy):
            return
        with self.changed:
            self.running -= 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: not (self.beginners or self.busy))
            self.running += 1

    def end(self, begun: bool) -> None:
        """A run is over."""
        with self.changed:
            self.busy, self.running = (self.busy, self.running - 1) if begun else (False, self.running)
            self.changed.notify_all()


class EagerEvaluation:
    """What `Placement.evaluating` gives, for threads: the compiler's stance is one for the whole process."""

    def __init__(self) -> None:
        self.lock, self.within = threading.Lock(), 0

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(self, *fault: object) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        with self.lock:
            self.within += change
            torch.compiler.set_stance("force_eager" if self.within else "default")


def paper(written: Written, asked: argparse.Namespace, deadline: float) -> None:
    """The first four trainings at once; as one ends, the next begins, if it takes no longer than the time left."""
    queue = [(net, int(seed)) for net, _, seed in (job.partition(":") for job in asked.trainings)]
    turnstile, lock = Turnstile(), threading.Lock()
    sys.setswitchinterval(0.0005)
    vars(training)["load_source"] = functools.lru_cache(vars(training)["load_source"])  # read once for all
    eager = EagerEvaluation()
    Placement.evaluating = lambda self: eager  # type: ignore[method-assign]
    took: dict[str, float] = {}

    def one(net: str, seed: int) -> None:
        begun, began, last = False, time.monotonic(), time.monotonic()

        def should_stop() -> bool:
            nonlocal begun
            if not begun:
                begun = True
                turnstile.begun()
            turnstile.step()
            return time.monotonic() > deadline

        def watch(event: Event) -> None:
            nonlocal last
            if event.loss is not None and (time.monotonic() - last > 20 or asked.smoke):
                last = time.monotonic()
                written(progress=net, seed=seed, step=event.step, loss=event.loss, at_seconds=last - began)

        overrides = {"net.name": net, "save_seconds": "1000000", "evaluation.batch_size": "1000"}
        overrides |= {"placement.compile": "false" if asked.smoke else "true"}
        overrides |= {"data.limit": "50", "batch_size": "2", "steps": "4", "log_every": "2"} if asked.smoke else {}
        turnstile.begin()
        try:
            with TemporaryDirectory() as folder, own_stream():
                card = train(
                    "cifar10", recipe="cifar10-paper", seed=seed, overrides=overrides, out=Path(folder) / "run",
                    data_dir=os.environ["PLUSX_DATA"], watch=watch, should_stop=should_stop,
                ).card  # fmt: skip
            took[net] = time.monotonic() - began
            written(paper=net, took_seconds=took[net], **{k: v for k, v in card.results.items() if k != "machine"})
        except Exception as fault:
            written(paper=net, seed=seed, failed=f"{type(fault).__name__}: {fault}"[:300], at=time.monotonic() - began)
        finally:
            turnstile.end(begun)

    def work() -> None:
        while True:
            with lock:
                fits = [job for job in queue if time.monotonic() + took.get(job[0], 0) < deadline]
                if not fits:
                    return
                queue.remove(fits[0])
            one(*fits[0])

    together([work] * AT_ONCE)


PARTS: Mapping[str, Callable[[Written, argparse.Namespace, float], None]] = {
    "check": check,
    "compile": compile_all,
    "speed": speed,
    "side": side,
    "accuracy": accuracy,
    "command": command,
    "paper": paper,
}


def main(arguments: Sequence[str]) -> None:
    """Run some parts, or with none named those that need no data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seconds", type=float, default=3600.0, help="after so many, nothing new is begun")
    parser.add_argument("--trainings", nargs="*", metavar="NET:SEED", help="of the part paper",
                        default=[f"{net}:{seed}" for seed in range(3) for net in PAPER])  # fmt: skip
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args(arguments)
    if unknown := [part for part in asked.parts if part not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; choose of {', '.join(PARTS)}")
    if DEVICE != "cuda" and not asked.smoke:
        raise ValueError("this machine has no CUDA device; --smoke runs everything small on the CPU")
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    deadline = time.monotonic() + asked.seconds
    for part in asked.parts or ("check", "compile", "speed", "side"):
        began = time.perf_counter()
        written = Written(asked.out, part)
        PARTS[part](written, asked, deadline)
        written.gather()
        print(f"{part}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--die"]:
        die(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["--make"]:
        torch._dynamo.config.recompile_limit = 64
        contenders(sys.argv[2], int(sys.argv[3]))[sys.argv[4]]()()
        wait()
    else:
        main(sys.argv[1:])

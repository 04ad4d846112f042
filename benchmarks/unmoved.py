"""Proof that a change moved nothing: `python -m benchmarks unmoved BEFORE [AFTER] [--data-dir FOLDER]`.

Checks out two commits of this repository in a temporary folder, trains the same runs with each, and compares SHA-256
hashes of every tensor in weights.safetensors, by name, and of metrics.jsonl without its seconds. Prints one row for
each run and exits with code 1 if anything differs, 2 if a training fails. The runs:

digits   `plusx train digits --seed 3`
cifar10  `plusx train cifar10 --set steps=200`, ResNet-20; left out where the folder with CIFAR-10 is not named
folder   `plusx train FOLDER` for 30 steps at 32 pixels, on a class folder of synthetic images made here

All with `placement.choose=rules`, because a placement chosen by timing may differ from one run to the next. Everything
goes through the command line, which both commits share; no module of plusx is imported here. The native library is
copied from beside the installed package where its C sources are those of the commit, and compiled otherwise.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
KERNELS = Path("placement", "kernels")
"""Where the C sources and the native library lie in the package."""


@dataclass(frozen=True)
class Outcome:
    """What a run left, as far as it has to stay the same."""

    tensors: Mapping[str, str]
    """The SHA-256 of each tensor in weights.safetensors: its type, its shape and its bytes."""
    metrics: Sequence[str]
    """The records of metrics.jsonl as JSON, without the seconds that passed."""

    @classmethod
    def of(cls, run: Path) -> "Outcome":
        """Read it from a run directory."""
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return cls(tensor_hashes(run / "weights.safetensors"), [without_seconds(json.loads(line)) for line in lines])

    def weights_hash(self) -> str:
        """One hash of all tensors."""
        return _sha256("\n".join(f"{name} {self.tensors[name]}" for name in sorted(self.tensors)).encode())

    def metrics_hash(self) -> str:
        """One hash of all records, in their order."""
        return _sha256("\n".join(self.metrics).encode())


def tensor_hashes(file: Path) -> dict[str, str]:
    """The SHA-256 of each tensor of a safetensors file, by name.

    The format is eight bytes with the length of a JSON header, the header, then the bytes of the tensors;
    https://github.com/huggingface/safetensors.
    """
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:start])
    header.pop("__metadata__", None)
    hashes = {}
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        kind = json.dumps([tensor["dtype"], tensor["shape"]]).encode()
        hashes[name] = _sha256(kind + content[start + first : start + last])
    return hashes


def without_seconds(record: Mapping[str, Any]) -> str:
    """A record of metrics.jsonl as JSON, with its keys in order and without its seconds."""
    return json.dumps({key: value for key, value in record.items() if key != "seconds"}, sort_keys=True)


def differences(before: Outcome, after: Outcome) -> list[str]:
    """What moved, a sentence for the weights and one for the metrics; none if nothing did."""
    sentences = []
    names = sorted({*before.tensors, *after.tensors})
    moved = [name for name in names if before.tensors.get(name) != after.tensors.get(name)]
    if moved:
        sentences.append(f"{len(moved)} of {len(names)} tensors differ, the first is {moved[0]}")
    if len(before.metrics) != len(after.metrics):
        sentences.append(f"metrics.jsonl had {len(before.metrics)} records and has {len(after.metrics)}")
    pairs = zip(before.metrics, after.metrics, strict=False)
    if unequal := [pair for pair in pairs if pair[0] != pair[1]]:
        sentences.append(f"{len(unequal)} records of metrics.jsonl differ, the first was {' and is '.join(unequal[0])}")
    return sentences


def main(arguments: Sequence[str]) -> None:
    """Compare two commits, print the table, and exit with code 1 if anything moved."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks unmoved", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("before", metavar="BEFORE", help="a commit")
    parser.add_argument("after", metavar="AFTER", nargs="?", default="HEAD", help="a commit; HEAD if not given")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("PLUSX_DATA"),
                        help="the folder that contains CIFAR-10; PLUSX_DATA if not given")  # fmt: skip
    asked = parser.parse_args(arguments)
    commits = [_commit(asked.before), _commit(asked.after)]
    with TemporaryDirectory(prefix="unmoved-") as name:
        folder = Path(name)
        runs = commands(folder, asked.data_dir)
        outcomes = []
        for role, commit in zip(("before", "after"), commits, strict=True):
            with checked_out(commit, folder / role) as source:
                print(f"{role}: {commit[:12]}, {bring_native_library(source)}", flush=True)
                outcomes.append({run: train(source, words, folder / f"{role}-{run}") for run, words in runs.items()})
    if not report(*outcomes):
        sys.exit(1)


def commands(folder: Path, data_dir: Path | None) -> dict[str, list[str]]:
    """The arguments of `plusx train` for each run."""
    make_class_folder(folder / "images")
    runs = {"digits": ["digits", "--seed", "3"]}
    if data_dir is not None and (Path(data_dir) / "cifar-10-batches-bin").is_dir():
        runs["cifar10"] = ["cifar10", "--set", "steps=200", "--data-dir", str(Path(data_dir).resolve())]
    else:
        print("cifar10 is left out: name the folder that contains cifar-10-batches-bin with --data-dir or PLUSX_DATA")
    runs["folder"] = [str(folder / "images"), "--set", "steps=30", "--set", "preprocess.size=32"]
    return runs


def make_class_folder(root: Path) -> None:
    """Two classes, each with 24 images of noise on a coloured ground, of several sizes, PNG and JPEG."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        (root / name).mkdir(parents=True)
        for i in range(24):
            pixels = rng.integers(0, 120, (40 + i % 5, 56 - i % 7, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(root / name / f"{i:02}.{'png' if i % 2 else 'jpg'}")


@contextmanager
def checked_out(commit: str, path: Path) -> Iterator[Path]:
    """A worktree of the commit, as long as it is needed; the folder of its package."""
    _git("worktree", "add", "--quiet", "--detach", str(path), commit)
    try:
        yield path / "src" / "plusx"
    finally:
        _git("worktree", "remove", "--force", str(path))


def bring_native_library(package: Path) -> str:
    """Put the native library beside its sources: copied if it was built from the same ones, else compiled.

    Returns:
        What was done, in words.
    """
    installed, sources = _installed_package() / KERNELS, _c_sources(package / KERNELS)
    if built := sorted(installed.glob("_native*.so")) if sources == _c_sources(installed) else []:
        shutil.copy2(built[0], package / KERNELS)
        return "native library copied from the installed package"
    build = [sys.executable, "-c", "import setuptools; setuptools.setup()", "build_ext", "--inplace"]
    subprocess.run(build, cwd=package.parents[1], capture_output=True)  # optional: without a compiler it is left out
    if any((package / KERNELS).glob("_native*.so")):
        return "native library compiled"
    return "no native library: it is not installed and could not be compiled"


def train(package: Path, words: Sequence[str], out: Path) -> Outcome:
    """Train one run with the plusx of a worktree.

    Raises:
        ChildProcessError: The command failed; it has said why.
    """
    environ = {**os.environ, "PYTHONPATH": str(package.parent), "PLUSX_CACHE": str(out.parent / "cache")}
    code = "import plusx; print(plusx.__file__)"
    imported = subprocess.run(
        [sys.executable, "-c", code], cwd=out.parent, env=environ, stdout=subprocess.PIPE, text=True
    ).stdout
    if Path(imported.strip()).parent.resolve() != package.resolve():
        raise ChildProcessError(f"PYTHONPATH does not decide which plusx is imported: it is {imported.strip()}")
    command = [sys.executable, "-m", "plusx", "train", *words, "--set", "placement.choose=rules", "--out", str(out)]
    done = subprocess.run([*command, "--quiet"], cwd=out.parent, env=environ, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise ChildProcessError(f"{' '.join(command)} ended with code {done.returncode}")
    return Outcome.of(out)


def report(before: Mapping[str, Outcome], after: Mapping[str, Outcome]) -> bool:
    """Print the table and what moved; whether nothing did."""
    print(f"{'run':9}{'weights before':18}{'weights after':18}{'metrics before':18}{'metrics after':18}equal")
    moved = {run: differences(before[run], after[run]) for run in before}
    for run in before:
        pair = before[run], after[run]
        hashes = [*(each.weights_hash() for each in pair), *(each.metrics_hash() for each in pair)]
        print(f"{run:9}" + "".join(f"{value[:16]:18}" for value in hashes) + ("no" if moved[run] else "yes"))
    for run, sentences in moved.items():
        for sentence in sentences:
            print(f"{run}: {sentence}")
    return not any(moved.values())


def _installed_package() -> Path:
    """The folder of the plusx that this Python has installed, whatever PYTHONPATH says."""
    code = "import importlib.util as u; print(*u.find_spec('plusx').submodule_search_locations)"
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environ, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError("plusx is not installed; `make install` installs it")
    return Path(done.stdout.strip())


def _c_sources(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.[ch]")}


def _commit(name: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise ValueError(f"{name!r} is not a commit of this repository")
    return done.stdout.strip()


def _git(*words: str) -> None:
    if subprocess.run(["git", "-C", str(ROOT), *words]).returncode:
        raise ChildProcessError(f"git {' '.join(words)} failed")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

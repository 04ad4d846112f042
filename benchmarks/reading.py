"""Training batches out of image files, ours beside torchvision's ImageFolder, transforms and DataLoader; reading.json.

The images are windows of two photographs that scikit-learn ships, of the size that ImageNet's have on average. Every
contender draws crops of at least a quarter of the area, resizes them to 224 pixels, mirrors half of them and
normalises. torchvision's has two worker processes, ours as many threads as there are processors, which is what
`plusx train` does; both read files that the system has in memory.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.harness import as_range, write
from plusx.data.augment import make_augmentation
from plusx.data.batches import TrainBatches
from plusx.data.prepare import prepare_data
from plusx.data.preprocess import fit_preprocess
from plusx.data.sources import load_source
from plusx.placement.machine import tune_allocator, usable_cpus
from plusx.placement.turns import Turns, take_turns
from plusx.recipes.augment import FlipLR, RandomResizedCrop
from plusx.recipes.data import PreprocessSpec

IMAGES, WIDTH, HEIGHT, QUALITY = 1024, 500, 375, 92
INPUT, BATCH, WORKERS, ROUNDS = 224, 64, 2, 7


def main(wanted: Sequence[str] = ()) -> None:
    """Measure, print and write."""
    if wanted:
        raise ValueError("reading takes no nets")
    torch.set_num_threads(usable_cpus())
    tune_allocator()  # as a training does
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        size_bytes = make_photos(root)
        contenders: dict[str, Callable[[], None]] = {
            "torchvision": theirs(root, tensors=False),
            "torchvision, tensors": theirs(root, tensors=True),
            "ours, exact": ours(root, fast=False),
            "ours": ours(root, fast=True),
            "ours, prepared": ours(prepare_data(root, Path(folder) / "prepared", progress=False).folder, fast=True),
        }
        turns = take_turns(contenders, rounds=ROUNDS)
    result = compared(turns) | {"file_bytes": size_bytes, "images": IMAGES, "rounds": ROUNDS, "workers": WORKERS}
    for who, numbers in result["contenders"].items():
        line = f"{who:24}{numbers['images_per_s']:8,.0f} images/s"
        for peer, ratio in result["ratios"].get(who, {}).items():
            low, high = ratio["ratio_range"]
            line += f"   {ratio['ratio']:.2f}x {peer} ({low:.2f} to {high:.2f})"
        print(line)
    write("reading", result)


def make_photos(root: Path) -> float:
    """Write the images, in two classes; returns the mean size of a file in bytes."""
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    rng, total = np.random.default_rng(0), 0
    for number in range(IMAGES):
        photo = photos[number % 2]
        top, left = (int(rng.integers(0, room + 1)) for room in (photo.shape[0] - HEIGHT, photo.shape[1] - WIDTH))
        file = root / ("china", "flower")[number % 2] / f"{number:04}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        window = photo[top : top + HEIGHT, left : left + WIDTH]
        Image.fromarray(window).save(file, quality=QUALITY, comment=str(number))  # no two files are copies
        total += file.stat().st_size
    return total / IMAGES


def theirs(root: Path, *, tensors: bool) -> Callable[[], None]:
    """An epoch of torchvision's: transforms of Pillow's images, or of uint8 tensors as its guide advises."""
    changes = [v2.RandomResizedCrop(INPUT, scale=(0.25, 1.0)), v2.RandomHorizontalFlip()]
    first = [v2.ToImage(), *changes] if tensors else [*changes, v2.ToImage()]
    normalise = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    transform = v2.Compose([*first, v2.ToDtype(torch.float32, scale=True), normalise])
    dataset = ImageFolder(root, transform)
    options: dict[str, Any] = {"num_workers": WORKERS, "persistent_workers": True}
    return Epochs(DataLoader(dataset, BATCH, shuffle=True, drop_last=True, **options))


class Epochs:
    """A call is one epoch of a loader."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __call__(self) -> None:
        for x_BCHW, _ in self.loader:
            assert x_BCHW.shape == (BATCH, 3, INPUT, INPUT)


def ours(data: Path, *, fast: bool) -> Callable[[], None]:
    """An epoch of ours, from a folder or from what `plusx data prepare` made of it."""
    images = load_source(str(data)).as_found[""]
    preprocess = fit_preprocess(images, PreprocessSpec(size=INPUT))
    augmentation = make_augmentation((RandomResizedCrop(0.25), FlipLR()), preprocess)
    batches = TrainBatches(images, preprocess, augmentation, BATCH, 0, usable_cpus(), fast)
    steps = IMAGES // BATCH
    start = 0

    def epoch() -> None:
        nonlocal start
        for x_BCHW, _ in batches.steps(start, start + steps):
            assert x_BCHW.shape == (BATCH, 3, INPUT, INPUT)
        start += steps

    return epoch


def compared(turns: Turns) -> dict[str, Any]:
    """Images per second of each contender, and each of ours over each of torchvision's."""
    peers = [who for who in turns.seconds if not who.startswith("ours")]
    rates = {who: turns.rate(who, IMAGES) for who in turns.seconds}
    ratios = {who: {peer: turns.ratio(who, peer) for peer in peers} for who in turns.seconds if who.startswith("ours")}
    return {
        "contenders": {
            who: {"images_per_s": rate.median, "images_per_s_range": as_range(rate)} for who, rate in rates.items()
        },
        "ratios": {
            who: {peer: {"ratio": ratio.median, "ratio_range": as_range(ratio)} for peer, ratio in its.items()}
            for who, its in ratios.items()
        },
    }

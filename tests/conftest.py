"""Small real things that tests share: images, class folders, CIFAR in its two layouts, trained runs."""

import dataclasses
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import plusx
from plusx.data.sources import load_digits
from plusx.recipes import digits, folder

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: three epochs of ResNet-20 on the digits."""
    recipe = dataclasses.replace(digits(), epochs=3.0)
    out = tmp_path_factory.mktemp("runs") / "digits"
    return plusx.train("digits", recipe=recipe, out=out).run


@pytest.fixture(scope="session")
def digits_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class folder of the test digits, PNG files of their places in the split; not to be changed."""
    test, root = load_digits()["test"], tmp_path_factory.mktemp("digits") / "folder"
    assert test.pixels_NCHW is not None
    for i, (pixels_1HW, label) in enumerate(zip(test.pixels_NCHW, test.labels_N, strict=True)):
        (root / str(int(label))).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels_1HW[0].numpy()).save(root / str(int(label)) / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def photos_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in fp32: ResNet-20 on 24 images of differing shapes, at 32 pixels."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(24):
        size = (48 + 5 * (i % 4), 40 + 7 * (i % 3))
        save_image(root / "photos" / ("ant", "bee")[i % 2] / f"{i}.png", seed=i, size=size, hue=i % 2)
    recipe = dataclasses.replace(folder(), steps=4, epochs=None, batch_size=8)
    overrides = {"net.name": "resnet20", "preprocess.size": "32", "placement.precision": "fp32"}
    return plusx.train(root / "photos", recipe=recipe, overrides=overrides, out=root / "run").run


def save_image(path: Path, *, seed: int = 0, size: tuple[int, int] = (40, 30), hue: int = 0) -> Path:
    """An image of noise on a coloured ground, in the format of the path's suffix."""
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 100, (size[1], size[0], 3), dtype=np.uint8)
    array[..., hue % 3] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def class_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of class folders: `class_folder(["train", "val"], {"ant": 6, "bee": 6})`; no splits is flat."""

    def make(splits: list[str], classes: dict[str, int], *, name: str = "photos") -> Path:
        root = tmp_path / name
        for s, split in enumerate(splits or [""]):
            for c, (class_name, count) in enumerate(classes.items()):
                for i in range(count):
                    save_image(root / split / class_name / f"{i}.png", seed=1000 * s + 100 * c + i, hue=c)
        return root

    return make


def write_cifar(
    folder: Path, name: str, layout: str, *, per_file: int = 40
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A small CIFAR in an official layout, to the byte; returns the pixels and labels of each split."""
    num_classes = 10 if name == "cifar10" else 100
    files = {"train": [f"data_batch_{i}" for i in range(1, 6)] if name == "cifar10" else ["train"]}
    files["test"] = ["test_batch" if name == "cifar10" else "test"]
    names = CIFAR10_NAMES if name == "cifar10" else tuple(f"class{i}" for i in range(100))
    inner = {
        ("cifar10", "binary"): "cifar-10-batches-bin",
        ("cifar10", "python"): "cifar-10-batches-py",
        ("cifar100", "binary"): "cifar-100-binary",
        ("cifar100", "python"): "cifar-100-python",
    }[name, layout]
    root = folder / inner
    root.mkdir(parents=True)
    rng = np.random.default_rng(7)
    splits = {}
    for split, parts in files.items():
        count = per_file if name == "cifar10" else max(per_file, num_classes)
        pixels = rng.integers(0, 256, (len(parts) * count, 3072), dtype=np.uint8)
        labels = np.arange(len(parts) * count) % num_classes
        splits[split] = (pixels, labels)
        for part, start in zip(parts, range(0, len(pixels), count), strict=True):
            rows, row_labels = pixels[start : start + count], labels[start : start + count]
            if layout == "binary":
                coarse = [np.zeros((count, 1), np.uint8)] if name == "cifar100" else []
                record = np.concatenate([*coarse, row_labels[:, None].astype(np.uint8), rows], axis=1)
                (root / f"{part}.bin").write_bytes(record.tobytes())
            else:
                key = "labels" if name == "cifar10" else "fine_labels"
                (root / part).write_bytes(python2_pickle({"data": rows, key: [int(x) for x in row_labels]}))
    if layout == "binary":
        text = "batches.meta.txt" if name == "cifar10" else "fine_label_names.txt"
        (root / text).write_text("\n".join(names) + "\n\n")
    else:
        file, key = ("batches.meta", "label_names") if name == "cifar10" else ("meta", "fine_label_names")
        (root / file).write_bytes(python2_pickle({key: list(names)}))
    return splits


def python2_pickle(value: object) -> bytes:
    """Pickle protocol 2 as Python 2 wrote it in 2009: byte strings for text, numpy's names of that time."""

    def encode(item: object) -> bytes:
        if isinstance(item, dict):
            body = b"".join(encode(k) + encode(v) for k, v in item.items())
            return pickle.EMPTY_DICT + pickle.MARK + body + pickle.SETITEMS
        if isinstance(item, list):
            return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(encode, item)) + pickle.APPENDS
        if isinstance(item, str | bytes):
            raw = item if isinstance(item, bytes) else item.encode("latin1")
            return pickle.BINSTRING + struct.pack("<i", len(raw)) + raw
        if isinstance(item, int):
            return pickle.BININT + struct.pack("<i", item)
        assert isinstance(item, np.ndarray) and item.dtype == np.uint8
        make = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n"
        empty = make + encode(0) + pickle.TUPLE1 + encode(b"b") + pickle.TUPLE3 + pickle.REDUCE
        dtype = b"cnumpy\ndtype\n" + encode(b"u1") + encode(0) + encode(1) + pickle.TUPLE3 + pickle.REDUCE
        none = pickle.NONE
        state = b"".join([encode(3), encode(b"|"), none, none, none, encode(-1), encode(-1), encode(0)])
        dtype += pickle.MARK + state + pickle.TUPLE + pickle.BUILD
        shape = b"".join(map(encode, item.shape)) + pickle.TUPLE2
        fields = encode(1) + shape + dtype + pickle.NEWFALSE + encode(item.tobytes())
        return empty + pickle.MARK + fields + pickle.TUPLE + pickle.BUILD

    return pickle.PROTO + b"\x02" + encode(value) + pickle.STOP


@pytest.fixture(scope="session")
def real_cifar10() -> Path:
    """The folder with the whole CIFAR-10; skips where it is absent."""
    folder = os.environ.get("PLUSX_DATA")
    if not folder or not (Path(folder) / "cifar-10-batches-bin").is_dir():
        pytest.skip("the whole CIFAR-10 is not under PLUSX_DATA")
    return Path(folder)

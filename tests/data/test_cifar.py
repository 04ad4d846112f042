"""CIFAR in its official layouts, hostile pickles, and the download."""

import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from plusx.data.cifar import fetch_archive, load_cifar, unpickle
from plusx.data.sources import load_source
from tests.conftest import CIFAR10_NAMES, python2_pickle, write_cifar


@pytest.mark.parametrize("layout", ["binary", "python"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_both_layouts_are_read_to_the_byte(tmp_path: Path, name: str, layout: str) -> None:
    written = write_cifar(tmp_path, name, layout)
    for split, images in load_cifar(name, tmp_path).items():
        pixels, labels = written[split]
        assert images.pixels_NCHW is not None
        assert np.array_equal(images.pixels_NCHW.numpy().reshape(-1, 3072), pixels)
        assert np.array_equal(images.labels_N.numpy(), labels)
    assert images.class_names == (CIFAR10_NAMES if name == "cifar10" else tuple(f"class{i}" for i in range(100)))


def test_the_official_folder_itself_may_be_named(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", "binary")
    assert len(load_cifar("cifar10", tmp_path / "cifar-10-batches-bin")["train"]) == 200


def test_the_real_cifar10_is_itself(real_cifar10: Path) -> None:
    splits = load_source("cifar10", data_dir=real_cifar10).splits
    train = splits["train"]
    assert (len(train), len(splits["test"])) == (50_000, 10_000)
    assert torch.bincount(train.labels_N).tolist() == [5_000] * 10
    assert train.class_names == CIFAR10_NAMES
    assert train.pixels_NCHW is not None
    means = train.pixels_NCHW.double().mean((0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)  # as published by fb.resnet.torch


def test_absent_data_is_one_sentence_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cifar10 not found .*--data-dir.*--download"):
        load_cifar("cifar10", tmp_path)


def test_cifar_is_looked_for_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, "cifar10", "binary")
    monkeypatch.setenv("PLUSX_DATA", str(tmp_path))
    assert load_source("cifar10").data_dir == tmp_path.resolve()
    monkeypatch.delenv("PLUSX_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ValueError, match=r"not in .*home/.cache/plusx"):
        load_source("cifar10")


def test_a_cut_binary_file_is_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", "binary")
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"data_batch_3.bin is .* not a whole number"):
        load_cifar("cifar10", tmp_path)


def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path, "cifar10", "binary")
    file = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    file.write_bytes(b"\x0b" + file.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"label outside 0..9"):
        load_cifar("cifar10", tmp_path)


class Hostile:
    """Would leave a file behind if it were unpickled by an ordinary unpickler."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    write_cifar(tmp_path, "cifar10", "python")
    witness = tmp_path / "ran"
    raw = pickle.dumps({"data": Hostile(witness)}, protocol=protocol)
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(raw)
    with pytest.raises(ValueError, match="data_batch_2 is not an official CIFAR file and was not loaded"):
        load_cifar("cifar10", tmp_path)
    assert not witness.exists()
    pickle.loads(raw)
    assert witness.exists()  # the pickle was a live one


@pytest.mark.parametrize(
    "raw",
    [
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
        python2_pickle({"data": [1]})[:-3],
        b"",
    ],
)
def test_other_names_and_damage_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not an official CIFAR file"):
        unpickle(raw, Path("batch"))


def archive_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one archive, in parts when asked, and cuts the connection after `cut` bytes."""

    raw = archive_of("cifar-10-batches-py/readme", os.urandom(300_000))
    cut: int | None = None
    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.raw[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.cut])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    Server.cut, Server.asked = None, []
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/cifar-10-python.tar.gz"
        running.shutdown()


def test_a_download_goes_on_where_it_stopped(tmp_path: Path, server: str) -> None:
    md5 = hashlib.md5(Server.raw).hexdigest()
    Server.cut = 100_000
    with pytest.raises(ValueError, match="call again to go on from 100,000 bytes"):
        fetch_archive(server, md5, tmp_path)
    assert not (tmp_path / "cifar-10-batches-py").exists()
    Server.cut = None
    fetch_archive(server, md5, tmp_path)
    assert Server.asked == [None, "bytes=100000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-batches-py"]
    assert (tmp_path / "cifar-10-batches-py" / "readme").stat().st_size == 300_000


def test_a_download_of_the_wrong_hash_is_thrown_away(tmp_path: Path, server: str) -> None:
    with pytest.raises(ValueError, match="has MD5 .*the file was deleted"):
        fetch_archive(server, "0" * 32, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_cannot_write_outside_its_folder(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "raw", archive_of("../escaped", b"x"))
    with pytest.raises((ValueError, tarfile.TarError)):
        fetch_archive(server, hashlib.md5(Server.raw).hexdigest(), tmp_path / "inner")
    assert not (tmp_path / "escaped").exists()


def test_nothing_is_downloaded_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("a connection was opened"))
    with pytest.raises(ValueError, match="not found"):
        load_source("cifar100", data_dir=tmp_path)

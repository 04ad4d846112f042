"""Published weights by name: from the caches of torchvision and timm, fetched only when asked, checked every time.

The publishers' servers are played by one on this machine.
"""

import hashlib
import io
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

import plusx
from plusx.nets import names
from plusx.weights.published import find_published

NAMED = "torchvision:IMAGENET1K_V1"
TIMM = "timm/resnet18.a1_in1k"


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    return torchvision.models.resnet18().state_dict()


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """Serves `files`, path -> (content, headers), and counts the requests."""
    state = SimpleNamespace(files={}, requests=0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.requests += 1
            content, headers = state.files.get(self.path.partition("?")[0], (None, {}))
            self.send_response(200 if content is not None else 404)
            for name, value in {"Content-Length": str(len(content or b"")), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if content and self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None: ...

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


# ---- torchvision -----------------------------------------------------------------------------------------------------


@pytest.fixture
def published(
    theirs: dict[str, torch.Tensor], server: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """torchvision as if it published `theirs` on the server; returns where the cache would hold the file."""
    buffer = io.BytesIO()
    torch.save(theirs, buffer)
    raw = buffer.getvalue()
    name = f"resnet18-{hashlib.sha256(raw).hexdigest()[:8]}.pth"
    server.files[f"/models/{name}"] = (raw, {})
    transforms = partial(ImageClassification, crop_size=224, resize_size=232)
    meta = {"categories": [f"thing {i}" for i in range(1000)], "_file_size": len(raw) / 2**20}
    one = Weights(url=f"{server.address}/models/{name}", transforms=transforms, meta=meta)
    features = Weights(
        url=f"{server.address}/models/half-00000000.pth", transforms=transforms, meta={"categories": None}
    )
    members = {"IMAGENET1K_V1": one, "IMAGENET1K_FEATURES": features, "DEFAULT": one}
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda net: WeightsEnum("Fake_Weights", members))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints" / name


def test_torchvisions_weights_are_fetched_when_asked_and_then_kept(
    published: Path, server: SimpleNamespace, theirs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"{NAMED} of resnet18 are not in the cache .*; add --download"):
        plusx.build("resnet18", weights=NAMED)
    assert server.requests == 0 and not published.parent.exists()
    made = plusx.convert(NAMED, "resnet18", out=tmp_path / "run", download=True)
    assert server.requests == 1 and [p.name for p in published.parent.iterdir()] == [published.name]
    assert made.card.class_names[999] == "thing 999" and made.card.results["weights"] == NAMED
    assert made.card.preprocess.crop_fraction == 224 / 232 and "IMAGENET1K_V1" in made.card.preprocess.obtained
    state = plusx.build("resnet18", weights="torchvision:DEFAULT", download=True).state_dict()
    assert server.requests == 1  # from the cache
    assert torch.equal(state["head.linear.bias"], theirs["fc.bias"])


def test_torchvisions_cache_serves_without_a_connection(
    published: Path, server: SimpleNamespace, no_network: None, tmp_path: Path
) -> None:
    published.parent.mkdir(parents=True)
    published.write_bytes(next(iter(server.files.values()))[0])
    assert find_published(NAMED, "resnet18").file == published
    assert plusx.convert(NAMED, "resnet18", out=tmp_path / "run").run.exists()


def test_a_file_of_torchvisions_cache_that_is_another_is_refused(published: Path) -> None:
    published.parent.mkdir(parents=True)
    published.write_bytes(b"an error page")
    for download in (False, True):
        with pytest.raises(
            ValueError, match="is not what was published: its SHA-256 begins with .* delete it and fetch"
        ):
            find_published(NAMED, "resnet18", download=download)


def test_a_download_that_is_another_file_or_breaks_is_not_kept(published: Path, server: SimpleNamespace) -> None:
    (path,) = server.files
    raw, headers = server.files[path]
    for content, reason in (((raw[:-1] + b"!", headers), "invalid hash value"), ((None, {}), "404")):
        server.files[path] = content
        with pytest.raises(ValueError, match=f"cannot download http.*{reason}"):
            find_published(NAMED, "resnet18", download=True)
        assert not list(published.parent.iterdir())


def test_unknown_names_of_torchvision_name_those_that_exist(published: Path) -> None:
    cases = {
        (
            "torchvision:IMAGENET1K_V9",
            "resnet18",
        ): "no weights 'IMAGENET1K_V9' of resnet18; it has IMAGENET1K_V1, DEFAULT",
        ("torchvision:IMAGENET1K_FEATURES", "resnet18"): "it has IMAGENET1K_V1, DEFAULT",  # without last layers
        (NAMED, "resnet20"): "torchvision publishes no weights of resnet20",
        (NAMED, None): "exist of many nets; name one, such as --net resnet50",
        (
            "torchvison:IMAGENET1K_V1",
            "resnet18",
        ): "no such file: torchvison:IMAGENET1K_V1; published weights are torchv",
    }
    for (weights, net), sentence in cases.items():
        with pytest.raises(ValueError, match=sentence):
            plusx.convert(weights, net)


def test_training_names_missing_weights_before_it_reads_data(published: Path, tmp_path: Path) -> None:
    given = {"net.name": "resnet18", "net.weights": NAMED}
    with pytest.raises(ValueError, match="are not in the cache"):
        plusx.train(tmp_path / "no such folder", recipe="folder", overrides=given)


def test_every_weights_of_torchvision_has_what_is_read_of_it() -> None:
    known = set(names()) & set(torchvision.models.list_models())
    assert len(known) >= 20
    for net in known:
        for weights in torchvision.models.get_model_weights(net):
            if weights.meta["categories"]:
                theirs = weights.transforms()
                assert theirs.interpolation.value in ("bilinear", "bicubic") and len(theirs.crop_size) == 1
                assert weights.url.rpartition("-")[2].partition(".")[0].isalnum()


# ---- timm ------------------------------------------------------------------------------------------------------------

REPOSITORY, COMMIT = "models--timm--resnet18.a1_in1k", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("timm")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path / "hf"


def fill(hub: Path, content: bytes, *, link: bool = True, name: str | None = None) -> Path:
    """Put a file into the cache as huggingface_hub would; returns the blob."""
    repository = hub / REPOSITORY
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "refs", repository / "blobs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    blob = repository / "blobs" / (name or hashlib.sha256(content).hexdigest())
    blob.write_bytes(content)
    pointer = snapshot / "model.safetensors"
    if link:
        pointer.symlink_to(Path("../..") / "blobs" / blob.name)
    else:
        pointer.write_bytes(content)
    return blob


def test_timms_cache_serves_without_a_connection(
    hub: Path, theirs: dict[str, torch.Tensor], no_network: None, tmp_path: Path
) -> None:
    fill(hub, save(theirs))
    made = plusx.convert(TIMM, out=tmp_path / "run")  # its name tells the net
    preprocess = made.card.preprocess
    assert made.card.results["net"] == "resnet18" and made.card.class_names[0] == "tench"
    assert (preprocess.size, preprocess.crop_fraction, preprocess.interpolation) == ((224, 224), 0.95, "bicubic")
    state = plusx.build("resnet18", weights=TIMM, num_classes=2).state_dict()
    assert torch.equal(state["stem.conv.conv.weight"], theirs["conv1.weight"])


def test_a_file_of_timms_cache_that_is_another_is_refused(hub: Path) -> None:
    blob = fill(hub, b"{}", name="0" * 64)
    with pytest.raises(ValueError, match=f"{blob} is not what was published: its SHA-256 begins with 44136fa3"):
        find_published(TIMM, None)


def test_a_file_of_timms_cache_without_a_hash_is_refused(hub: Path, theirs: dict[str, torch.Tensor]) -> None:
    fill(hub, save(theirs), link=False)  # as on Windows
    with pytest.raises(ValueError, match="cannot be checked: the cache holds no hash of it"):
        find_published(TIMM, None)


def test_unknown_names_of_timm_name_those_that_exist(hub: Path, no_network: None) -> None:
    cases = {
        (TIMM, None): f"{TIMM} are not in the cache .*hf.; add --download to fetch them",
        (TIMM, "resnet34"): "are weights of resnet18, not of resnet34",
        ("timm/resnet18.a9_in1k", None): "timm has no weights 'resnet18.a9_in1k'; it has resnet18.a1_in1k, ",
        ("timm/resnet20.x", None): "timm has no weights 'resnet20.x'; it has none of resnet20",
        ("timm/resnet2O.x", None): "unknown net 'resnet2O'; did you mean",
    }
    for (weights, net), sentence in cases.items():
        with pytest.raises(ValueError, match=sentence):
            find_published(weights, net)


def test_without_timm_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"need timm: pip install 'plusx\[timm\]'"):
        find_published(TIMM, None)


def test_timms_weights_are_fetched_when_asked_and_checked(
    hub: Path, server: SimpleNamespace, theirs: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    raw = save(theirs)
    headers = {"ETag": f'"{hashlib.sha256(raw).hexdigest()}"', "X-Repo-Commit": COMMIT}
    server.files["/timm/resnet18.a1_in1k/resolve/main/model.safetensors"] = (raw, headers)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    address = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    assert find_published(TIMM, None, download=True).file.read_bytes() == raw
    came = server.requests
    assert find_published(TIMM, None, download=True) and server.requests == came  # from the cache
    (blob,) = (hub / REPOSITORY / "blobs").iterdir()
    blob.write_bytes(raw[:-4] + b"evil")
    with pytest.raises(ValueError, match=f"{blob} is not what was published.* delete it and fetch it anew"):
        find_published(TIMM, None)
    blob.unlink()  # as the sentence says
    assert find_published(TIMM, None, download=True) and blob.read_bytes() == raw and server.requests > came
    server.files.clear()
    blob.unlink()
    with pytest.raises(ValueError, match="cannot download timm/resnet18.a1_in1k from http://127.0.0.1"):
        find_published(TIMM, None, download=True)


def test_every_weights_of_timm_has_what_is_read_of_it() -> None:
    timm = pytest.importorskip("timm")
    known = [name for net in names() for name in timm.list_pretrained(f"{net}.*")]
    assert len(known) >= 50
    for name in known:
        theirs = timm.models.get_pretrained_cfg(name)
        assert theirs.interpolation in ("bilinear", "bicubic") and theirs.crop_mode == "center", name
        assert theirs.hf_hub_id and theirs.input_size[1] == theirs.input_size[2], name

"""The answers: those of `plusx predict`, whoever else asks, and each image for itself."""

import base64
import io
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

import plusx
from plusx.data.decode import UndecodableError
from plusx.deploy.server.settings import Settings
from tests.conftest import save_image
from tests.deploy.server.conftest import asked


def sent(client: TestClient, *files: tuple[str, bytes], **fields: object) -> Any:
    return client.post("/v1/predict", files=[("files", each) for each in files], data=fields)


def predicted(client: TestClient, *files: tuple[str, bytes], **fields: object) -> list[dict[str, Any]]:
    answer = sent(client, *files, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def of_files(files: list[Path]) -> list[tuple[str, bytes]]:
    return [(file.name, file.read_bytes()) for file in files]


def require_same(answer: dict[str, Any], expected: plusx.deploy.predictor.Prediction) -> None:
    assert [each["name"] for each in answer["classes"]] == list(expected.classes)
    assert [each["probability"] for each in answer["classes"]] == pytest.approx(expected.probabilities, abs=1e-6, rel=0)
    assert answer["unknown"] == expected.unknown


def png(width: int = 8, height: int = 8, level: int = 90) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), level).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("run", ["digits_run", "photos_run"])
def test_answers_are_those_of_predict_for_any_number_and_company(
    run: str, images: list[Path], request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(run)
    expected = plusx.predict(path, images, progress=False)
    with asked(path) as client:
        for count in (1, 2, 3, 8, 11):  # in one request
            for answer, prediction in zip(predicted(client, *of_files(images[:count])), expected, strict=False):
                require_same(answer, prediction)
        with ThreadPoolExecutor(16) as clients:  # in many, at once
            asks = [clients.submit(predicted, client, *of_files([file])) for _ in range(6) for file in images]
            for ask, prediction in zip(asks, expected * 6, strict=True):
                require_same(ask.result()[0], prediction)


def test_the_first_classes_are_the_same_for_every_top_k(client: TestClient) -> None:
    by_k = {k: predicted(client, ("a.png", png()), top_k=k)[0]["classes"] for k in (1, 3, 10, 999_999_999)}
    assert [len(classes) for classes in by_k.values()] == [1, 3, 10, 10]
    for k, classes in by_k.items():
        assert classes == by_k[10][:k]


def test_json_and_form_are_answered_alike(client: TestClient, images: list[Path]) -> None:
    files = of_files(images)
    names, raws = zip(*files, strict=True)
    content = {"images": [base64.b64encode(raw).decode() for raw in raws], "names": names, "top_k": 2}
    answer = client.post("/v1/predict", json=content).json()
    form = {"model": answer["model"], "predictions": predicted(client, *files, top_k=2)}
    for each in (*answer["predictions"], *form["predictions"]):
        assert each.pop("seconds") >= 0
    assert answer == form


def test_a_run_that_rejects_answers_unknown(digits_run: Path, digits_files: Path, tmp_path: Path) -> None:
    import shutil

    run = Path(shutil.copytree(digits_run, tmp_path / "run"))
    plusx.calibrate(run, digits_files, reject_at=95, progress=False)
    noise = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    file = tmp_path / "noise.png"
    Image.fromarray(noise).save(file)
    (expected,) = plusx.predict(run, file, progress=False)
    with asked(run) as client:
        require_same(predicted(client, *of_files([file]))[0], expected)


# ---- bad images ------------------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that would be so large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("L", (8, 8), level) for level in (90, 200, 10)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


BAD = {
    "empty": b"",
    "text": b"no image at all",
    "cut": png(64, 64)[:60],
    "head": b"\x89PNG\r\n\x1a\n",
    "bomb": bomb(100_000, 100_000),
    "flat": bomb(2**31 - 1, 1),
    "html": b"<html><script>alert(1)</script></html>",
    "pdf": b"%PDF-1.4 " + bytes(100),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", BAD)
def test_a_request_whose_only_image_is_bad_says_why(client: TestClient, name: str) -> None:
    answer = sent(client, (f"{name}.png", BAD[name]))
    assert answer.status_code == 422
    with pytest.raises(UndecodableError) as fault:
        plusx.data.decode.decode(BAD[name])
    assert answer.json() == {"error": f"{name}.png: {fault.value.reason}"}


def test_a_bad_image_harms_no_other(client: TestClient, images: list[Path]) -> None:
    good = of_files(images)
    expected = predicted(client, *good)
    mixed = [pair for each, bad in zip(good, BAD.items(), strict=True) for pair in (bad, each)]
    answers = predicted(client, *mixed)
    assert all("error" in answer and "classes" not in answer for answer in answers[::2])
    for answer, before in zip(answers[1::2], expected, strict=True):
        assert answer["classes"] == before["classes"]


def test_several_bad_images_are_answered_each(client: TestClient) -> None:
    assert all("error" in each for each in predicted(client, *BAD.items()))


def test_a_bad_image_in_another_request_harms_nobody(client: TestClient) -> None:
    expected = predicted(client, ("a.png", png()))[0]["classes"]
    with ThreadPoolExecutor(8) as clients:
        bad = [clients.submit(sent, client, each) for _ in range(4) for each in BAD.items()]
        good = [clients.submit(predicted, client, ("a.png", png())) for _ in range(20)]
        assert all(ask.result()[0]["classes"] == expected for ask in good)
        assert {ask.result().status_code for ask in bad} == {422}


def test_an_animation_counts_by_its_first_frame_and_a_polyglot_as_the_image_it_is(client: TestClient) -> None:
    first = predicted(client, ("a.png", png(level=90)))[0]["classes"]
    assert predicted(client, ("a.gif", animated()))[0]["classes"] == first
    assert predicted(client, ("a.html", png(level=90) + b"<script>alert(1)</script>"))[0]["classes"] == first


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300), st.integers(0, 80), st.integers(0, 3))
def test_any_bytes_are_answered(client: TestClient, junk: bytes, place: int, kind: int) -> None:
    whole = [png(20, 9), animated(), BAD["bomb"], png(3, 2) * 2][kind]
    for raw in (junk, whole[:place] + junk, whole[:place] + junk + whole[place + len(junk) :]):
        answer = sent(client, ("a.png", raw))
        assert answer.status_code in (200, 422), answer.text
        assert list(answer.json()) == (["error"] if answer.status_code == 422 else ["model", "predictions"])


# ---- fields, models and limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "1.5", "", "NaN", "99999999999999999999"])
def test_top_k_that_is_no_number(client: TestClient, top_k: str) -> None:
    assert sent(client, ("a.png", png()), top_k=top_k).status_code == 400
    answer = client.post("/v1/predict", content=json.dumps({"images": ["eA=="], "top_k": top_k}))
    assert answer.status_code in (400, 415)


def test_models_by_name(digits_run: Path, photos_run: Path, tmp_path: Path) -> None:
    file = of_files([save_image(tmp_path / "a.png")])
    with asked(digits_run, photos_run, digits_run) as client:
        listed = client.get("/v1/models").json()["models"]
        assert [each["name"] for each in listed] == ["digits", "run", "digits-2"]
        assert listed[1]["classes"] == ["ant", "bee"]
        assert listed[0]["params"] == listed[2]["params"] > 0
        assert [sent(client, *file, model=each["name"]).json()["model"] for each in listed] == [
            "digits",
            "run",
            "digits-2",
        ]
        assert sent(client, *file).json()["model"] == "digits"
        for unknown in ("pets", "", "../digits", "digits\x00"):
            assert sent(client, *file, model=unknown).status_code == 404
        assert client.post("/v1/predict", json={"images": ["eA=="], "model": 7}).status_code == 400


def test_names_are_echoed_and_nothing_else(client: TestClient) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "고양이.png", "x" * 1000 + ".png"]
    answers = predicted(client, *((name, png()) for name in names))
    assert [each["file"] for each in answers] == [*names[:3], "x" * 200]
    content = {"images": [base64.b64encode(png()).decode()], "names": ["a\ud800\u0000\u202eb"]}
    raw = json.dumps(content).encode()
    answer = client.post("/v1/predict", content=raw, headers={"Content-Type": "application/json"})
    assert answer.json()["predictions"][0]["file"] == "a\ufffd\ufffd\ufffdb"


def test_a_body_that_is_too_large_is_refused_whatever_it_claims(digits_run: Path) -> None:
    with asked(digits_run, body_bytes=10_000) as client:
        assert sent(client, ("a.png", bytes(20_000))).status_code == 413
        for headers in ({}, {"Content-Length": "5"}):
            chunks = (bytes(1_000) for _ in range(20))
            answer = client.post("/v1/predict", content=chunks, headers={"Content-Type": "application/json", **headers})
            assert answer.status_code == 413
        assert sent(client, ("a.png", png())).status_code == 200


def test_all_bodies_together_are_bounded(digits_run: Path) -> None:
    with asked(digits_run, all_bodies_bytes=10_000) as client:
        answer = sent(client, ("a.png", bytes(20_000)))
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert sent(client, ("a.png", png())).status_code == 200, "what was held was not given back"


def test_too_many_images_are_refused(client: TestClient) -> None:
    most = Settings().images
    assert len(predicted(client, *[("a.png", png())] * most)) == most
    assert sent(client, *[("a.png", png())] * (most + 1)).status_code == 413


def test_every_fault_is_one_sentence_in_json(client: TestClient) -> None:
    asks = [
        client.get("/nothing"),
        client.put("/v1/predict"),
        client.post("/v1/predict", content=b"x", headers={"Content-Type": "text/plain"}),
        client.post("/v1/predict"),
    ]
    assert [each.status_code for each in asks] == [404, 405, 415, 415]
    for answer in asks:
        assert list(answer.json()) == ["error"]


def test_metrics_count_what_was_answered(digits_run: Path) -> None:
    with asked(digits_run) as client:
        predicted(client, ("a.png", png()), ("b.png", b"bad"))
        client.get("/nothing/1")
        client.get("/nothing/2")
        lines = client.get("/metrics").text.splitlines()
    assert 'plusx_requests_total{method="POST",path="/v1/predict",status="200"} 1' in lines
    assert 'plusx_requests_total{method="GET",path="other",status="404"} 2' in lines
    assert 'plusx_images_total{model="digits",outcome="predicted"} 1' in lines
    assert 'plusx_images_total{model="digits",outcome="bad"} 1' in lines
    assert 'plusx_batches_total{model="digits",images="1"} 1' in lines
    assert 'plusx_images_held{model="digits"} 0' in lines
    for line in lines:
        assert line.startswith("# ") or (len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0)


def test_large_images_are_read_one_at_a_time_and_small_ones_beside_them(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plusx.deploy.server import reading

    now, most, lock, read = 0, 0, threading.Lock(), reading._read

    def slow(preprocess: Any, raw: bytes) -> Any:
        nonlocal now, most
        if len(raw) < 1_000:
            return read(preprocess, raw)
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return read(preprocess, raw)

    monkeypatch.setattr(reading, "_read", slow)
    monkeypatch.setattr(reading, "LARGE_PIXELS", 10_000)
    large = save_image(tmp_path / "a.png", size=(150, 150)).read_bytes()
    with asked(digits_run) as client:
        answers = predicted(client, *[("a.png", large), ("b.png", png())] * 6)
    assert most == 1
    assert not [each for each in answers if "error" in each]

"""POST /v1/explain, and exported files beside runs."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import plusx
from plusx.analysis.explain import explain
from tests.deploy.server.conftest import asked
from tests.deploy.server.test_predict import BAD, of_files, png, predicted, require_same


def test_a_map_is_that_of_plusx_explain(client: TestClient, digits_run: Path) -> None:
    for method in ("cam", "occlusion", "gradients"):
        answer = client.post("/v1/explain", files={"files": ("a.png", png())}, data={"method": method, "class": "3"})
        assert answer.status_code == 200, answer.text
        content = answer.json()
        expected = explain(digits_run, png(), method=method, target="3")
        assert (content["class"], content["method"], content["file"]) == ("3", method, "a.png")
        assert content["probability"] == pytest.approx(expected.probability, abs=1e-6)
        assert expected.map is not None
        assert np.allclose(content["map"], expected.map.strength_HW, atol=1e-4)
        assert np.shape(content["map"]) == (content["height"], content["width"])
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content["png"].partition(",")[2]))))
        assert np.allclose(shown / 255, content["map"], atol=3e-3)
        saw = np.asarray(Image.open(io.BytesIO(base64.b64decode(content["image"].partition(",")[2]))))
        assert (saw == expected.pixels_CHW[0].numpy()).all()


def test_blocks_are_those_of_plusx_explain_and_the_likeliest_class_is_explained(
    client: TestClient, digits_run: Path
) -> None:
    content = client.post("/v1/explain", files={"files": png()}).json()
    assert content["class"] == predicted(client, ("a.png", png()))[0]["classes"][0]["name"]
    expected = explain(digits_run, png(), method="blocks")
    assert [each["name"] for each in content["blocks"]] == [each.name for each in expected.blocks]
    contributions = [each["contribution"] for each in content["blocks"]]
    assert contributions == pytest.approx([each.contribution for each in expected.blocks], abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"method": "x"}, 400), ({"class": "cat"}, 400), ({"model": "cat"}, 404), ({"top_k": "1"}, 400)],
)
def test_what_cannot_be_explained(client: TestClient, fields: dict[str, str], status: int) -> None:
    assert client.post("/v1/explain", files={"files": png()}, data=fields).status_code == status


def test_one_good_image_is_explained_at_a_time(client: TestClient) -> None:
    assert client.post("/v1/explain", files=[("files", png()), ("files", png())]).status_code == 400
    for bad in BAD.values():
        assert client.post("/v1/explain", files={"files": ("a.png", bad)}).status_code == 422


@pytest.mark.more
def test_an_exported_file_is_served_as_its_run_is(
    digits_run: Path, photos_run: Path, images: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    for number, how in enumerate(({}, {"input": "float"}, {"batch": 3})):
        (tmp_path / str(number)).mkdir()
        exported = plusx.export(
            photos_run, to="onnx", out=tmp_path / str(number) / "photos.onnx", progress=False, **how
        )
        file = tmp_path / str(number) / "photos.onnx"
        assert file.is_file(), exported
        expected = plusx.predict(photos_run, images, progress=False)
        with asked(file, photos_run) as client:
            first, second = client.get("/v1/models").json()["models"]
            assert (first["name"], first["source"], first["explains"], first["run"]) == ("photos", "onnx", False, False)
            assert first["classes"] == second["classes"]
            assert first["params"] == second["params"]
            for answer, prediction in zip(predicted(client, *of_files(images)), expected, strict=True):
                require_same(answer, prediction)
            assert client.post("/v1/explain", files={"files": png()}).status_code == 400
            for name in ("photos", "run"):
                details = client.get(f"/v1/models/{name}").json()
                assert details["card"]["net"] == "resnet20"
                assert str(photos_run.parent) not in str(details), "a path of this machine is told"

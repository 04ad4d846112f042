"""Models that change while they are served."""

import asyncio
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save

import plusx
from plusx.deploy.server.models import Models, names_of
from plusx.deploy.server.settings import Settings
from plusx.runs.files import replace_file
from tests.deploy.server.conftest import asked
from tests.deploy.server.test_predict import png, predicted


@pytest.fixture
def run(digits_run: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    return Path(shutil.copytree(digits_run, tmp_path / "digits"))


def change(run: Path, scale: float = 0.1) -> None:
    """Write other weights, as training writes them."""
    tensors = {
        name: t * scale if t.is_floating_point() else t for name, t in load_file(run / "weights.safetensors").items()
    }
    replace_file(run / "weights.safetensors", save(tensors, {"format": "pt"}))


def expected(run: Path) -> list[float]:
    (prediction,) = plusx.predict(run, png(), progress=False)
    return list(prediction.probabilities)


def of(answer: dict[str, list[dict[str, float]]]) -> list[float]:
    return [each["probability"] for each in answer["classes"]]


async def look(models: Models, times: int) -> None:
    for _ in range(times):
        for model in models:
            await model.reload_if_changed()


def test_a_run_that_changed_is_loaded_once_it_has_settled(run: Path) -> None:
    models = Models([run], Settings())
    models.load()
    model = models.find(None)
    before = model.loaded
    asyncio.run(look(models, 3))
    assert model.loaded is before and model.loads == 1
    change(run)
    asyncio.run(look(models, 1))
    assert model.loaded is before, "it may still be written to"
    asyncio.run(look(models, 3))
    assert model.loaded is not before and model.loads == 2


@pytest.mark.parametrize("damage", ["cut", "removed", "other", "no card", "half a card"])
def test_a_run_that_cannot_be_loaded_leaves_the_model_as_it_was(run: Path, photos_run: Path, damage: str) -> None:
    models = Models([run], Settings())
    models.load()
    model = models.find(None)
    before = model.loaded
    weights, card = run / "weights.safetensors", run / "card.json"
    match damage:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "removed":
            weights.unlink()
        case "other":
            shutil.copy(photos_run / "weights.safetensors", weights)
        case "no card":
            card.unlink()
        case "half a card":
            card.write_text(card.read_text()[:300])
    asyncio.run(look(models, 4))
    assert model.loaded is before
    assert model.refusals == 1, "it is tried once for each change"


def test_a_run_that_is_whole_again_is_loaded(run: Path) -> None:
    models = Models([run], Settings())
    models.load()
    model, weights = models.find(None), run / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    asyncio.run(look(models, 3))
    weights.write_bytes(whole)
    asyncio.run(look(models, 3))
    assert (model.loads, model.refusals) == (2, 1)


def test_a_run_that_changes_while_it_is_read_is_not_loaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plusx.deploy.server import models as module

    models = Models([run], Settings())
    models.load()
    model, load = models.find(None), module.load_classifier

    def slow(path: Path, settings: Settings) -> object:
        classifier = load(path, settings)
        change(run, 0.5)
        return classifier

    before = model.loaded
    change(run)
    monkeypatch.setattr(module, "load_classifier", slow)
    asyncio.run(look(models, 2))
    assert model.loaded is before
    monkeypatch.setattr(module, "load_classifier", load)
    asyncio.run(look(models, 3))
    assert model.loaded is not before


def test_a_reload_drops_no_request_and_every_answer_is_of_one_of_both(run: Path) -> None:
    old = expected(run)
    with asked(run) as client:
        seen = [of(predicted(client, ("a.png", png()))[0])]
        change(run)
        new = expected(run)
        assert not np.allclose(old, new)
        until = time.monotonic() + 30
        while not np.allclose(seen[-1], new, atol=1e-6) and time.monotonic() < until:
            seen.append(of(predicted(client, ("a.png", png()))[0]))
    assert np.allclose(seen[-1], new, atol=1e-6), "it was not loaded anew"
    for each in seen:
        assert np.allclose(each, old, atol=1e-6) or np.allclose(each, new, atol=1e-6)


def test_a_run_that_is_not_finished_is_served_and_followed(tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > 2

    with pytest.raises(plusx.StoppedError):
        plusx.train("digits", overrides={"steps": 4}, out=stopped, progress=False, should_stop=stop)
    with asked(stopped) as client:
        assert client.get("/v1/models").json()["models"][0]["status"] == "training"
        before = of(predicted(client, ("a.png", png()))[0])
        plusx.resume(stopped, progress=False)
        until = time.monotonic() + 30
        while client.get("/v1/models").json()["models"][0]["status"] != "finished" and time.monotonic() < until:
            time.sleep(0.2)
        assert client.get("/v1/models").json()["models"][0]["status"] == "finished"
        after = of(predicted(client, ("a.png", png()))[0])
    assert np.allclose(after, expected(stopped), atol=1e-6)
    assert not np.allclose(before, after, atol=1e-6)


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")
    assert list(names_of([Path(), Path("../pets/"), Path("pets.onnx"), Path("a\nb")])) == [
        "pets",
        "pets-2",
        "pets-3",
        "a\ufffdb",
    ]


def test_a_server_that_is_still_loading_says_so(run: Path) -> None:
    from starlette.testclient import TestClient

    from plusx.deploy.server.app import create_app

    models = Models([run], Settings())
    client = TestClient(create_app(models), base_url="http://localhost")  # without its lifespan, in which it loads
    assert client.get("/healthz").status_code == 200
    for answer in (client.get("/readyz"), client.get("/v1/models"), client.post("/v1/predict", files={"files": png()})):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    models.load()
    assert client.get("/readyz").status_code == 200
    models.draining = True
    assert client.get("/readyz").status_code == 503

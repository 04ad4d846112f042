"""What the page is told of runs, nets and samples: true to the files, and nothing of the disk besides."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from plusx.deploy.server.app import create_app
from plusx.deploy.server.measured import curves, encoded, learnt
from plusx.deploy.server.models import Models
from plusx.deploy.server.settings import Settings
from plusx.nets import entry, names
from tests.deploy.page.conftest import write_metrics


@pytest.fixture(scope="module")
def client(shown_run: Path, photos_run: Path, live_run: Path) -> Iterator[TestClient]:
    models = Models([shown_run, photos_run, live_run], Settings())
    models.load()
    with TestClient(create_app(models), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- what a run got wrong --------------------------------------------------------------------------------------------


def test_the_confusion_counts_every_prediction_once(client: TestClient, shown_run: Path) -> None:
    told = client.get("/v1/models/digits/confusion").json()
    of_file = json.loads((shown_run / "evaluation.json").read_text())
    assert told["counts"] == of_file["confusion"]
    assert told["images"] == len(rows(shown_run)) == sum(map(sum, told["counts"]))
    assert told["error"] == pytest.approx(of_file["error"]) and not told["outdated"]


def test_behind_each_cell_are_as_many_images_as_it_says(client: TestClient, shown_run: Path) -> None:
    told, table = client.get("/v1/models/digits/confusion").json(), rows(shown_run)
    for truth, row in enumerate(told["counts"]):
        for predicted, count in enumerate(row):
            cell = client.get(f"/v1/models/digits/confusion/{truth}/{predicted}").json()
            assert cell["total"] == count
            for image in cell["images"]:
                line = table[image["index"]]
                assert (line["label"], line["class1"]) == (str(truth), str(predicted))
                assert image["probability"] == float(line["probability1"])


def test_mistakes_are_wrong_and_the_surest_come_first(client: TestClient, shown_run: Path) -> None:
    told = client.get("/v1/models/digits/mistakes").json()
    assert told["total"] == sum(line["label"] != line["class1"] for line in rows(shown_run)) > 0
    assert all(image["truth"] != image["predicted"] for image in told["images"])
    shares = [image["probability"] for image in told["images"]]
    assert shares == sorted(shares, reverse=True)


def test_an_image_is_the_one_that_was_predicted(client: TestClient) -> None:
    from plusx.data.sources import load_digits

    pixels = load_digits()["test"].pixels_NCHW
    assert pixels is not None
    for index in (0, 5, 17):  # of the split that was measured, in its order
        answer = client.get(f"/v1/models/digits/images/{index}")
        assert answer.headers["content-type"] == "image/png"
        shown = Image.open(io.BytesIO(answer.content)).convert("L")
        assert list(shown.tobytes()) == pixels[index, 0].flatten().tolist()


@pytest.mark.parametrize("index", ["-1", "100000", "9" * 40, "..%2Fcard.json", "card.json", "0.5"])
def test_no_other_image_can_be_named(client: TestClient, index: str) -> None:
    answer = client.get(f"/v1/models/digits/images/{index}")
    assert answer.status_code in (400, 404) and list(answer.json()) == ["error"]


def test_predictions_of_other_weights_are_pointed_out(client: TestClient, shown_run: Path, tmp_path: Path) -> None:
    from plusx.deploy.server.measured import Measured

    run = tmp_path / "digits"
    shutil.copytree(shown_run, run)
    card = json.loads((run / "card.json").read_text())
    card["results"]["test_error"] += 0.1
    (run / "card.json").write_text(json.dumps(card))
    assert Measured.of(run).confusion()["outdated"]


def test_a_run_without_predictions_says_how_to_make_them(client: TestClient, photos_run: Path) -> None:
    answer = client.get(f"/v1/models/{photos_run.name}/confusion")
    assert answer.status_code == 404
    assert "plusx evaluate" in answer.json()["error"] and str(photos_run.parent) not in answer.text


# ---- how it went -----------------------------------------------------------------------------------------------------


def test_curves_are_what_was_measured(client: TestClient, shown_run: Path) -> None:
    told = client.get("/v1/models/digits/curves").json()
    lines = [json.loads(line) for line in (shown_run / "metrics.jsonl").read_text().splitlines()]
    for series in told["series"]:
        mine = [line for line in lines if line["name"] == series["name"]]
        assert series["steps"] == [line["step"] for line in mine]
        assert series["values"] == [line["value"] for line in mine]
    assert told["status"] == "finished" and told["step"] == told["steps"]


def test_curves_of_a_run_that_trains_are_read_anew(client: TestClient, live_run: Path) -> None:
    write_metrics(live_run, 10)
    before = client.get("/v1/models/training/curves").json()
    write_metrics(live_run, 10, 20)
    after = client.get("/v1/models/training/curves").json()
    assert (before["step"], after["step"]) == (10, 20)
    assert after["status"] == "training" and after["steps"] > 20 and after["seconds_since"] < 60


def test_a_curve_is_thinned_to_points_that_were_measured(live_run: Path, tmp_path: Path) -> None:
    shutil.copytree(live_run, tmp_path / "run")
    write_metrics(tmp_path / "run", *range(1, 5_001))
    [series] = [each for each in curves(tmp_path / "run")["series"] if each["name"] == "batch_loss"]
    assert len(series["steps"]) <= 1_001 and series["steps"][-1] == 5_000
    assert all(value == 2.0 - step / 100 for step, value in zip(series["steps"], series["values"], strict=True))


def test_what_is_no_number_is_left_blank(live_run: Path, tmp_path: Path) -> None:
    shutil.copytree(live_run, tmp_path / "run")
    line = '{"step": 30, "name": "batch_loss", "value": NaN, "unit": "nats", "seconds": 2.0}\n'
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write(line + '{"step": 40, "name": "batch_l')  # and a line that is being written
    [series] = [each for each in curves(tmp_path / "run")["series"] if each["name"] == "batch_loss"]
    assert series["steps"][-1] == 30 and series["values"][-1] is None


def test_a_run_that_was_converted_has_no_curves(live_run: Path, tmp_path: Path) -> None:
    shutil.copytree(live_run, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert curves(tmp_path / "run")["series"] == []


def test_the_card_is_told_in_words(client: TestClient, photos_run: Path) -> None:
    told = client.get("/v1/models/digits/facts").json()
    assert told["facts"]["net"].startswith("resnet20, ") and told["facts"]["seed"] == "0"
    assert client.get("/v1/models/training/facts").json()["facts"]["recipe"] == "digits"
    assert client.get(f"/v1/models/{photos_run.name}/facts").json()["facts"]["data"].startswith("photos: ")


@pytest.mark.parametrize("what", ["", "facts", "curves", "blocks", "confusion", "mistakes"])
def test_nothing_tells_where_the_run_is(client: TestClient, shown_run: Path, photos_run: Path, what: str) -> None:
    for run in (shown_run, photos_run):
        answer = client.get(f"/v1/models/{run.name}/{what}".rstrip("/"))
        assert answer.status_code in (200, 404) and str(run.parent) not in answer.text


@pytest.mark.parametrize("what", ["facts", "curves", "blocks", "confusion", "confusion/0/0", "mistakes", "images/0"])
def test_a_model_that_is_not_there_is_a_sentence(client: TestClient, what: str) -> None:
    answer = client.get(f"/v1/models/..%2f..%2fetc/{what}")
    assert answer.status_code == 404 and list(answer.json()) == ["error"]


# ---- nets ------------------------------------------------------------------------------------------------------------


def test_every_net_is_listed_with_its_facts(client: TestClient) -> None:
    told = client.get("/v1/nets").json()["nets"]
    assert [net["name"] for net in told] == list(names())
    for net in told:
        facts = entry(net["name"])
        assert (net["params"], net["macs"], net["input"]) == (facts.params, facts.macs, list(facts.input_shape))
        assert 1980 < net["year"] < 2030


def test_a_net_is_told_block_by_block(client: TestClient) -> None:
    told = client.get("/v1/nets/dpn68").json()
    assert sum(block["params"] for block in told["blocks"]) == told["params"]
    assert sum(block["macs"] for block in told["blocks"]) == told["macs"]


def test_an_unknown_net_is_answered_with_the_nearest(client: TestClient) -> None:
    answer = client.get("/v1/nets/resnet21")
    assert answer.status_code == 404 and "resnet20" in answer.json()["error"]


def test_the_blocks_of_a_run_say_what_was_found(client: TestClient, shown_run: Path) -> None:
    told = client.get("/v1/models/digits/blocks").json()
    lesions = json.loads((shown_run / "figures" / "lesions.json").read_text())["series"]["resnet20"]
    whole, *each = (line["value"] for line in lesions)
    residual = [block for block in told["blocks"] if block["kind"] == "residual"]
    assert [block["removal_cost"] for block in residual] == [error - whole for error in each]
    assert all(block["response"] > 0 for block in residual) and told["error"] == whole
    assert told["input"] == [1, 8, 8] and residual[0]["input"] == [16, 8, 8]


def test_what_was_found_for_other_weights_is_left_out(shown_run: Path) -> None:
    kept = json.loads((shown_run / "card.json").read_text())["results"]["kept_step"]
    assert learnt(shown_run, kept, ["stages.0.0"])["blocks"]["stages.0.0"]
    assert not learnt(shown_run, kept - 1, ["stages.0.0"])["blocks"]["stages.0.0"]


# ---- the page --------------------------------------------------------------------------------------------------------


def test_samples_are_images_that_can_be_predicted(client: TestClient) -> None:
    samples = client.get("/v1/samples").json()["samples"]
    assert len(samples) >= 6
    for sample in samples:
        answer = client.get(sample["file"])
        assert answer.headers["content-type"] == "image/png" and len(answer.content) < 4_000
        said = client.post("/v1/predict", files={"files": (sample["name"], answer.content)}).json()
        assert said["predictions"][0]["classes"]


@pytest.mark.parametrize(
    "file", ["..%2Fserver%2Fview.py", "../__init__.py", "none.js", "%00", "index.html/..", "en.js "]
)
def test_the_page_has_its_files_and_no_other(client: TestClient, file: str) -> None:
    answer = client.get(f"/page/{file}")
    assert answer.status_code == 404 and list(answer.json()) == ["error"]


def test_a_large_photo_is_made_small_and_a_small_one_is_left(tmp_path: Path) -> None:
    large, kind = encoded(Image.new("RGB", (3_000, 1_000), "red"))
    assert kind == "image/jpeg" and max(Image.open(io.BytesIO(large)).size) == 224
    small, kind = encoded(Image.new("L", (8, 8), 7))
    assert kind == "image/png" and Image.open(io.BytesIO(small)).getpixel((0, 0)) == 7

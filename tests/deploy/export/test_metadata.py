"""An exported file says what it is, whatever the classes are called, and nothing of the machine it was made on."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plusx
from plusx.deploy.export.export import export
from plusx.deploy.export.forms import FORMS
from plusx.deploy.export.metadata import read_metadata, shareable_card
from plusx.runs.store import read_card
from tests.deploy.export.conftest import GRAPHS, need


@pytest.mark.parametrize("to", [*GRAPHS, "safetensors"])
def test_what_is_written_is_read(to: str, two_classes: Path, tmp_path: Path) -> None:
    need(to) if to in FORMS else None
    suffix = FORMS[to].suffix if to in FORMS else ".safetensors"
    made = export(two_classes, to, out=tmp_path / f"x{suffix}", progress=False)
    found, card = read_metadata(made.file), read_card(two_classes)
    assert found.texts() == made.metadata.texts()
    assert found.class_names == card.class_names and "강아지" in found.class_names
    assert found.preprocess.to_dict() == card.preprocess.to_dict()
    assert found.calibration == card.calibration and found.calibration.rejection.threshold == 0.6
    assert found.input == ("uint8" if to in FORMS else None) and found.precision == "fp32"
    assert found.card["net"] == "resnet20"
    assert plusx.read_metadata(str(made.file)).texts() == found.texts()


def test_a_card_to_share_has_no_paths(two_classes: Path, twin: Callable[..., Path], tmp_path: Path) -> None:
    home = "/home/some one/secret"
    card = read_card(two_classes)
    recipe = dataclasses.replace(card.recipe, net=dataclasses.replace(card.recipe.net, weights=f"{home}/w.pth"))
    source: dict[str, Any] = {**card.source, "name": f"{home}/my photos", "data_dir": f"{home}/data"}
    source["left_out"] = ["train/a.png: damaged"]
    notes = (f"the weights of {home}/w.pth say nothing", "see /var/lib/x/y.txt, and C:\\Users\\me\\z.txt.", "1/2 kept")
    shared = json.dumps(shareable_card(dataclasses.replace(card, recipe=recipe, source=source, notes=notes)))
    for part in ("secret", "some one", "/var/lib", "Users", str(two_classes.parent)):
        assert part not in shared, part
    fields = json.loads(shared)
    assert fields["source"]["name"] == "my photos" and fields["source"]["data_dir"] is None
    assert fields["source"]["left_out"] == ["train/a.png: damaged"]
    assert fields["notes"] == ["the weights of w.pth say nothing", "see y.txt, and z.txt.", "1/2 kept"]
    assert fields["class_names"] == list(card.class_names), "a class is no path"


@pytest.mark.parametrize("name", ["x.onnx", "x.xml", "x.pt2", "x.safetensors", "x.bin", "absent.onnx"])
def test_a_file_that_is_no_export_is_one_sentence(name: str, tmp_path: Path) -> None:
    if name == "x.onnx":
        need("onnx")
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match=name):
        read_metadata(tmp_path / name)


def test_an_onnx_file_of_others_is_refused(tmp_path: Path) -> None:
    need("onnx")
    import onnx
    from onnx import helper

    graph = helper.make_graph([], "nothing", [], [])
    onnx.save(helper.make_model(graph), str(tmp_path / "theirs.onnx"))
    with pytest.raises(ValueError, match=r"theirs.onnx cannot be used: it has no metadata of plusx"):
        read_metadata(tmp_path / "theirs.onnx")


def test_a_later_format_is_refused(two_classes: Path) -> None:
    from plusx.deploy.export.metadata import Metadata

    card = read_card(two_classes)
    made = Metadata(card.class_names, card.preprocess, "uint8", None, "fp32", None, {})
    with pytest.raises(ValueError, match="its format is 2; this version of plusx reads 1"):
        Metadata.from_texts({**made.texts(), "format": "2"})

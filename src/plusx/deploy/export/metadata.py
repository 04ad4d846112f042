"""What an exported file says of itself: classes, preprocessing, how its input is laid out, and the run's card.

Every kind of file holds the same texts under the same names, each in JSON: ONNX in its metadata, OpenVINO in its
runtime information, PyTorch's packages in a file of their own inside, safetensors in its head.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from plusx.data.preprocess import Preprocess
from plusx.data.sources import NAMES
from plusx.runs.calibration import Calibration
from plusx.runs.card import Card

FORMAT = 1
INPUT, OUTPUT = "images", "logits"
"""The names of the graph's one input and one output."""
Pixels = Literal["uint8", "float"]
"""Of the input: uint8, B x H x W x C; or float32 from 0 to 1, B x C x H x W."""
PIXELS: tuple[Pixels, ...] = get_args(Pixels)
FOLDER = "plusx"
"""Under which OpenVINO and safetensors keep the texts of other programs apart from their own."""
_ABSOLUTE = re.compile(r"""(?<![\w.])(?:[A-Za-z]:\\|\\\\|/)[^\s'",;:()]*[^\s'",;:().]""")


@dataclass(frozen=True)
class Metadata:
    """What an exported file says of itself."""

    class_names: tuple[str, ...]
    """In the order of the logits."""
    preprocess: Preprocess
    """How an image becomes pixels; mean and deviation are in the graph already."""
    input: Pixels | None
    """None for weights alone, whose net takes normalised images."""
    batch: int | None
    """Images of a call; None takes any number."""
    precision: Literal["fp32", "int8"]
    calibration: Calibration | None
    """What turns the logits, which are as the net computes them, into probabilities to trust."""
    card: Mapping[str, Any]
    """The run's, without paths of the machine it was trained on."""

    def texts(self) -> dict[str, str]:
        """The metadata as texts by name; in ASCII, which every kind of file holds."""
        fields = {
            "format": FORMAT,
            "class_names": list(self.class_names),
            "preprocess": self.preprocess.to_dict(),
            "input": self.input,
            "batch": self.batch,
            "precision": self.precision,
            "temperature": self.calibration.temperature if self.calibration else 1.0,
            "calibration": asdict(self.calibration) if self.calibration else None,
            "card": dict(self.card),
        }
        return {name: json.dumps(value) for name, value in fields.items()}

    @staticmethod
    def from_texts(texts: Mapping[str, str]) -> "Metadata":
        """The inverse of `texts`; other names are left alone.

        Raises:
            ValueError: The texts are not plusx's, or of another version.
        """
        try:
            if (form := json.loads(texts["format"])) != FORMAT:
                raise ValueError(f"its format is {form!r}; this version of plusx reads {FORMAT}")
            return Metadata(
                class_names=tuple(json.loads(texts["class_names"])),
                preprocess=Preprocess.from_dict(json.loads(texts["preprocess"])),
                input=json.loads(texts["input"]),
                batch=json.loads(texts["batch"]),
                precision=json.loads(texts["precision"]),
                calibration=Calibration.from_dict(json.loads(texts["calibration"])),
                card=json.loads(texts["card"]),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as fault:
            raise ValueError(f"it has no metadata of plusx ({type(fault).__name__}: {fault})") from None


def read_metadata(path: str | Path) -> Metadata:
    """What an exported file says of itself; the graph is not compiled.

    Args:
        path: FILE.onnx, FILE.xml, FILE.pt2 or FILE.safetensors.

    Raises:
        ValueError: The file is missing, cannot be read, or was not written by `plusx.export`.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"no such file: {file}")
    if file.suffix not in _READERS:
        raise ValueError(f"{file} is not an exported file by its name; those end in {', '.join(_READERS)}")
    try:
        return Metadata.from_texts(_READERS[file.suffix](file))
    except ImportError as fault:
        raise ValueError(f"{file} is read by {fault.name}; install it: pip install 'plusx[export]'") from None
    except Exception as fault:  # each reader has its own for a damaged file
        reason = (str(fault) or type(fault).__name__).splitlines()[0]
        raise ValueError(f"{file} cannot be used: {reason}") from None


def shareable_card(card: Card) -> dict[str, Any]:
    """A card without the paths of the machine that it was written on: of every folder or file its last name remains.

    Args:
        card: A run's.
    """
    fields = card.to_dict()
    source, name = fields["source"], card.source["name"]
    known = [str(path) for path in (source.get("data_dir"), card.recipe.net.weights, name) if path]
    known = sorted((path for path in known if path not in NAMES and "/" in path), key=len, reverse=True)
    fields["source"] = {**source, "data_dir": None}
    kept = ("class_names", "preprocess")  # where nothing is a path, whatever it looks like
    return {key: value if key in kept else _without_paths(value, known) for key, value in fields.items()}


def _without_paths(value: Any, known: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(each, known) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(each, known) for each in value]
    if not isinstance(value, str):
        return value
    for path in known:  # those with spaces too, which no pattern finds
        if not path.startswith("timm/"):
            value = value.replace(path, PurePosixPath(path).name)
    return _ABSOLUTE.sub(lambda match: re.split(r"[/\\]", match[0])[-1], value)


def _of_onnx(file: Path) -> dict[str, str]:
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    return {each.key: each.value for each in model.metadata_props}


def _of_openvino(file: Path) -> dict[str, str]:
    """Out of the XML itself: OpenVINO would read the weights as well."""
    from xml.etree import ElementTree

    texts = {}
    for _, element in ElementTree.iterparse(file):
        if element.tag == "rt_info" and (ours := element.find(FOLDER)) is not None:
            texts = {each.tag: each.attrib["value"] for each in ours}
    return texts


def _of_torch(file: Path) -> dict[str, str]:
    import zipfile

    with zipfile.ZipFile(file) as package:
        name = next((each for each in package.namelist() if each.endswith(f"extra/{FOLDER}.json")), None)
        return json.loads(package.read(name)) if name else {}


def _of_safetensors(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        return dict(tensors.metadata() or {})


_READERS = {".onnx": _of_onnx, ".xml": _of_openvino, ".pt2": _of_torch, ".safetensors": _of_safetensors}

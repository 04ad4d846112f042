"""A run as a file for other runtimes: written aside, compared with the net on real images, and only then put in place.

Whatever fails, a full disk or a file that computes something else, nothing is left behind.
"""

import copy
import difflib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from plusx.data.preprocess import Preprocess
from plusx.deploy.export.forms import COMPILED, FORMS, Form, Run
from plusx.deploy.export.metadata import PIXELS, Metadata, Pixels, shareable_card
from plusx.deploy.export.program import as_input, capture
from plusx.deploy.export.quantise import NEEDS, quantise
from plusx.deploy.export.script import script
from plusx.deploy.export.verify import Logits, Verified, drawn_images, verify
from plusx.deploy.sample import pixels_of, training_sample
from plusx.nets import all_options
from plusx.progress import shown
from plusx.runs.card import Card
from plusx.runs.files import move_files, require_writable
from plusx.runs.images import images_of
from plusx.runs.store import METADATA, load_run, unfinished
from plusx.weights.back import Library, their_net, translate_back

LIBRARIES: tuple[Library, ...] = ("torchvision", "timm")
TARGETS = (*FORMS, *LIBRARIES, "safetensors")
"""What `to` names."""
SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class Exported:
    """What `export` wrote."""

    run: Path
    to: str
    file: Path
    """The file that is opened."""
    files: tuple[Path, ...]
    """All that belong to it, and the script."""
    script: Path | None
    """Python that predicts with it, without plusx; None for weights under plusx's own names."""
    metadata: Metadata
    verified: Verified
    notes: tuple[str, ...]
    """What a user must know: a run that is not finished, or images that were not at hand."""

    def __repr__(self) -> str:
        return f"<Exported {self.file}: differs by {self.verified.largest_difference:.1e} at most>"

    @property
    def size_bytes(self) -> int:
        """Of what is needed to run it, without the script."""
        return sum(file.stat().st_size for file in self.files if file != self.script)


def export(
    run: str | Path,
    to: str = "onnx",
    *,
    out: str | Path | None = None,
    int8: bool = False,
    max_drop: float = 0.5,
    batch: int | None = None,
    input: Pixels = "uint8",
    compile: bool = False,
    data_dir: str | Path | None = None,
    trust_code: bool = False,
    net: nn.Module | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> Exported:
    """Write a run as a file for another runtime, and a short script that uses it without plusx.

    Scaling and normalisation are in the graph. Class names, preprocessing and the run's card are in the file, which
    `read_metadata` reads. The net and the file are compared on the run's validation images, or its test images, or, if
    none is at hand, on drawn ones.

    Args:
        run: Run directory.
        to: onnx, openvino or torch (a package of torch.export), which are graphs; torchvision, timm or safetensors,
            which are weights: under the names of those libraries, whose nets load them strictly, or under plusx's.
        out: File to be written, which is not there yet; by default named as the run, in the current folder.
        int8: Compute in 8 bits (onnx and openvino), calibrated on the run's training images.
        max_drop: Percentage points of accuracy that int8 may cost.
        batch: Images of a call; None takes any number.
        input: What a graph takes: uint8, B x H x W x C; or float, from 0 to 1, B x C x H x W.
        compile: Compile the package of PyTorch to code for this kind of processor, by a C++ compiler.
        data_dir: Where the run's own images lie now, if not where they lay in training.
        trust_code: As for `load`.
        net: As for `load`.
        progress: True shows a bar in a terminal or a notebook; a callable is called with the images compared and the
            images in all.

    Raises:
        ValueError: The run, the form or the file cannot be used, or a package is missing.
        ExportRefusedError: The file computes something else than the net, or int8 costs too much accuracy.

    Example:
        >>> import plusx
        >>> run = plusx.train("digits", overrides={"steps": 2}, out="runs/digits", progress=False).run
        >>> exported = export(run, "torch", out="digits.pt2", progress=False)
        >>> exported.verified.source, exported.verified.largest_difference < 1e-4, exported.script.name
        ('test', True, 'digits-torch.py')
    """
    asked = _Asked(to, int8, max_drop, batch, input, compile)
    asked.require_possible()
    path, form = Path(run), asked.form
    name = f"{path.resolve().name}{asked.what}"
    file = Path(out) if out is not None else Path(name + asked.suffix)
    if file.suffix != asked.suffix:
        raise ValueError(f"out is {file}; what is exported to {to} ends in {asked.suffix}: {file.stem}{asked.suffix}")
    program_file = None if to == "safetensors" else file.with_name(f"{file.stem}-{to}.py")
    parts = [*([] if program_file is None else [program_file]), *(form.files(file) if form else [file])]
    _require_free(parts)
    loaded, card = load_run(path, trust_code=trust_code, net=net)
    notes = [note] if (note := unfinished(path, card)) else []
    metadata = Metadata(
        class_names=card.class_names,
        preprocess=card.preprocess,
        input=input if form else None,
        batch=batch if form else None,
        precision="int8" if int8 else "fp32",
        calibration=card.calibration,
        card=shareable_card(card),
    )
    where = Path(data_dir) if data_dir is not None else None
    with shown(progress, f"exporting {path.name}", unit="images") as report:
        compared = compared_images(path, card, where)
        if compared.labels is None:
            if int8:
                raise ValueError(f"int8 needs validation images to measure its accuracy on: {compared.why_drawn}")
            notes.append(f"compared on drawn images alone, so no accuracy is known: {compared.why_drawn}")
        write, run_it = (
            _graph(asked, form, loaded, metadata, partial(training_sample, path, card, where))
            if form
            else _weights(to, loaded, card, metadata)
        )
        aside = file.with_name(f".{file.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            try:
                aside.mkdir()
                write(aside / file.name)
                if program_file is not None:
                    how = "compiled" if compile else to
                    text = script(how, file.name, program_file.name, metadata, _arguments(to, card))
                    (aside / program_file.name).write_text(text, encoding="utf-8")
            except OSError as fault:
                reason = fault.strerror or str(fault)
                raise OSError(f"cannot write {file}: {reason}; choose another --out") from None
            runtimes = run_it(aside / file.name)
            verified = verify(
                loaded,
                card.preprocess,
                runtimes,
                compared.pixels,
                compared.labels,
                source=compared.source,
                batch=batch,
                max_drop=max_drop if int8 else None,
                total=compared.count,
                progress=report,
            )
            del runtimes  # Windows moves no file that is open
            _require_free(parts)
            move_files(aside, parts)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return Exported(path, to, file, tuple(parts), program_file, metadata, verified, tuple(notes))


@dataclass(frozen=True)
class _Asked:
    """What is to be exported, of whatever run."""

    to: str
    int8: bool
    max_drop: float
    batch: int | None
    input: str
    compile: bool

    @property
    def form(self) -> Form | None:
        """The form of the graph; None for weights alone."""
        return COMPILED if self.compile else FORMS.get(self.to)

    @property
    def suffix(self) -> str:
        return self.form.suffix if self.form else SAFETENSORS

    @property
    def what(self) -> str:
        """What a file's name says beside the run's."""
        return ("-compiled" if self.compile else "-int8" if self.int8 else "") or (
            f"-{self.to}" if self.to in LIBRARIES else ""
        )

    def require_possible(self) -> None:
        """Raises ValueError when there is no such export, or a package is missing."""
        if self.to not in TARGETS:
            near = difflib.get_close_matches(self.to, TARGETS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(TARGETS)}"
            raise ValueError(f"unknown form {self.to!r}; {hint}")
        if self.input not in PIXELS:
            raise ValueError(f"input is {self.input!r}; choose {' or '.join(PIXELS)}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it must be 1 or more, or dynamic")
        if not 0 <= self.max_drop <= 100:
            raise ValueError(f"max_drop is {self.max_drop}; it is a number of percentage points, from 0 to 100")
        if self.compile and self.to != "torch":
            raise ValueError(f"--compile goes with --to torch, not with {self.to}")
        if self.int8 and self.to not in NEEDS:
            raise ValueError(f"int8 is for {' and '.join(NEEDS)}, not for {self.to}")
        if self.form is None and (self.batch is not None or self.input != "uint8"):
            raise ValueError(f"{self.to} takes the weights alone, which have no batch and no input to choose")
        if self.form is not None:
            self.form.require_installed(*(NEEDS[self.to] if self.int8 else ()))


def _require_free(files: Sequence[Path]) -> None:
    for file in files:
        if file.exists():
            raise ValueError(f"{file} exists; choose another --out")
    folder = files[-1].parent
    if not folder.is_dir():
        raise ValueError(f"no such folder: {folder}; choose another --out")
    require_writable(folder)


@dataclass(frozen=True)
class Compared:
    """The images that a file is compared on."""

    pixels: Iterable[Tensor]
    """uint8, C x H x W each; they can be taken once."""
    count: int
    source: str
    """Which they are: val, test, or drawn images."""
    labels: list[int] | None
    """None for drawn ones."""
    why_drawn: str = ""
    """Why the run's own are not at hand."""


def compared_images(run: Path, card: Card, data_dir: Path | None = None) -> Compared:
    """A run's validation images, or its test images; drawn ones where none is at hand.

    Args:
        run: Run directory.
        card: The run's.
        data_dir: Where its images lie now, if not where they lay; then none is drawn.

    Raises:
        ValueError: There is no image of the run in `data_dir`.
    """
    try:
        held_back = images_of(run, card, data_dir=data_dir, prefer=("val", "test"))
    except ValueError as fault:
        if data_dir is not None:
            raise
        drawn = list(drawn_images((card.preprocess.channels, *card.preprocess.size)))
        return Compared(drawn, len(drawn), "drawn images", None, str(fault))
    labels: list[int] = held_back.images.labels_N.tolist()
    return Compared(pixels_of(held_back.images, card.preprocess), len(labels), held_back.split, labels)


Write = Callable[[Path], None]
"""Writes an export to a file."""
Open = Callable[[Path], dict[str, Logits]]
"""What runs the file, by name."""


def _graph(
    asked: _Asked, form: Form, net: nn.Module, metadata: Metadata, sample: Callable[[], Iterator[Tensor]]
) -> tuple[Write, Open]:
    pixels = metadata.input or "uint8"
    model = form.make(capture(net, metadata.preprocess, pixels=pixels, batch=asked.batch))
    if asked.int8:
        model = quantise(asked.to, model, _calibration(sample(), pixels, asked.batch))

    def run_it(file: Path) -> dict[str, Logits]:
        return {name: partial(_run, opened(file, None), pixels) for name, opened in form.installed()}

    return lambda file: form.save(model, file, metadata.texts()), run_it


def _weights(to: str, net: nn.Module, card: Card, metadata: Metadata) -> tuple[Write, Open]:
    name, options, tensors = card.recipe.net.name, dict(card.net_options), net.state_dict()
    if to in LIBRARIES:
        library: Library = "timm" if to == "timm" else "torchvision"
        if card.code is not None:
            raise ValueError(f"{to} has no net of your own; --to safetensors writes its weights under their own names")
        options = all_options(name, options)
        tensors = translate_back(library, name, options, tensors)
        theirs = their_net(library, name, options).eval()
    else:
        theirs = copy.deepcopy(net)

    def write(file: Path) -> None:
        whole = {key: value.detach().contiguous() for key, value in tensors.items()}
        file.write_bytes(save(whole, {**METADATA, **metadata.texts()}))

    def run_it(file: Path) -> dict[str, Logits]:
        theirs.load_state_dict(load_file(file), strict=True)
        return {to: partial(_logits, theirs, card.preprocess)}

    return write, run_it


def _arguments(to: str, card: Card) -> str:
    """What a library's net is built with, as Python."""
    if to not in LIBRARIES:
        return ""
    options, channels = all_options(card.recipe.net.name, card.net_options), card.preprocess.channels
    more = f"num_classes={options['num_classes']}"
    if to == "timm" and channels != 3:
        more += f", in_chans={channels}"
    if card.recipe.net.name == "googlenet":
        more += f", init_weights=False, transform_input=False, aux_logits={bool(options['aux'])}"
    return f'"{card.recipe.net.name}", {more}'


def _calibration(sample: Iterator[Tensor], pixels: Pixels, batch: int | None) -> Iterator[np.ndarray]:
    """Batches of training images as the graph takes them; the last one is filled up with its own images."""
    size = batch or 1
    while images := list(islice(sample, size)):
        yield as_input(torch.stack(list(islice(cycle(images), size))), pixels).numpy()


def _run(run: Run, pixels: Pixels, pixels_BCHW: Tensor) -> Tensor:
    return torch.from_numpy(run(as_input(pixels_BCHW, pixels).numpy()))


@torch.inference_mode()
def _logits(net: nn.Module, preprocess: Preprocess, pixels_BCHW: Tensor) -> Tensor:
    return net(preprocess.normalise(pixels_BCHW))

"""What the page shows beside the predictions: runs, nets and samples; and the page itself."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from plusx.analysis.architecture import Block, blocks_of_card, blocks_of_net
from plusx.deploy.server import described
from plusx.deploy.server.faults import Fault, as_json
from plusx.deploy.server.measured import Images, Measured, curves, facts, learnt
from plusx.deploy.server.models import Model
from plusx.nets import entry, names

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
IMAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}, "image/jpeg": {}}}}
router = APIRouter(responses=described.faults(404, 503))
_counting = threading.Lock()  # one net is counted at a time, and once
_finding = threading.Lock()


# ---- runs ------------------------------------------------------------------------------------------------------------


@router.get("/v1/models/{name}/facts")
def get_facts(request: Request, name: str) -> Response:
    """The run's card in words."""
    return _told(facts, _run(request, name))


@router.get("/v1/models/{name}/curves")
def get_curves(request: Request, name: str) -> Response:
    """What the run measured so far, while it trains too."""
    return _told(curves, _run(request, name))


@router.get("/v1/models/{name}/confusion")
def get_confusion(request: Request, name: str) -> Response:
    """Images by true and predicted class."""
    return as_json(_measured(_run(request, name)).confusion())


@router.get("/v1/models/{name}/confusion/{truth}/{predicted}")
def get_cell(request: Request, name: str, truth: int, predicted: int) -> Response:
    """The images of one true and one predicted class."""
    return as_json(_measured(_run(request, name)).cell(truth, predicted))


@router.get("/v1/models/{name}/mistakes")
def get_mistakes(request: Request, name: str) -> Response:
    """The wrong answers, the surest first."""
    return as_json(_measured(_run(request, name)).mistakes())


@router.get("/v1/models/{name}/images/{index}", response_class=Response, responses=IMAGE)
def get_image(request: Request, name: str, index: int) -> Response:
    """A thumbnail of an image that the run was measured on."""
    measured = _measured(_run(request, name))
    with _finding:  # reading a folder takes a while, and is done once
        images = _images(measured)
    content, media_type = images.thumbnail(index)
    return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=3600"})


@router.get("/v1/models/{name}/blocks")
def get_blocks(request: Request, name: str) -> Response:
    """The net of the run block by block, with what `plusx analyse` found."""
    path = _run(request, name)
    card = _model(request, name).loaded.card
    assert card is not None  # it is a run
    key = json.dumps([card.recipe.net.name, dict(card.net_options), card.preprocess.channels, card.preprocess.size])
    with _counting:
        blocks = _BLOCKS.get(key) or _BLOCKS.setdefault(key, blocks_of_card(card))
    found = learnt(path, card.results.get("kept_step"), [block.name for block in blocks])
    told = [{**_block(block), **found["blocks"][block.name]} for block in blocks]
    size = [card.preprocess.channels, *card.preprocess.size]
    return as_json({**found, "name": name, "net": card.recipe.net.name, "input": size, "blocks": told})


_BLOCKS: dict[str, list[Block]] = {}


def _model(request: Request, name: str) -> Model:
    model: Model = request.app.state.models.find(name)
    return model


def _run(request: Request, name: str) -> Path:
    """The directory of a model that is a run. Fault: it is none, or there is no such model (404)."""
    model = _model(request, name)
    if model.source != "run":
        raise Fault(404, f"{name} is an exported file; a run has more to show")
    return model.path


def _told(read: Callable[[Path], dict[str, Any]], run: Path) -> Response:
    """What is read of a run; while its files are replaced or gone, a refusal (404)."""
    try:
        return as_json(read(run))
    except (OSError, ValueError, KeyError) as fault:
        raise Fault(404, f"{run.name} cannot be read as a run now") from fault


def _measured(run: Path) -> Measured:
    try:
        changed = max((run / file).stat().st_mtime_ns for file in ("evaluation.json", "predictions.csv", "card.json"))
    except OSError:
        return Measured.of(run)  # which says what is missing
    return _measured_at(run, changed)


@lru_cache(maxsize=16)
def _measured_at(run: Path, changed: int) -> Measured:
    return Measured.of(run)


@lru_cache(maxsize=16)
def _images(measured: Measured) -> Images:
    return Images(measured)


# ---- nets ------------------------------------------------------------------------------------------------------------


@router.get("/v1/nets")
def get_nets() -> Response:
    """Every net of the catalog with its facts."""
    return as_json({"nets": [_facts(name) for name in names()]})


@router.get("/v1/nets/{name}")
def get_net(name: str) -> Response:
    """A net of the catalog block by block."""
    if name not in names():
        try:
            entry(name)
        except ValueError as fault:
            raise Fault(404, str(fault)) from None
        raise Fault(404, f"{name} is no net of the catalog")
    with _counting:
        blocks = _blocks_of_net(name)
    return as_json({**_facts(name), "blocks": [_block(block) for block in blocks]})


@lru_cache(maxsize=128)
def _blocks_of_net(name: str) -> list[Block]:
    return blocks_of_net(name)


def _facts(name: str) -> dict[str, Any]:
    facts = entry(name)
    return {
        "name": name,
        "family": facts.family,
        "paper": facts.paper,
        "year": year_of(facts.paper),
        "table": facts.table,
        "layers": facts.layers,
        "params": facts.params,
        "macs": facts.macs,
        "input": list(facts.input_shape),
        "top1_error": facts.top1_error,
        "top1_source": facts.top1_source,
    }


def year_of(paper: str) -> int:
    """The year of a paper, from its arXiv number or its date.

    Example:
        >>> year_of("arXiv:1512.03385"), year_of("LeCun et al. 1998")
        (2015, 1998)
    """
    arxiv = re.match(r"arXiv:(\d\d)\d\d\.", paper)
    return 2000 + int(arxiv[1]) if arxiv else int(re.findall(r"\d{4}", paper)[-1])


def _block(block: Block) -> dict[str, Any]:
    told = asdict(block)
    return {**told, "layers": [words for branch in block.branches for words in branch]}


# ---- the page and its samples ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def page_files() -> dict[str, bytes]:
    """The files of the page by name: all that there is under /page/, whatever a request asks for."""
    return {
        file.name: file.read_bytes()
        for file in (files("plusx.deploy") / "page").iterdir()
        if Path(file.name).suffix in TYPES
    }


@router.get("/v1/samples")
def get_samples() -> Response:
    """The bundled images."""
    found = sorted(name for name in page_files() if name.startswith("sample-"))
    samples = [{"name": _sample_name(name), "file": f"/v1/samples/{_sample_name(name)}"} for name in found]
    return as_json({"samples": samples})


@router.get("/v1/samples/{name}", response_class=Response, responses=IMAGE)
def get_sample(name: str) -> Response:
    """A bundled image."""
    return _file(f"sample-{name}.png", "there is no sample of that name; /v1/samples lists them")


def _sample_name(file: str) -> str:
    return file.removeprefix("sample-").removesuffix(".png")


@router.get("/", include_in_schema=False)
def get_page() -> Response:
    """The page."""
    return _file("index.html", "")


@router.get("/page/{file}", include_in_schema=False)
def get_page_file(file: str) -> Response:
    """A file of the page."""
    return _file(file, "the page has no such file")


def _file(name: str, fault: str) -> Response:
    content = page_files().get(name)
    if content is None:
        raise Fault(404, fault)
    return Response(content, media_type=TYPES[Path(name).suffix], headers={"Cache-Control": "no-cache"})

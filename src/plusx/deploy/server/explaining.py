"""POST /v1/explain: which places of an image speak for a class, and what each block contributes to it.

Explaining takes up to seconds, so it has a thread of its own, in which one image is explained at a time on one
processor; predictions go on beside it.
"""

import asyncio
import base64
import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from plusx.analysis.attention import METHODS, explain_pixels
from plusx.analysis.contributions import contributions
from plusx.data.images import normal_name
from plusx.deploy.server.bodies import Asked, shown, text_field
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.models import Loaded, Models
from plusx.deploy.server.predicting import BUSY
from plusx.deploy.server.settings import Settings
from plusx.runs.calibration import calibrated

FIELDS = ("model", "class", "method")


async def explain(models: Models, asked: Asked, settings: Settings) -> dict[str, Any]:
    """Why the net sees a class in an image.

    Args:
        models: What is served.
        asked: One image, model, class and method.
        settings: The limits.

    Raises:
        Fault: There are several images, or a field cannot be used (400); the image is bad (422); there is no such model
            (404); or there is no time (503).
    """
    model = models.find(text_field(asked.fields.get("model"), "model"))
    method = text_field(asked.fields.get("method"), "method") or "cam"
    if method not in METHODS:
        raise Fault(400, f"there is no method {shown(method)!r}; choose one of {', '.join(METHODS)}")
    if len(asked.images) > 1:
        raise Fault(400, "one image is explained at a time; send the others in other requests")
    (sent,), loaded = asked.images, model.loaded
    if loaded.card is None:
        raise Fault(400, f"{model.name} is an exported file, whose graph cannot be explained; serve the run itself")
    target = _index(loaded, text_field(asked.fields.get("class"), "class"))
    pixels_CHW = await models.reader.pixels(loaded.classifier.preprocess, sent)
    if isinstance(pixels_CHW, str):
        raise Fault(422, f"{sent.name}: {pixels_CHW}")
    if models.explaining.waiting >= settings.explanations:
        raise Fault(503, "the server is busy explaining other images; try again", BUSY)
    try:
        async with asyncio.timeout(settings.explain_seconds):
            found = await models.explaining.run(lambda: _explained(loaded, pixels_CHW, target, method))
    except TimeoutError:
        raise Fault(503, f"there was no answer within {settings.explain_seconds:g} seconds; try again", BUSY) from None
    except ValueError as fault:  # a net without maps, or one whose logits are not finite
        raise Fault(400, str(fault)) from None
    return {"model": model.name, "file": sent.name, **found}


def _index(loaded: Loaded, name: str | None) -> int | None:
    if name is None or name == "":
        return None
    places = [place for place, each in enumerate(loaded.classifier.class_names) if each == normal_name(name)]
    if len(places) != 1:
        known = ", ".join(loaded.classifier.class_names[:10])
        raise Fault(400, f"the model has no class {shown(name)!r}; it knows {known}")
    return places[0]


def _explained(loaded: Loaded, pixels_CHW: Tensor, target: int | None, method: str) -> dict[str, Any]:
    card, net = loaded.card, loaded.net()
    assert card is not None
    x_1CHW = card.preprocess.normalise(pixels_CHW[None])
    found = explain_pixels(net, x_1CHW, target, method)
    probability = calibrated(found.logits_K[None], card.calibration)[0, found.target].exp().item()
    strength_HW = found.strength_HW
    height, width = strength_HW.shape
    parts = contributions(net, x_1CHW, found.target)
    return {
        "class": card.class_names[found.target],
        "probability": probability,
        "method": method,
        "note": found.note,
        "height": height,
        "width": width,
        "map": [[round(value, 4) for value in row] for row in strength_HW.tolist()],
        "png": _png(strength_HW.mul(255).round().to(torch.uint8).numpy()),
        "image": _png(pixels_CHW.permute(1, 2, 0).squeeze(2).numpy()),
        "blocks": [{"name": each.name, "contribution": each.contribution} for each in parts],
    }


def _png(array: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

"""POST /v1/predict: from the bytes of a request to the classes of its images."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from plusx.deploy.predictor import Prediction
from plusx.deploy.server.bodies import Asked, Sent, text_field, whole_number
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.models import Models
from plusx.deploy.server.settings import Settings

FIELDS = ("top_k", "model")
BUSY = {"Retry-After": "1"}


async def predict(models: Models, asked: Asked, settings: Settings) -> dict[str, Any]:
    """The classes of each image, or why there are none.

    Args:
        models: What is served.
        asked: Images, top_k and model.
        settings: The limits.

    Raises:
        Fault: A field cannot be used (400), there is no such model (404), or there is no room or time (503).
    """
    began = time.perf_counter()
    model = models.find(text_field(asked.fields.get("model"), "model"))
    top_k = whole_number(asked.fields.get("top_k"), "top_k", default=5)
    loaded = model.loaded
    queue, preprocess = loaded.queue, loaded.classifier.preprocess
    queue.require_room(len(asked.images), settings.deadline)

    async def one(sent: Sent) -> Prediction | str:
        pixels = await models.reader.pixels(preprocess, sent)
        return pixels if isinstance(pixels, str) else await queue.submit(pixels, top_k)

    queue.held += len(asked.images)
    try:
        async with asyncio.timeout(settings.deadline):
            results: Sequence[Prediction | str]
            if len(asked.images) == 1:
                results = [await one(asked.images[0])]
            else:
                results = await asyncio.gather(*map(one, asked.images))
    except TimeoutError:
        raise Fault(503, f"there was no answer within {settings.deadline:g} seconds; try again", BUSY) from None
    finally:
        queue.held -= len(asked.images)
    seconds = round(time.perf_counter() - began, 6)
    answers = [_answer(sent, each, top_k, seconds) for sent, each in zip(asked.images, results, strict=True)]
    return {"model": model.name, "predictions": answers}


def _answer(sent: Sent, result: Prediction | str, top_k: int, seconds: float) -> dict[str, Any]:
    if isinstance(result, str):
        return {"file": sent.name, "error": result}
    pairs = list(zip(result.classes, result.probabilities, strict=True))[:top_k]
    classes = [{"name": name, "probability": probability} for name, probability in pairs]
    return {"file": sent.name, "classes": classes, "unknown": result.unknown, "seconds": seconds}

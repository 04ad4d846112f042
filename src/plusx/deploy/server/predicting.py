"""POST /v1/predict: from the bytes of a request to the classes of its images."""

import asyncio
import io
import math
import time
from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from plusx.data.decode import UndecodableError
from plusx.data.preprocess import Preprocess
from plusx.deploy.predictor import Prediction
from plusx.deploy.server.bodies import Asked, Sent, text_field, whole_number
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.models import Models
from plusx.deploy.server.settings import Settings

FIELDS = ("top_k", "model")
BUSY = {"Retry-After": "1"}


SMALL_BYTES, SMALL_PIXELS = 2**14, 2**14
"""Of a file and of an image, which is read on the event loop: sooner than a thread would begin with it."""


def is_small(preprocess: Preprocess, raw: bytes) -> bool:
    """Whether an image is read in a fraction of a millisecond, by the head of its file; such as digits and CIFAR's."""
    if len(raw) > SMALL_BYTES or math.prod(preprocess.size) > SMALL_PIXELS:
        return False
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG", "JPEG"]) as image:
            return image.width * image.height <= SMALL_PIXELS
    except Exception:  # a damaged head can raise nearly anything; whoever reads the image says what is wrong
        return False


def read_pixels(preprocess: Preprocess, sent: Sent) -> Tensor | str:
    """The pixels of an image, or why there are none."""
    if sent.fault is not None:
        return sent.fault
    try:
        return preprocess.pixels(sent.raw)
    except UndecodableError as fault:
        return fault.reason


async def predict(models: Models, asked: Asked, settings: Settings) -> dict[str, Any]:
    """The classes of each image, or why there are none.

    Args:
        models: What is served.
        asked: Images, top_k and model.
        settings: The limits.

    Raises:
        Fault: The only image is bad (422), a field is (400), there is no such model (404), or there is no room or time
            (503).
    """
    began, loop = time.perf_counter(), asyncio.get_running_loop()
    model = models.find(text_field(asked.fields.get("model"), "model"))
    top_k = whole_number(asked.fields.get("top_k"), "top_k", default=5)
    loaded = model.loaded
    queue, preprocess = loaded.queue, loaded.classifier.preprocess
    queue.require_room(len(asked.images), settings.deadline)

    async def one(sent: Sent) -> Prediction | str:
        if is_small(preprocess, sent.raw):
            pixels = read_pixels(preprocess, sent)
        else:
            pixels = await loop.run_in_executor(models.reading, read_pixels, preprocess, sent)
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
    if len(answers) == 1 and "error" in answers[0]:
        raise Fault(422, f"{answers[0]['file']}: {answers[0]['error']}")
    return {"model": model.name, "predictions": answers}


def _answer(sent: Sent, result: Prediction | str, top_k: int, seconds: float) -> dict[str, Any]:
    if isinstance(result, str):
        return {"file": sent.name, "error": result}
    pairs = list(zip(result.classes, result.probabilities, strict=True))[:top_k]
    classes = [{"name": name, "probability": probability} for name, probability in pairs]
    return {"file": sent.name, "classes": classes, "unknown": result.unknown, "seconds": seconds}
